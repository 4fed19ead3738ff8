package acceptance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drover-project/drover/lab/marathond"
	"github.com/drover-project/drover/lab/zfsim"
	"github.com/drover-project/drover/marathon"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/test/cluster"
)

// soon is a controller that looks often: what heals is found by looking.
var soon = cluster.Options{Every: time.Second}

// Whatever is wrong with Marathon, nothing is changed, the status says what it is, and the move goes on when it is healed.
func TestMarathonIsIll(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		fault marathond.HTTPFault
		says  []string
	}{
		{"down", marathond.HTTPFault{Status: 503}, []string{"Marathon does not answer", "503", "nothing is changed until it does"}},
		{"answering HTML", marathond.HTTPFault{HTML: true}, []string{"Marathon does not answer", "a web page instead of an answer"}},
		{"cutting every answer off", marathond.HTTPFault{Cut: true}, []string{"Marathon does not answer"}},
	}
	c, _ := begin(t, soon)
	disk := []string{"ssd", "spinning", "ssd"}
	for i, f := range cases {
		c.Marathon.InjectHTTP(f.fault)
		said := c.AwaitWaiting("/db", "Marathon does not answer")
		for _, want := range f.says {
			if !strings.Contains(said, want) {
				t.Errorf("Marathon is %s, and the status says %q, without %q", f.name, said, want)
			}
		}
		d := db()
		d.Disk = disk[i]
		c.Write("db.yaml", d.YAML())
		c.AwaitWaiting("/db", "Marathon does not answer")
		written(c, "/db")
		if err := c.Marathon.ClearFaults(); err != nil {
			t.Fatal(err)
		}
		c.AwaitOn("data", map[string]state.Hostname{"ssd": "node2", "spinning": "node1"}[disk[i]])
	}
}

// A Marathon that is merely slow makes a move slow.
func TestMarathonIsSlow(t *testing.T) {
	t.Parallel()
	c, _ := begin(t, soon)
	c.Marathon.InjectHTTP(marathond.HTTPFault{Delay: marathond.Duration(300 * time.Millisecond)})
	c.Write("db.yaml", onSSD().YAML())
	c.AwaitOn("data", "node2")
	written(c, "/db")
}

// The target's agent is away before the copy begins: the target is no place to go, and is one when it is back.
func TestTargetDownBefore(t *testing.T) {
	t.Parallel()
	c, _ := begin(t, soon)
	c.Nodes["node2"].Stop()
	c.Write("db.yaml", onSSD().YAML())
	said := c.AwaitWaiting("/db", "node2: its Drover agent does not answer")
	for _, want := range []string{"no node can take /db", "node1: disk=spinning is not CLUSTER ssd", "node3: "} {
		if !strings.Contains(said, want) {
			t.Errorf("the status says %q, without %q", said, want)
		}
	}
	written(c, "/db")
	c.Nodes["node2"].Start()
	c.AwaitOn("data", "node2")
}

// The target's agent goes away in the middle of the copy: the app runs on, and the stream goes on where it was.
func TestTargetDownDuring(t *testing.T) {
	t.Parallel()
	c, l := begin(t, soon)
	const size = 24 << 20
	c.Nodes["node1"].Fill("data", "big", size)
	c.Nodes["node2"].Faults(zfsim.Faults{BytesPerSecond: map[string]int64{"tank": 8 << 20}})
	c.Write("db.yaml", onSSD().YAML())
	c.Await("the copy is under way", func() bool {
		cp := c.Nodes["node2"].Copy("data")
		return cp != nil && cp.Receiving
	})
	c.Nodes["node2"].Stop()
	c.Await("the controller has noticed", func() bool {
		a := c.Line("/db")
		return strings.Contains(a.Stalled, "node2: its Drover agent does not answer") || strings.Contains(a.Waiting, "node2")
	})
	written(c, "/db")
	c.Nodes["node2"].Faults(zfsim.Faults{})
	c.Nodes["node2"].Start()
	c.AwaitOn("data", "node2")
	t.Logf("steps %q, %d bytes received of %d", l.Steps("/db"), c.Nodes["node2"].Received(), size)
	if got := c.Nodes["node2"].Received(); got >= size*5/3 {
		t.Errorf("node2 received %d bytes for a volume of %d: the stream began anew", got, size)
	}
}

// The target's agent goes away after it was given the volume: the app is down until it is back, and the status says so.
func TestTargetDownAfterRelease(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, soon)
	c.Write("cluster.yaml", cluster.Rules("1h"))
	c.Write("db.yaml", db().YAML())
	gate := newGate(state.ReleaseVolume)
	c.Lead(gate.event)
	c.AwaitSettled()
	c.Write("db.yaml", onSSD().YAML())
	gate.wait(t)
	c.Nodes["node2"].Stop()
	gate.open()
	if said := c.AwaitWaiting("/db", "volume data was released to node2, which does not answer ("); !strings.Contains(said, "); /db is down until it does") {
		t.Errorf("the status says %q", said)
	}
	if cp := c.Nodes["node1"].Copy("data"); cp.Role != state.Released {
		t.Errorf("the source is %s", cp.Role)
	}
	c.Nodes["node2"].Start()
	c.AwaitOn("data", "node2")
	written(c, "/db")
}

// The source's agent goes away: nobody knows what it holds, so nothing is done until it is back.
func TestSourceDown(t *testing.T) {
	t.Parallel()
	c, _ := begin(t, soon)
	c.Nodes["node1"].Stop()
	c.Write("db.yaml", onSSD().YAML())
	said := c.AwaitWaiting("/db", "no copy of volume data is seen and node1 (")
	if !strings.Contains(said, ") is silent: it is there, or nowhere; nothing is created in its place") {
		t.Errorf("the status says %q", said)
	}
	written(c, "/db")
	c.Nodes["node1"].Start()
	c.AwaitOn("data", "node2")
}

// A target without room is not begun with; when there is room the move goes on.
func TestTargetPoolIsFull(t *testing.T) {
	t.Parallel()
	o := soon
	o.PoolSize = 128 << 20
	c, l := begin(t, o)
	c.Nodes["node1"].Fill("data", "big", 20<<20)
	node2 := c.Nodes["node2"]
	node2.ZFS("create", "-o", "refreservation=60M", "tank/hog")
	c.Write("db.yaml", onSSD().YAML())
	said := c.AwaitStalled("/db", "node2: needs ")
	if !strings.Contains(said, "on pool tank and ") || !strings.Contains(said, " is free") {
		t.Errorf("the status says %q", said)
	}
	if steps := l.Steps("/db"); len(steps) > 0 {
		t.Errorf("steps were done: %q", steps)
	}
	written(c, "/db")
	node2.ZFS("destroy", "tank/hog")
	c.AwaitOn("data", "node2")
}

// The target's pool says that it is full in the middle of the copy.
func TestOutOfSpaceMeanwhile(t *testing.T) {
	t.Parallel()
	c, _ := begin(t, soon)
	node2 := c.Nodes["node2"]
	node2.Faults(zfsim.Faults{Rules: []zfsim.Rule{{Command: "receive", Action: zfsim.ActNoSpace}}})
	c.Write("db.yaml", onSSD().YAML())
	said := c.AwaitWaiting("/db", "space")
	if !strings.Contains(said, "node2") && !strings.Contains(said, string(node2.ID())) {
		t.Errorf("the status says %q, without where", said)
	}
	written(c, "/db")
	node2.Faults(zfsim.Faults{})
	c.AwaitOn("data", "node2")
}

// A dataset of somebody else's has the name that the copy would have.
func TestDatasetInTheWay(t *testing.T) {
	t.Parallel()
	c, _ := begin(t, soon)
	node2 := c.Nodes["node2"]
	node2.ZFS("create", "tank/drover/data")
	node2.ZFS("set", "owner:name=somebody", "tank/drover/data")
	c.Write("db.yaml", onSSD().YAML())
	c.AwaitStalled("/db", "node2: dataset tank/drover/data is in the way and is not a copy of volume data: rename it")
	written(c, "/db")
	node2.ZFS("rename", "tank/drover/data", "tank/drover/old-data")
	c.AwaitOn("data", "node2")
	if got := node2.ZFS("get", "-H", "-o", "value", "owner:name", "tank/drover/old-data"); got != "somebody" {
		t.Errorf("somebody's dataset has owner %q now", got)
	}
}

// A manifest that is half-written is refused with file and line; the last good set stays in force.
func TestHalfWrittenManifest(t *testing.T) {
	t.Parallel()
	c, l := begin(t, soon)
	digest := c.Status().Digest
	whole := onSSD().YAML()
	half, _, _ := strings.Cut(whole, "marathon:")
	path := filepath.Join(c.Manifests, "db.yaml")
	if err := os.WriteFile(path, []byte(half+"  marath"), 0o644); err != nil { // in place, as the simplest of editors
		t.Fatal(err)
	}
	c.Await("the refusal is shown", func() bool { return c.Status().Refusal != "" })
	st := c.Status()
	if !strings.Contains(st.Refusal, "db.yaml") || st.Digest != digest || st.Settled {
		t.Errorf("the status is digest %s (was %s), settled %v, refusal %q", st.Digest, digest, st.Settled, st.Refusal)
	}
	written(c, "/db")
	if steps := l.Steps("/db"); len(steps) > 0 {
		t.Errorf("steps were done: %q", steps)
	}
	if err := os.WriteFile(path, []byte(whole), 0o644); err != nil {
		t.Fatal(err)
	}
	c.AwaitOn("data", "node2")
	if r := c.Status().Refusal; r != "" {
		t.Errorf("the refusal is still shown: %q", r)
	}
}

// Somebody deletes the app, or stops it: it comes back where its data is.
func TestAppChangedBehindOurBack(t *testing.T) {
	t.Parallel()
	c, _ := begin(t, soon)
	if _, err := c.API().DeleteApp(t.Context(), "/db", true); err != nil {
		t.Fatal(err)
	}
	c.Await("the app is gone", func() bool { app := c.App("/db"); return app == nil || len(app.Tasks) == 0 })
	c.AwaitOn("data", "node1")
	written(c, "/db")
	if _, err := c.API().PutApp(t.Context(), "/db", []byte(`{"instances":0}`), marathon.PutOptions{Partial: true, Force: true}); err != nil {
		t.Fatal(err)
	}
	c.Await("the app is scaled up again", func() bool { app := c.App("/db"); return app != nil && app.Instances == 1 })
	c.AwaitOn("data", "node1")
	written(c, "/db")
	body := `{"instances":1,"constraints":[["disk","CLUSTER","ssd"]]}`
	if _, err := c.API().PutApp(t.Context(), "/db", []byte(body), marathon.PutOptions{Partial: true, Force: true}); err != nil {
		t.Fatal(err)
	}
	c.Await("the app is pinned again", func() bool {
		app := c.App("/db")
		return app != nil && len(app.Constraints) == 1 && app.Constraints[0].Value == "node1"
	})
	c.AwaitOn("data", "node1")
	written(c, "/db")
}

// Somebody scales the app up in the middle of its cutover: it starts nowhere, and the move goes on.
func TestScaledUpInMidCutover(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, soon)
	c.Write("db.yaml", db().YAML())
	gate := newGate(state.Fence)
	c.Lead(gate.event)
	c.AwaitSettled()
	c.Write("db.yaml", onSSD().YAML())
	gate.wait(t)
	if _, err := c.API().PutApp(t.Context(), "/db", []byte(`{"instances":1}`), marathon.PutOptions{Partial: true, Force: true}); err != nil {
		t.Fatal(err)
	}
	if app := c.App("/db"); len(app.Tasks) != 0 {
		t.Errorf("it was started in the middle of its cutover: %+v", app.Tasks)
	}
	gate.open()
	c.AwaitOn("data", "node2")
	written(c, "/db")
}

// A foreign app that uses a path in our dataset would lose it: the move waits until it does not.
func TestForeignAppInOurDataset(t *testing.T) {
	t.Parallel()
	c, _ := begin(t, soon)
	path := c.Nodes["node1"].Copy("data").Mountpoint + "/data"
	foreign := `{"id":"/report","cmd":"exec sleep 1000","cpus":0.1,"mem":16,"instances":1,"constraints":[["hostname","CLUSTER","node1"]],
		"container":{"type":"MESOS","volumes":[{"containerPath":"in","hostPath":"` + path + `","mode":"RO"}]}}`
	if _, err := c.API().PutApp(t.Context(), "/report", []byte(foreign), marathon.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Await("the foreign app runs", func() bool { app := c.App("/report"); return app != nil && len(app.Tasks) == 1 })
	c.Write("db.yaml", onSSD().YAML())
	c.AwaitStalled("/db", "app /report has a volume inside "+strings.TrimSuffix(path, "/data"))
	written(c, "/db")
	if _, err := c.API().DeleteApp(t.Context(), "/report", true); err != nil {
		t.Fatal(err)
	}
	c.AwaitOn("data", "node2")
}
