//go:build linux

package openzfs_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/test/openzfs"
)

// A source loses its power between an app's fsync and the next transaction group, when the app is already stopped for its move. What was
// written is in the intent log alone; nobody mounts the volume before it is fenced, and still all of it is on the target.
func TestIntentLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, openzfs.Options{})
	a := w.scribe("intent", "log", "", "")
	a.caughtUp("node2")
	n := a.node("node1")
	before := number(t, n.Sh("echo 3600 >/sys/module/zfs/parameters/zfs_txg_timeout && zpool sync tank && wc -l <"+a.dir()+"/log"))
	until(n, fmt.Sprintf("[ $(wc -l <%s/log) -gt %d ]", a.dir(), before+2))
	stopped := a.stopAt(controller.EventStarted, state.Fence)
	a.resume()
	stopped.then(func() { a.PowerOff(n) })

	n.Start()
	if got := n.Sh("zfs get -Hp -o value mounted " + a.dataset()); got != "no" {
		t.Fatalf("it is mounted: %s", got)
	}
	// A clone of a snapshot has what the dataset itself has, and no log.
	kept := number(t, n.Sh("zfs snapshot "+a.dataset()+"@proof && zfs clone -o readonly=on -o mountpoint=/proof "+a.dataset()+"@proof tank/proof"+
		" && wc -l </proof/data/log && zfs destroy tank/proof && zfs destroy "+a.dataset()+"@proof"))
	t.Log(n.Sh("zdb -i " + a.dataset() + " 2>&1 | head -n 30"))
	notes := a.notebook()
	var left int
	if _, err := fmt.Sscanf(notes[len(notes)-1][2], "lines %d", &left); err != nil {
		t.Fatalf("%v in %v", err, notes)
	}
	if kept >= left {
		t.Fatalf("the log of lines has %d without the intent log, of %d: nothing is proven", kept, left)
	}
	t.Logf("of %d lines that were on disk %d are in the intent log alone", left, left-kept)
	a.StartAgent(n)
	w.must(a.Marathon.ReturnAgent(n.Name))
	a.settled()
	a.only("node2")
	a.unchanged("node1")
	a.nothingLost(1) // and so the app was not started where its intent log was
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
