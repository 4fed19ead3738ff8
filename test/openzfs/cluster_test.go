//go:build linux

package openzfs_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/drover-project/drover/test/openzfs"
)

func TestMain(m *testing.M) { openzfs.Main(m) }

// Three nodes keep what they had through a power cut and a clean stop, see each other, and can be parted.
func TestNodes(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	c := openzfs.New(t, openzfs.Options{Nodes: 3})
	t.Logf("three nodes are up after %v", time.Since(begin).Round(time.Millisecond))
	one, two := c.Nodes[0], c.Nodes[1]
	t.Log(one.Sh("zfs version; uname -r"))

	one.Sh("zfs create -o mountpoint=/v tank/v && echo synced >/v/synced && zpool sync tank")
	running, err := one.Begin("echo said; sleep 1000")
	if err != nil {
		t.Fatal(err)
	}
	begin = time.Now()
	one.Cut()
	t.Logf("cut off after %v", time.Since(begin).Round(time.Millisecond))
	if r := running.Wait(t.Context()); !errors.Is(r.Err, openzfs.ErrCut) {
		t.Errorf("a command in a node that is cut off ended with %v", r.Err)
	}
	if one.Alive() {
		t.Error("it is alive after its power was cut")
	}
	begin = time.Now()
	one.Start()
	t.Logf("up again after %v", time.Since(begin).Round(time.Millisecond))
	if got := one.Sh("cat /v/synced"); got != "synced" {
		t.Errorf("after the power cut the file says %q", got)
	}
	one.Stop()
	one.Start()
	if got := one.Sh("cat /v/synced"); got != "synced" {
		t.Errorf("after the stop the file says %q", got)
	}

	one.Sh("ping -c 1 -W 10 " + two.IP + " && ping -c 1 -W 10 " + c.HostIP())
	two.Link(false)
	if r := one.Try(t.Context(), "ping -c 1 -W 1 "+two.IP); r.Code != 1 {
		t.Errorf("a node answers without its cable: %+v", r)
	}
	if got := two.Sh("hostname"); got != "node2" {
		t.Errorf("without its cable node2 says it is %q", got)
	}
	two.Link(true)
	one.Sh("ping -c 1 -W 10 " + two.IP)
}

// Commands say all that they have to say.
func TestCommands(t *testing.T) {
	t.Parallel()
	n := openzfs.New(t, openzfs.Options{}).Nodes[0]
	r := n.Try(t.Context(), "echo out; echo err >&2; exit 3")
	if r.Out != "out\n" || r.Stderr != "err\n" || r.Code != 3 || r.Err == nil {
		t.Errorf("got %+v", r)
	}
	if got := n.Sh("yes 0123456789abcde | head -c 4000000 | md5sum"); !strings.HasPrefix(got, n.Sh("yes 0123456789abcde | head -c 4000000 >/tmp/x; md5sum </tmp/x")) {
		t.Errorf("sum %q", got)
	}
	long, err := n.Begin("trap 'echo ended; exit 0' TERM; while :; do sleep 0.1; done")
	if err != nil {
		t.Fatal(err)
	}
	if err := long.Signal(t.Context(), "TERM"); err != nil {
		t.Fatal(err)
	}
	if r := long.Wait(t.Context()); r.Code != 0 || !strings.Contains(r.Out, "ended") {
		t.Errorf("a command that was told to end: %+v", r)
	}
}

// inEach runs a test in one node of each release of OpenZFS, without a pool.
func inEach(t *testing.T, test func(t *testing.T, n *openzfs.Node)) {
	t.Parallel()
	for _, release := range []string{"2.3", "2.1"} {
		t.Run(release, func(t *testing.T) {
			test(t, openzfs.New(t, openzfs.Options{NoPool: true, Memory: 1024, Release: release}).Nodes[0])
		})
	}
}

// What is said to work on OpenZFS works on OpenZFS: the adapter's own tests, in a node.
func TestAdapter(t *testing.T) {
	inEach(t, func(t *testing.T, n *openzfs.Node) {
		n.GoTest(t, "./zfs", "^("+strings.Join([]string{"TestLifeOfACopy", "TestPoolAndRoot", "TestReplicate", "TestReceiveOnto",
			"TestResume", "TestReceiveAborted", "TestOrigin"}, "|")+")")
	})
}

// What the stand-in is held to, OpenZFS does: the stand-in's own tests that are not of its inside, in a node.
func TestStandInsTests(t *testing.T) {
	if !everything() {
		t.Skip("takes minutes; DROVER_TEST_OPENZFS=all runs it")
	}
	match := "^(TestTranscripts|TestSetIsAtomic|TestUserPropertyLimits|TestUntouched|TestWriteRightAfter|TestCutStreams|TestDamaged|TestEstimate|" +
		"TestKilledReceive$|TestOneReceive|TestResumed|TestSendEnds|TestSnapshotDuring|TestStreamHead|TestStreamsCarry|TestWhile)"
	inEach(t, func(t *testing.T, n *openzfs.Node) { n.GoTest(t, "./lab/zfsim", match) })
}
