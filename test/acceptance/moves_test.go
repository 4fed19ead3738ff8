package acceptance

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

func db() cluster.DB {
	return cluster.DB{ID: "/db", Volumes: []state.VolumeName{"data"}, Disk: "spinning"}
}

// onSSD is the database where another disk is wanted.
func onSSD() cluster.DB {
	d := db()
	d.Disk = "ssd"
	return d
}

// begin starts a cluster with the database on node1, led by a controller.
func begin(t *testing.T, o cluster.Options) (*cluster.Cluster, *cluster.Controller) {
	t.Helper()
	c := cluster.New(t, o)
	c.Write("cluster.yaml", cluster.Rules("1h"))
	c.Write("db.yaml", db().YAML())
	l := c.Lead(nil)
	c.AwaitSettled()
	l.Forget()
	return c, l
}

// written waits until the database has acknowledged more writes than before.
func written(c *cluster.Cluster, id state.AppID) {
	before := c.Acknowledged(id)
	c.Await("more writes of "+string(id), func() bool { return c.Acknowledged(id) > before })
}

func wantSteps(t *testing.T, got []state.StepKind, want ...state.StepKind) {
	t.Helper()
	at := 0
	for _, k := range got {
		if at < len(want) && k == want[at] {
			at++
		}
	}
	if at < len(want) {
		t.Errorf("steps %q, want among them in this order %q: %q is missing", got, want, want[at])
	}
}

// ask asks a database over the network.
func ask(t *testing.T, addr string) (cluster.Reply, error) {
	t.Helper()
	var r cluster.Reply
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + addr + "/")
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	return r, json.NewDecoder(resp.Body).Decode(&r)
}

const big = 6 << 20 // bytes that make a full copy tell from an increment

// A move there and back: the way back sends only what has changed since, into the old copy.
func TestMoveAndBack(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Options{})
	d := db()
	d.Endpoint = c.IP(10)
	c.Write("cluster.yaml", cluster.Rules("1h"))
	c.Write("db.yaml", d.YAML())
	l := c.Lead(nil)
	c.AwaitOn("data", "node1")
	c.Nodes["node1"].Fill("data", "big", big)
	if r, err := ask(t, d.Endpoint+":7000"); err != nil || r.Host != "node1" {
		t.Errorf("through the endpoint: %+v, %v; want node1", r, err)
	}
	l.Forget()

	d.Disk = "ssd"
	c.Write("db.yaml", d.YAML())
	c.AwaitOn("data", "node2")
	wantSteps(t, l.Steps("/db"), state.Replicate, state.CatchUp, state.HoldConnections, state.StopApp, state.Fence, state.LastIncrement,
		state.ReleaseVolume, state.Promote, state.StartApp, state.SetRoutes)
	if got := c.Nodes["node2"].Received(); got < big {
		t.Errorf("node2 received %d bytes, want all %d", got, big)
	}
	if r, err := ask(t, d.Endpoint+":7000"); err != nil || r.Host != "node2" {
		t.Errorf("through the endpoint: %+v, %v; want node2", r, err)
	}
	if m := l.Move("/db"); m == nil || m.Back || m.Outage <= 0 {
		t.Errorf("the move is recorded as %+v", m)
	}
	written(c, "/db")
	l.Forget()

	d.Disk = "spinning"
	c.Write("db.yaml", d.YAML())
	c.AwaitOn("data", "node1")
	steps := l.Steps("/db")
	wantSteps(t, steps, state.Rejoin, state.CatchUp, state.StopApp, state.Fence, state.LastIncrement, state.ReleaseVolume, state.Promote, state.StartApp)
	if slices.Contains(steps, state.Replicate) {
		t.Errorf("the way back was a full copy: %q", steps)
	}
	if got := c.Nodes["node1"].Received(); got >= big/2 {
		t.Errorf("node1 received %d bytes on the way back, as if it had no base", got)
	}
	written(c, "/db")
}

// Several volumes move together, led by the first.
func TestSeveralVolumes(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Options{})
	d := db()
	d.Volumes = []state.VolumeName{"data", "wal", "attic"}
	c.Write("cluster.yaml", cluster.Rules("1h"))
	c.Write("db.yaml", d.YAML())
	l := c.Lead(nil)
	c.AwaitSettled()
	c.Nodes["node1"].Fill("attic", "old", 1<<20)
	l.Forget()
	d.Disk = "ssd"
	c.Write("db.yaml", d.YAML())
	c.AwaitOn("data", "node2")
	for _, v := range d.Volumes {
		cp, old := c.Nodes["node2"].Copy(v), c.Nodes["node1"].Copy(v)
		if cp == nil || old == nil || cp.Role != state.Primary || !cp.Mounted || old.Role != state.Retired || cp.Lead != "data" {
			t.Errorf("volume %s: on node2 %+v, on node1 %+v", v, cp, old)
		}
	}
	written(c, "/db")
}

// The old copy goes when the app was ready for its grace, and not before the primary has all of it.
func TestOldCopyGoes(t *testing.T) {
	t.Parallel()
	c, l := begin(t, cluster.Options{})
	d := onSSD()
	d.Grace = "1s"
	c.Write("db.yaml", d.YAML())
	c.AwaitOn("data", "node2")
	c.Await("the old copy is deleted", func() bool { return c.Nodes["node1"].Copy("data") == nil })
	c.AwaitOn("data", "node2")
	wantSteps(t, l.Steps("/db"), state.Promote, state.Retire, state.SaveGrace, state.DeleteOld)
	if left := c.Nodes["node1"].ZFS("list", "-H", "-o", "name", "-r", "-t", "all", "tank"); strings.Contains(left, "data") {
		t.Errorf("node1 still has\n%s", left)
	}
}

// A restart of the agent is nothing to the task that runs on its node.
func TestAgentRestartsUnderTask(t *testing.T) {
	t.Parallel()
	c, _ := begin(t, cluster.Options{})
	before := c.Task("/db")
	addr := c.Address(before)
	was, err := ask(t, addr)
	if err != nil {
		t.Fatal(err)
	}
	guid := c.Nodes["node1"].ZFS("get", "-H", "-o", "value", "drover:epoch,mounted,guid", "tank/drover/data")
	for range 2 {
		c.Nodes["node1"].Stop()
		written(c, "/db")
		c.Nodes["node1"].Start()
		written(c, "/db")
	}
	c.AwaitSettled()
	is, err := ask(t, addr)
	if err != nil || is.PID != was.PID || is.Task != before.ID || is.Last <= was.Last {
		t.Errorf("the task was %+v and is %+v, %v", was, is, err)
	}
	if got := c.Nodes["node1"].ZFS("get", "-H", "-o", "value", "drover:epoch,mounted,guid", "tank/drover/data"); got != guid {
		t.Errorf("the dataset was %q and is %q", guid, got)
	}
}

// A paused move waits, caught up; a cancelled one is not tried until the placement changes.
func TestPauseResumeCancel(t *testing.T) {
	t.Parallel()
	c, l := begin(t, cluster.Options{Every: time.Second})
	mark := func(m *state.Mark) {
		t.Helper()
		if err := c.Register().SetMark(t.Context(), "/db", m); err != nil {
			t.Fatal(err)
		}
	}
	mark(&state.Mark{Kind: state.Paused})
	c.Write("db.yaml", onSSD().YAML())
	c.AwaitWaiting("/db", "paused, caught up; go on with: drover resume /db")
	wantSteps(t, l.Steps("/db"), state.Replicate, state.CatchUp)
	if cp := c.Nodes["node1"].Copy("data"); cp.Role != state.Primary {
		t.Errorf("the paused move's source is %s", cp.Role)
	}
	mark(&state.Mark{Kind: state.Cancelled, Digest: c.PlacementDigest("/db")})
	c.AwaitNote("/db", "its move was cancelled; it stays on node1")
	mark(&state.Mark{Kind: state.Paused})
	c.AwaitWaiting("/db", "paused, caught up")
	mark(nil)
	c.AwaitOn("data", "node2")
	written(c, "/db")
}

// A cutover that the app's slow end makes too long goes back within the budget, and comes through when the app is quick.
func TestOverBudgetGoesBack(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Options{})
	slow := "    taskKillGracePeriodSeconds: 200\n" // at 50 ms each: 10 s
	d := db()
	d.Marathon = slow
	c.Write("db.yaml", d.YAML())
	l := c.Lead(nil)
	c.AwaitSettled()
	quick := state.Timing{Stop: time.Millisecond, Start: time.Millisecond}
	if err := c.Register().SetTiming(t.Context(), "/db", quick); err != nil { // it is predicted to fit
		t.Fatal(err)
	}
	d = onSSD()
	d.Budget, d.Marathon = "8s", slow
	c.Stubborn(true)
	c.Write("db.yaml", d.YAML())
	c.AwaitWaiting("/db", "its cutover did not come about, ")
	if cp := c.Nodes["node1"].Copy("data"); cp.Role != state.Primary {
		t.Errorf("the copy on node1 is %s", cp.Role)
	}
	written(c, "/db")
	if m := l.Move("/db"); m == nil || !m.Back {
		t.Errorf("the move is recorded as %+v, want one that went back", m)
	}
	c.Stubborn(false)
	c.AwaitOn("data", "node2")
	if m := l.Move("/db"); m == nil || m.Back {
		t.Errorf("the second move is recorded as %+v", m)
	}
}

// An app without volumes is deployed, changed and scaled, and goes only when that is asked for.
func TestWithoutVolumes(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Options{})
	web := cluster.DB{ID: "/web", Instances: 2, Endpoint: c.IP(11)}
	other := cluster.DB{ID: "/other", Instances: 1}
	c.Write("cluster.yaml", cluster.Rules("1h"))
	c.Write("web.yaml", web.YAML())
	c.Write("other.yaml", other.YAML())
	c.Lead(nil)
	c.AwaitSettled()
	if r, err := ask(t, web.Endpoint+":7000"); err != nil || !strings.HasPrefix(r.Task, "web") {
		t.Errorf("through the endpoint: %+v, %v", r, err)
	}
	web.Instances = 3
	c.Write("web.yaml", web.YAML())
	c.AwaitSettled()
	if app := c.App("/web"); app.Instances != 3 || len(app.Tasks) != 3 {
		t.Errorf("/web has %d instances and %d tasks, want 3", app.Instances, len(app.Tasks))
	}
	version := c.App("/web").Version
	web.Marathon = "    env: {COLOUR: blue}\n"
	c.Write("web.yaml", web.YAML())
	c.AwaitSettled()
	if app := c.App("/web"); !app.Version.After(version) || !strings.Contains(string(app.Definition), `"COLOUR":"blue"`) {
		t.Errorf("the change did not arrive: %s", app.Definition)
	}
	c.Remove("other.yaml")
	c.AwaitNote("/other", "is no longer in the manifests; it is left running")
	c.Write("cluster.yaml", cluster.Rules("1h", "  prune: true\n"))
	c.Await("/other is removed", func() bool { return c.App("/other") == nil })
	c.AwaitSettled()
}

// An app with a volume that left the manifests goes with prune, and its volume stays and comes back with it.
func TestPruneKeepsVolumes(t *testing.T) {
	t.Parallel()
	c, _ := begin(t, cluster.Options{})
	c.Write("web.yaml", cluster.DB{ID: "/web", Instances: 1}.YAML())
	c.AwaitSettled()
	acknowledged := c.Acknowledged("/db")
	c.Remove("db.yaml")
	c.AwaitNote("/db", "it is left running")
	c.Write("cluster.yaml", cluster.Rules("1h", "  prune: true\n"))
	c.Await("/db is removed", func() bool { return c.App("/db") == nil })
	if cp := c.Nodes["node1"].Copy("data"); cp == nil || cp.Role != state.Primary {
		t.Fatalf("the volume is %+v", cp)
	}
	c.Write("db.yaml", db().YAML())
	c.AwaitOn("data", "node1")
	written(c, "/db")
	if now := c.Acknowledged("/db"); now <= acknowledged {
		t.Errorf("%d writes before, %d after", acknowledged, now)
	}
}
