//go:build linux

package openzfs_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/test/openzfs"
)

// What OpenZFS and its users' habits do to one volume while it moves. Nothing here harms a node, so all of it happens side by side
// on one cluster.
func TestQuiet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, openzfs.Options{})
	for _, s := range []struct {
		name   string
		always bool
		do     func(*world)
	}{
		{"map", true, mapped},
		{"blocks", false, blocks},
		{"foreign", false, foreign},
		{"writable", false, writableStandby},
	} {
		t.Run(s.name, func(t *testing.T) {
			if !s.always && !everything() {
				t.Skip("takes a minute or two; DROVER_TEST_OPENZFS=all runs it")
			}
			t.Parallel()
			s.do(w.in(t))
		})
	}
}

// everything says that tests are to take their time.
func everything() bool { return os.Getenv("DROVER_TEST_OPENZFS") == "all" }

// pause has an app's move wait, caught up.
func (a *app) pause() {
	a.Helper()
	a.must(a.Register().SetMark(a.Context(), a.id(), &state.Mark{Kind: state.Paused}))
}

func (a *app) resume() {
	a.Helper()
	a.must(a.Register().SetMark(a.Context(), a.id(), nil))
}

// unchanged checks that nothing was written to a copy since its newest snapshot.
func (a *app) unchanged(node string) {
	a.Helper()
	if got := a.node(node).Sh("zpool sync tank && zfs get -Hp -o value written " + a.dataset()); got != "0" {
		a.Errorf("%s bytes were written to the copy of %s on %s", got, a.name, node)
	}
}

// Who writes through a memory map loses nothing though it never flushes, and the old copy does not change afterwards: pages that
// were dirty at the fence are in the last snapshot and not in memory.
func mapped(w *world) {
	a := w.scribe("map", "map", "", "")
	a.settled()
	a.move("node2")
	a.unchanged("node1")
	a.move("node1")
	a.unchanged("node2")
	a.nothingLost(2)
}

// The target has the source's record size and extended attributes, and large blocks stay large, there and back.
func blocks(w *world) {
	a := w.scribe("blocks", "log", "", "properties: {recordsize: 1M, compression: lz4, xattr: sa}")
	a.settled()
	sum := a.fill("node1", "big", 3<<20)
	look := func(node string) string {
		return a.node(node).Sh("zpool sync tank; stat -c %o " + a.dir() + "/big; zfs get -Hp -o property,value recordsize,compression,xattr " + a.dataset())
	}
	before := look("node1")
	if !strings.HasPrefix(before, fmt.Sprint(1<<20)) {
		a.Errorf("a file with records of 1 MiB: %q", before)
	}
	for i, node := range []string{"node2", "node1"} {
		a.move(node)
		if got := look(node); got != before {
			a.Errorf("on %s it is %q, was %q", node, got, before)
		}
		if got := a.sum(node, "big"); got != sum {
			a.Errorf("on %s the data is %s, was %s", node, got, sum)
		}
		a.node(node).Sh("dd if=/dev/zero of=" + a.dir() + "/big bs=1M count=1 conv=notrunc 2>/dev/null") // goes in an increment
		sum = a.sum(node, "big")
		if flags := a.node("node2").Sh("zfs get -H -o value drover:sendflags " + a.dataset()); i == 0 && flags != "-Lce" {
			a.Errorf("the target remembers the flags %q", flags)
		}
	}
	a.nothingLost(2)
}

// caughtUp brings a settled app's move to the point before its cutover, and has it wait there.
func (a *app) caughtUp(node string) {
	a.Helper()
	a.settled()
	a.pause()
	a.want(node)
	a.says("paused, caught up")
}

// Snapshots and holds of others, on both sides, are left alone and are in nobody's way.
func foreign(w *world) {
	a := w.scribe("foreign", "log", "", "")
	a.caughtUp("node2")
	for _, n := range []string{"node1", "node2"} {
		a.node(n).Sh("zfs snapshot " + a.dataset() + "@autosnap_" + n + "\n" +
			"for s in $(zfs list -H -d 1 -t snapshot -o name " + a.dataset() + "); do zfs hold mine $s; done")
	}
	a.resume()
	a.settled()
	a.only("node2")
	for _, n := range []string{"node1", "node2"} {
		if got := a.node(n).Sh("zfs holds -H " + a.dataset() + "@autosnap_" + n); !strings.Contains(got, "mine") {
			a.Errorf("on %s the hold is gone: %q", n, got)
		}
	}
	a.nothingLost(1)
}

// Somebody makes the standby writable and writes to it. Nothing of that reaches the app, and the move goes on.
func writableStandby(w *world) {
	a := w.scribe("writable", "log", "", "")
	a.caughtUp("node2")
	a.node("node2").Sh("zfs set readonly=off " + a.dataset() + " && zfs mount " + a.dataset() +
		" && echo stray >" + a.dir() + "/stray && zfs unmount " + a.dataset())
	a.resume()
	a.settled()
	a.only("node2")
	if r := a.node("node2").Try(a.Context(), "ls "+a.dir()+"/stray"); r.Code == 0 {
		a.Error("the app has a file that was written to the standby")
	}
	a.nothingLost(1)
}
