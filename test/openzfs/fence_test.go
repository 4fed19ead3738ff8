//go:build linux

package openzfs_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/test/openzfs"
)

// Who is in a volume when it is fenced, of whom Marathon knows nothing: in namespaces of his own, with pages in memory, in the midst of a
// call. One after the other: each has an outage's budget to use up.
func TestFences(t *testing.T) {
	if !everything() {
		t.Skip("takes minutes; DROVER_TEST_OPENZFS=all runs it")
	}
	t.Parallel()
	w := newWorld(t, openzfs.Options{})
	for name, do := range map[string]func(*world){"elsewhere": elsewhere, "wakes": wakes, "dirty": dirty, "long": long, "brood": brood} {
		t.Run(name, func(t *testing.T) { do(w.in(t)) })
	}
}

// A process in another mount namespace keeps a cutover from going on for as long as the budget allows: the app goes up where it was, and
// moves when the process has ended. The same at the target.
func elsewhere(w *world) {
	a := w.scribe("elsewhere", "log", "", "")
	a.settled()
	a.budget(tight)
	kept := a.keeper("node1", "kept")
	a.want("node2")
	a.says(kept.process() + " on node1 used the app's volume even while the app was stopped")
	a.wentBack(1)
	a.only("node1")
	if got := kept.wake(); got != "wrote: <nil>" {
		a.Errorf("on the primary the process %s", got)
	}
	sum := a.sum("node1", "kept")
	a.budget(ample)
	kept.end()
	a.settled()
	a.only("node2")
	a.unchanged("node1")
	if got := a.sum("node2", "kept"); got != sum {
		a.Errorf("on node2 the file is %s, was %s", got, sum)
	}
	holder := a.holdSource()
	a.holdTarget(holder)
	a.comeIn()
	a.handedOn()
}

// holdSource moves the app from node2 to node1 while a process has the volume mounted that is not mounted for node2's agent. It returns
// the process, which still has the old copy mounted then; a page of it is in node2's memory that was never written.
func (a *app) holdSource() *loner {
	a.Helper()
	backs := a.backs()
	holder := a.loner("node2", "sleep", "100000")
	unmounted := a.stopAt(controller.EventStarted, state.Fence)
	gap := a.gap("node2")
	a.at = "node1"
	a.budget(tight)
	unmounted.then(func() { a.node("node2").Sh("zfs unmount " + a.dataset()) })
	a.wentBack(backs + 1)
	a.only("node2")
	if got := a.failed(state.Fence); !strings.Contains(got, "it is used by pid "+holder.pid+" sleep (mounted)") {
		a.Errorf("the fence was refused by: %s", got)
	}
	a.budget(ample)
	// Mounted for the agent too it is nobody's use: services carry all mounts of their machine.
	gap.then(func() { a.node("node2").Sh(a.Tool("scribe") + " dirty " + a.dir() + "/kept") })
	a.settled()
	a.only("node1")
	holder.cannotWrite(a.dir() + "/late")
	a.node("node2").Sh("sync")
	a.unchanged("node2")
	return holder
}

// holdTarget moves the app back to node2, where a process still has the old copy mounted. That copy may not become writable: what its
// mount has in memory would get to the disk over what is newer by now.
func (a *app) holdTarget(holder *loner) {
	a.Helper()
	a.node("node1").Sh("printf newer | dd of=" + a.dir() + "/kept bs=4096 seek=7 conv=notrunc,fsync 2>/dev/null")
	sum, stops := a.sum("node1", "kept"), a.begun(state.StopApp)
	a.want("node2")
	a.says(holder.process() + " uses the standby of volume " + a.name + " on node2")
	if a.begun(state.StopApp) != stops {
		a.Error("the app was stopped though its target is in use")
	}
	a.only("node1")
	holder.end()
	a.settled()
	a.only("node2")
	a.node("node2").Sh("sync; zpool sync tank")
	if got := a.sum("node2", "kept"); got != sum {
		a.Errorf("on node2 the file is %s, was %s", got, sum)
	}
}

// comeIn moves the app to node1, where a process mounts the standby when it is already given away to it.
func (a *app) comeIn() {
	a.Helper()
	backs := a.backs()
	released := a.stopAt(controller.EventStarted, state.Promote)
	a.want("node1")
	var late *loner
	released.then(func() {
		late = a.loner("node1", "sh", "-c 'zfs mount "+a.dataset()+" && echo mounted && sleep 100000; exit'")
		late.next(1)
	})
	a.says(late.process() + " uses the standby of volume " + a.name + " on node1")
	a.wentBack(backs + 1)
	a.only("node2")
	if got := a.failed(state.Promote); !strings.Contains(got, late.pid) {
		a.Errorf("the promotion was refused by: %s", got)
	}
	late.end()
	a.settled()
	a.only("node1")
}

// A process gets into the volume between the fence's look and its change. It keeps the cutover from going on; after the way back it
// writes on, and what it had in memory does not come over what is newer.
func wakes(w *world) {
	a := w.scribe("wakes", "log", "", "")
	a.caughtUp("node2")
	gap := a.gap("node1")
	a.budget(tight)
	a.resume()
	var kept *loner
	gap.then(func() { kept = a.keeper("node1", "kept") })
	n := a.node("node1")
	until(n, "grep -q '"+a.dataset()+" .* zfs ro' /proc/mounts")
	if got := kept.wake(); !strings.Contains(got, "read-only") {
		a.Errorf("while the volume was fenced the process %s", got)
	}
	a.wentBack(1)
	a.only("node1")
	n.Sh("printf newer | dd of=" + a.dir() + "/kept bs=4096 seek=1 conv=notrunc 2>/dev/null")
	if got := kept.wake(); got != "wrote: <nil>" {
		a.Errorf("after the way back the process %s", got)
	}
	n.Sh("sync; zpool sync tank")
	if got := n.Sh("dd if=" + a.dir() + "/kept bs=4096 skip=1 count=1 2>/dev/null | head -c 5; tail -c 5 " + a.dir() + "/kept"); got != "newerawake" {
		a.Errorf("the file has %q", got)
	}
	sum := a.sum("node1", "kept")
	a.budget(ample)
	kept.end()
	a.settled()
	a.only("node2")
	a.unchanged("node1")
	if got := a.sum("node2", "kept"); got != sum {
		a.Errorf("on node2 the file is %s, was %s", got, sum)
	}
	a.handedOn()
}

// A page that nobody has open any more is in memory when the volume is fenced, and the target goes away before it has everything. After
// the way back the page does not come over what is newer.
func dirty(w *world) {
	a := w.scribe("dirty", "log", "", "")
	a.settled()
	holder := a.loner("node1", "sleep", "100000") // what is in memory of a volume is gone when it is mounted nowhere
	a.caughtUp("node2")
	gap, last := a.gap("node1"), a.stopAt(controller.EventStarted, state.LastIncrement)
	a.budget(tight)
	a.resume()
	gap.then(func() { a.node("node1").Sh(a.Tool("scribe") + " dirty " + a.dir() + "/kept") })
	last.then(func() { a.node("node2").Link(false) })
	a.wentBack(1)
	a.only("node1")
	a.node("node1").Sh("printf newer | dd of=" + a.dir() + "/kept bs=4096 seek=7 conv=notrunc 2>/dev/null; sync; zpool sync tank")
	if got := a.node("node1").Sh("dd if=" + a.dir() + "/kept bs=4096 skip=7 count=1 2>/dev/null | head -c 5"); got != "newer" {
		a.Errorf("the file has %q", got)
	}
	sum := a.sum("node1", "kept")
	a.budget(ample)
	a.node("node2").Link(true)
	a.settled()
	a.only("node2")
	holder.cannotWrite(a.dir() + "/late")
	a.unchanged("node1")
	if got := a.sum("node2", "kept"); got != sum {
		a.Errorf("on node2 the file is %s, was %s", got, sum)
	}
	holder.end()
	a.handedOn()
}

// A process is in the midst of one long write when the volume is fenced: OpenZFS lets it write on. All of it that is acknowledged gets to
// the target, and the old copy does not change afterwards.
func long(w *world) {
	a := w.scribe("long", "idle", "", "properties: {compression: \"off\"}")
	a.caughtUp("node2")
	n := a.node("node1")
	const dirtyMax = "/sys/module/zfs/parameters/zfs_dirty_data_max"
	before := n.Sh("cat " + dirtyMax + "; echo 2097152 >" + dirtyMax + "; head -c 33554432 /dev/urandom >/tmp/long")
	gap := a.gap("node1")
	a.resume()
	var command *openzfs.Command
	gap.then(func() {
		var err error
		command, err = n.Begin("dd if=/tmp/long of=" + a.dir() + "/long bs=32M count=1")
		a.must(err)
		until(n, "test -s "+a.dir()+"/long")
	})
	r := command.Wait(a.Context())
	a.Logf("it ended with %d: %s", r.Code, r.Stderr)
	a.settled()
	a.only("node2")
	a.unchanged("node1")
	if sum := n.Sh("sha256sum </tmp/long; rm /tmp/long; echo " + before + " >" + dirtyMax); r.Code == 0 && a.sum("node2", "long") != sum {
		a.Errorf("what was acknowledged is not on the target; the fence was refused by: %q", a.failed(state.Fence))
	}
}

// A child of the volume is made writable between the move's preparation and the fence, and again in the midst of the fence. The move does
// not go on with what is written to it then; the next fence has it all.
func brood(w *world) {
	a := w.scribe("brood", "idle", "", "")
	a.settled()
	n, child, at := a.node("node1"), a.dataset()+"/sub", filepath.Dir(a.dir())+"/sub"
	n.Sh("zfs create " + child + " && echo first >" + at + "/first")
	holder := a.loner("node1", "sleep", "100000")
	a.caughtUp("node2")
	n.Sh("zfs set readonly=off " + child)
	gap, failed := a.gap("node1"), a.stopAt(controller.EventFailed, state.Fence)
	a.resume()
	gap.then(func() {
		if got := n.Sh("zfs get -H -o source readonly " + child); got != "inherited from "+a.dataset() {
			a.Errorf("when the volume is fenced its child's readonly is %s", got)
		}
		n.Sh("zfs set readonly=off " + child)
	})
	failed.then(func() {
		if r := holder.try("echo late >" + at + "/late"); r.Code != 0 {
			a.Errorf("there was no hole to be seen: %+v", r)
		}
	})
	a.settled()
	a.only("node2")
	if got := a.failed(state.Fence); !strings.Contains(got, child+" has a readonly=off of its own") {
		a.Errorf("the fence was refused by: %s", got)
	}
	if got := a.node("node2").Sh("cat " + at + "/first " + at + "/late"); got != "first\nlate" {
		a.Errorf("on node2 the child has %q", got)
	}
	holder.cannotWrite(at + "/later")
	if got := n.Sh("zpool sync tank; zfs get -Hp -r -t filesystem -o value written " + a.dataset()); got != "0\n0" {
		a.Errorf("bytes were written to the old copy: %q", got)
	}
	holder.end()
}
