// Package agent is the daemon that runs on every node, and the client that the controller and other agents talk to it with.
//
// An agent observes its pool and carries out one [state.Step] at a time per volume. It decides nothing about where an app
// should be; it decides only whether a step is still allowed, by its own fresh reading of the copy, and that decision is
// what people trust with the only copy of a database. It is not a general remote control for ZFS: there is no request
// that names a command.
//
// Invariants held here:
//   - A copy changes its role only by one row of the handover table (handover.go): one comparison of the fresh
//     (role, epoch) pair with the one that the step expects, and one `zfs set`, both under the volume's lock.
//   - The lock is a file lock that every zfs child inherits. An agent that restarts waits for the orphans of its
//     predecessor, and a command that timed out keeps its volume locked until it has ended.
//   - A step whose effect is there already succeeds without doing anything; every step may be sent twice.
//   - Nothing is destroyed but an old copy whose newest snapshot the current primary, asked afresh, has.
//   - A stream that was cut never looks like one that ended, and what counts is the guid on the target.
//   - A source that could not be read is an error, never an empty answer.
//
// The wire is HTTP/1.1 over mutual TLS, JSON bodies strictly decoded and bounded; streams use connections of their own.
package agent
