// Package lab runs a whole cluster on one machine's loopback, without root: the embedded Marathon (package marathond) with
// its Mesos-like agents list, a node for each Mesos agent with a real drover agent, and the controller, which runs as a
// Marathon app. Every part is a process of its own that can be killed and is started again. The nodes' zfs and zpool are the
// stand-in (package zfsim), or the machine's own OpenZFS on pools in files.
//
// It is for trying Drover and for its tests. Production code never imports it.
package lab
