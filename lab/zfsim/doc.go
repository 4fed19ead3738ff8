// Package zfsim is a stand-in for the zfs and zpool commands of OpenZFS, for the embedded cluster and for tests: a
// program that agents find on their PATH and that answers as OpenZFS 2.1 or 2.3 would, over plain directories and
// without root. Build compiles it, NewMachine gives a test a machine with a pool, WriteFaults makes it misbehave.
//
// It is not a file system. Datasets are directories ("heads") inside the folder of one machine, named by
// DROVER_LAB_ZFS; mounting puts a symbolic link to the head at the mountpoint. So some things cannot be had, and are
// not pretended:
//   - readonly=on stops nobody who may write to the directory. A change made to a read-only head is found and shows in
//     written, in the next snapshot and in a refused receive; "zfs set readonly=on" warns if files are open for
//     writing.
//   - a snapshot is not taken at one instant. What is written while it is taken may be torn; what is not written to
//     for the time of the scan is exact. Unlike OpenZFS it includes what was written through a shared mapping.
//   - quotas bind snapshots and receives, not the writes of applications.
//   - volumes, encryption, -p, -R and compression of streams are not there; asking for them is an error that says so.
//     test/conformance/testdata/differences lists each command that is answered otherwise than by OpenZFS.
//
// Invariants:
//   - one file per pool holds all its state; it is replaced by rename under a file lock, so whoever reads it sees the
//     state before a command or after it. What must follow outside the file (a link, a changed head) is noted in it
//     first and completed by the next command if the process died;
//   - a command that was refused has changed nothing, but where OpenZFS itself is not atomic (destroy -r, set of
//     several quota-like properties);
//   - streams flow without the pool's lock.
//
// Environment: DROVER_LAB_ZFS names the machine's folder (required); DROVER_LAB_ZFS_VERSION is 2.1 or 2.3 (default)
// and selects the words and exit codes in which the two differ.
//
// Faults are read from faults.json in the machine's folder at each command; see Faults.
package zfsim
