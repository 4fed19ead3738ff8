//go:build linux

package openzfs_test

import (
	"strings"
	"testing"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/test/openzfs"
)

// What an older OpenZFS cannot receive does not get to it by trying again: the app stays up where it is, the status says what a person can
// do about it, and a manifest that leads elsewhere is followed at once.
func TestTooOld(t *testing.T) {
	if !everything() {
		t.Skip("takes a minute; DROVER_TEST_OPENZFS=all runs it")
	}
	t.Parallel()
	w := newWorld(t, openzfs.Options{Release: "2.3 2.1 2.3"})
	a := w.scribe("long", "log", "", "")
	a.settled()
	name := strings.Repeat("long", 100)
	a.node("node1").Sh("zfs set longname=on " + a.dataset() + " && echo kept >" + a.dir() + "/" + name)
	a.want("node2")
	got := a.says("is too old for what the data needs")
	if !strings.Contains(got, "node2") || !strings.Contains(got, "upgrade it, or choose another node") {
		t.Errorf("it says %q", got)
	}
	a.only("node1")
	if n := a.begun(state.StopApp); n != 0 {
		t.Errorf("the app was stopped %d times", n)
	}
	if l, ok := a.line(); !ok || l.Stalled == "" {
		t.Errorf("it does not stall: %+v", l)
	}
	a.move("node3")
	if got := a.node("node3").Sh("cat " + a.dir() + "/" + name); got != "kept" {
		t.Errorf("on node3 the file has %q", got)
	}
	a.nothingLost(1)
}
