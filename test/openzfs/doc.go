// Package openzfs brings up nodes with real OpenZFS for tests: each is a kernel of its own under User-mode Linux, with its own
// memory, disk file, pool and address, and needs no ZFS on this machine. Killing one is a power cut; what its disk had is there
// when it starts again. hack/openzfs/build.sh builds what the nodes are made of.
//
// It is for tests of what no stand-in can prove: what OpenZFS itself does, read-only mounts with open files, memory maps,
// transaction groups, power cuts. It is not for tests of decisions: those are quicker elsewhere.
//
// # How a test gets there
//
// [Main] runs the tests of a package in namespaces of their own for processes, network and mounts, of which the test process is
// the first process. So nothing outlives it, however it ends: the kernel kills the nodes and removes their network with it; and
// any number of such test processes run side by side. [New] then makes a cluster. Its nodes see the cluster's folder under its
// own path, and a test reaches them over the network by their addresses. Commands go over a serial line, and so also to a node
// that [Node.Link] took off the network.
//
// Where nodes cannot be had (no root, nothing built, another system), tests that ask for them are skipped, each with the
// sentence that says why, and Main repeats it at the end.
//
// # On a machine with OpenZFS
//
// With DROVER_TEST_ZFS=native, [Native] is true and tests use pools in files of this machine's own OpenZFS; it takes root. The
// nodes of this package run such tests that way too, by [Node.GoTest]: a node is a machine with OpenZFS.
package openzfs
