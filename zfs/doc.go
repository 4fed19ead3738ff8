// Package zfs runs the zfs and zpool commands for a node's agent. It is the only place that knows their command lines, their
// output and their messages. It decides nothing, remembers nothing and locks nothing.
//
// Invariants held here:
//   - Nothing is sent with -p or -R, nothing received with -F, nothing destroyed with -R or -f. The first two would let a
//     stream replace this node's own roles and data, the last two would reach what nobody named.
//   - Every name and value is checked before it stands on a command line, and every line of output is read whole or refused.
//   - A command ends: in its time, by SIGTERM, by SIGKILL, or, asleep in the kernel for ever, it is left behind and reported.
//     A command that did not end by itself is [ErrUnknown]: whether it did anything must be looked at.
//   - A stream that broke never looks like one that ended: both commands' exit codes are waited for.
//   - What a command says though it succeeds is returned (receive) or logged (all others).
//
// Exit codes mean little (a failed `zfs set` exits with 1 on OpenZFS 2.1 and 255 on 2.3), so that messages are read; [Error]
// says what was made of one.
//
// # Where go-zfs serves
//
// The plain reads of one object are github.com/mistifyio/go-zfs's: the pool's health and a dataset's size, type and origin
// ([ZFS.Pool], [ZFS.Facts], [ZFS.Origin]). All else is run directly, because go-zfs has no contexts, passes no file
// descriptors, runs a second command after each change, orders -o by chance, knows neither guids nor user properties nor
// where a value comes from, and lacks resumable streams, holds, bookmarks and several snapshots at once. It finds zfs by
// this process's environment: while one of its reads runs, that is as the [Options] want it, and other such reads wait.
package zfs
