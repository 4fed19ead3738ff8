//go:build linux

package openzfs_test

import (
	"strconv"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/state"
)

// sent is how many bytes a node has put on its cable since it was started.
func (w *world) sent(node string) int64 {
	w.Helper()
	n, err := strconv.ParseInt(w.node(node).Sh("cat /sys/class/net/vec0/statistics/tx_bytes"), 10, 64)
	w.must(err)
	return n
}

// streams are the steps that send while the app runs.
var streams = []state.StepKind{state.Replicate, state.Resume, state.CatchUp}

// tenPlaces ends one stream ten times, each time elsewhere and mostly in another way. Each time it goes on where it was.
func tenPlaces(w *world) {
	const size, step = 56 << 20, 5 << 20
	a, sum := w.limited("places", size, "4Mi")
	source, target := a.node("node1"), a.node("node2")
	before := a.sent("node1")
	a.want("node2")
	for i, cut := range []struct {
		what string
		do   func()
		mend func()
	}{
		{"zfs send is killed", func() { a.signal("node1", "KILL", "zfs send *") }, nil},
		{"zfs receive is killed", func() { a.signal("node2", "KILL", "zfs receive *") }, nil},
		{"the source's agent is killed", func() { a.killAgent("node1") }, func() { a.StartAgent(source) }},
		{"the target's agent is killed", func() { a.killAgent("node2") }, func() { a.StartAgent(target) }},
		{"the target's cable is out", func() { target.Link(false) }, func() { target.Link(true) }},
		{"the target loses its power", func() { a.PowerOff(target) }, func() { a.PowerOn(target) }},
		{"the source's cable is out", func() { source.Link(false) }, func() { source.Link(true) }},
		{"both agents are killed", func() { a.killAgent("node2"); a.killAgent("node1") }, func() { a.StartAgent(source); a.StartAgent(target) }},
		{"zfs receive is told to end", func() { a.signal("node2", "TERM", "zfs receive *") }, nil},
		{"both ends are killed", func() { a.signal("node1", "KILL", "zfs send *"); a.signal("node2", "KILL", "zfs receive *") }, nil},
	} {
		a.came(int64(i+1) * step)
		failed := a.ended(controller.EventFailed, streams...)
		at := a.position()
		cut.do()
		a.Await("the stream has ended: "+cut.what, func() bool { return a.ended(controller.EventFailed, streams...) > failed })
		if cut.mend != nil {
			cut.mend()
		}
		a.Logf("%s at %d MiB", cut.what, at>>20)
	}
	a.hurry("node2")
	a.has("node2", sum)
	a.nothingLost(1)
	sent := a.sent("node1") - before
	a.Logf("%d MiB were sent for a volume of %d MiB that was cut off ten times", sent>>20, size>>20)
	if sent > 2*size {
		a.Errorf("%d bytes were sent for %d: it did not go on where it was", sent, size)
	}
}
