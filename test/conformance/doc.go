// Package conformance is one table of zfs and zpool commands and what OpenZFS 2.1 and 2.3 answer, to which the lab's stand-in is
// held: every command that Drover runs, and what people and other tools do to datasets beside it.
//
// The table is the scripts in testdata, one scenario each, with pools of its own. Their answers were recorded from OpenZFS
// 2.1.11 and 2.3.2 (Debian's); [Parse] says how a script is written. To add to the table write commands without answers, and
// have them recorded on both releases:
//
//	go test ./test/openzfs -run TestConformance -record .
//
// Then read what was recorded. `go test ./test/conformance` replays all on the stand-in, as 2.1 and as 2.3; with
// DROVER_TEST_ZFS=native (and root) on this machine's own OpenZFS.
//
// Where the stand-in answers otherwise, testdata/differences says so, with the reason. A difference that is not in that list
// fails. What Drover itself calls may not stand there; package zfs's tests hold
// that, and that each of its command lines and each message that it understands occurs in the table.
package conformance
