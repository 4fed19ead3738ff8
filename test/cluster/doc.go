// Package cluster is a whole Drover cluster in one process, for tests: the embedded Marathon, three nodes with a real agent
// each over a pool of the stand-in, the file register, and controllers that a test starts, cancels or kills. Its tasks are
// real processes: the test binary itself, as a small database that numbers what it acknowledges ([Main]).
//
// It is for tests of the path from a manifest to moved data. It has no fakes in that path, and no test of its own.
//
// While a cluster lives, a witness looks at the pools with zfs commands of its own and at Marathon's tasks, and fails the
// test when two copies are writable, two tasks run, or a copy is gone whose newest snapshot no primary of a higher epoch
// has. When the cluster ends, every write that a task acknowledged must be in the volume, once and in order.
package cluster
