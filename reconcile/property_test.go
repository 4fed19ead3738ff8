package reconcile

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/drover-project/drover/state"
)

// one draws one of the given values.
func one[T any](t *rapid.T, label string, from ...T) T { return rapid.SampledFrom(from).Draw(t, label) }

// rarely is true about once in n.
func rarely(t *rapid.T, label string, n int) bool { return rapid.IntRange(1, n).Draw(t, label) == n }

var propertyVolumes = map[state.AppID][]state.VolumeName{"/a": {"a1"}, "/b": {"b1", "b2"}, "/c": nil}

// anyDesired draws up to three apps, with no, one and two volumes.
func anyDesired(t *rapid.T) *state.Desired {
	d := &state.Desired{Apps: map[state.AppID]state.App{}, Volumes: map[state.VolumeName]state.Volume{},
		Cluster: state.Cluster{Prune: rapid.Bool().Draw(t, "prune"), PruneLimit: rapid.IntRange(0, 2).Draw(t, "limit")}}
	for _, id := range sortedIDs(propertyVolumes) {
		if rarely(t, "no app", 5) {
			continue
		}
		app := state.App{ID: id, Instances: 1, Grace: one(t, "grace", 0, hour), Cutover: state.Cutover{MaxOutage: one(t, "budget", time.Second, 5*time.Second), MaxRounds: 4},
			Definition:  json.RawMessage(one(t, "definition", `{"cmd":"x","cpus":0.1}`, `{"cmd":"y","healthChecks":[{"protocol":"TCP"}],"portDefinitions":[{"name":"e","port":0}]}`)),
			Constraints: one(t, "constraints", nil, []state.Constraint{{Field: "disk", Op: "CLUSTER", Value: "ssd"}}, pinned("n1"), pinned("n2"), pinned("n3"))}
		if rapid.Bool().Draw(t, "endpoint") {
			app.Endpoints = []state.Endpoint{{Name: "e", Address: "127.0.0.2", Port: 1}}
		}
		vols := slices.Clone(propertyVolumes[id])
		if rapid.Bool().Draw(t, "reversed") {
			slices.Reverse(vols)
		}
		for _, v := range vols {
			app.Volumes = append(app.Volumes, state.Mount{Volume: v, ContainerPath: string(v)})
			d.Volumes[v] = state.Volume{Name: v, Reclaim: state.Retain, Quota: one[int64](t, "quota", 0, 50, 500), Adopt: one(t, "adopt", "", "", "", "tank/old")}
		}
		d.Apps[id] = app
	}
	return d
}

// anyObserved draws a cluster of three nodes in any state at all, most of them impossible.
func anyObserved(t *rapid.T, d *state.Desired) *state.Observed {
	o := &state.Observed{Marathon: state.Marathon{Source: anySource(t, "marathon"), Apps: map[state.AppID]*state.RunningApp{}}, Mesos: state.Mesos{Source: anySource(t, "mesos")},
		Register: state.Register{Source: anySource(t, "register"), Births: map[state.VolumeName]state.Birth{}, Marks: map[state.AppID]state.Mark{}, Forced: map[state.UUID]uint64{}},
		Nodes:    map[state.NodeID]*state.Node{}, DownFor: map[state.AppID]time.Duration{}, ReadyFor: map[state.AppID]time.Duration{}}
	for _, id := range []state.NodeID{"n1", "n2", "n3"} {
		o.Nodes[id] = anyNode(t, id)
		if !rarely(t, "unknown to Mesos", 10) {
			o.Mesos.Agents = append(o.Mesos.Agents, state.MesosAgent{ID: string(id), Hostname: state.Hostname(id), Attributes: map[string]string{"disk": one(t, "disk", "ssd", "spinning")},
				Active: !rarely(t, "inactive", 10), Free: state.Resources{CPUs: 4, Mem: 4096, Ports: 10}})
		}
	}
	for _, v := range []state.VolumeName{"a1", "b1", "b2"} {
		if !rarely(t, "no birth", 5) {
			o.Register.Births[v] = state.Birth{Volume: v, UUID: anyUUID(t, v), Node: one[state.NodeID](t, "born", "n1", "n2", "n9"), Created: !rarely(t, "uncreated", 5)}
		}
		if rarely(t, "forced", 20) {
			o.Register.Forced[uuidOf(string(v))] = 1
		}
	}
	for _, id := range sortedIDs(propertyVolumes) {
		anyApp(t, d, o, id)
	}
	return o
}

func anySource(t *rapid.T, label string) state.Source {
	if rarely(t, label, 20) {
		return state.Source{At: noon, Err: "silent"}
	}
	return state.Source{At: noon}
}

func anyUUID(t *rapid.T, v state.VolumeName) state.UUID {
	if rarely(t, "another uuid", 15) {
		return state.UUID("another-" + v)
	}
	return uuidOf(string(v))
}

func anyNode(t *rapid.T, id state.NodeID) *state.Node {
	n := &state.Node{Source: state.Source{At: noon}, ID: id, Hostname: state.Hostname(id), Address: string(id) + ":1", Root: "tank/drover", Mounts: "/drover",
		Pool: state.Pool{Name: "tank", Health: "ONLINE", Free: one[int64](t, "free", 0, 1000, 100000)}, Refused: map[state.UUID]state.Epoch{}}
	for _, v := range []state.VolumeName{"a1", "b1", "b2"} {
		if rapid.Bool().Draw(t, "copy") {
			n.Copies = append(n.Copies, anyCopy(t, v))
		}
		if rarely(t, "refused", 5) {
			n.Refused[uuidOf(string(v))] = anyEpoch(t)
		}
		if rarely(t, "in the way", 10) {
			n.Datasets = append(n.Datasets, "tank/drover/"+string(v))
		}
	}
	if rarely(t, "old", 3) {
		n.Datasets = append(n.Datasets, "tank/old")
	}
	if rarely(t, "silent", 6) {
		n.Err, n.Copies, n.Datasets, n.Refused = "timeout", nil, nil, nil
	}
	return n
}

func anyEpoch(t *rapid.T) state.Epoch {
	return state.Epoch{F: uint64(one(t, "F", 0, 0, 0, 0, 1)), N: uint64(rapid.IntRange(1, 4).Draw(t, "N"))}
}

// snapshotNames in the order in which moves to growing epochs take them.
var snapshotNames = []string{"drover-0.2-0", "drover-0.2-1", "drover-0.2-final", "auto", "drover-0.3-1", "drover-0.3-2", "drover-0.3-final", "drover-0.4-1"}

func anyCopy(t *rapid.T, v state.VolumeName) state.Copy {
	uuid := anyUUID(t, v)
	c := state.Copy{Dataset: "tank/drover/" + string(v), Volume: v, UUID: uuid, Epoch: anyEpoch(t), Lead: one[state.VolumeName](t, "lead", "a1", "b1", "b1", "b2", ""),
		Role:       one(t, "role", state.Primary, state.Fenced, state.Released, state.Retired, state.Standby, state.Standby),
		Filesystem: state.Filesystem{Used: one[int64](t, "used", 0, 10, 100), Referenced: one[int64](t, "referenced", 10, 100), Written: one[int64](t, "written", 0, 0, 5, 1<<30)},
		Quota:      one[int64](t, "quota", 0, 500), Reclaim: state.Retain, GraceServed: one(t, "served", 0, hour), Receiving: rarely(t, "receiving", 20)}
	c.Readonly = c.Role != state.Primary
	c.Mounted = c.Role == state.Primary && !rarely(t, "unmounted", 5)
	from := rapid.IntRange(0, len(snapshotNames)).Draw(t, "from")
	for _, name := range snapshotNames[from:rapid.IntRange(from, len(snapshotNames)).Draw(t, "to")] {
		guid := guidOf(uuid, name)
		if rarely(t, "another snapshot", 15) {
			guid++
		}
		c.Snapshots = append(c.Snapshots, state.Snapshot{Name: name, GUID: guid, Txg: uint64(len(c.Snapshots) + 1), Created: noon.Add(-one(t, "age", 0, hour)), Written: one[int64](t, "written", 0, 10, 1<<30)})
	}
	if c.Role == state.Released || c.Role == state.Retired {
		c.Release = &state.Release{From: one[state.NodeID](t, "given by", "n1", "n2", "n3"), To: one[state.NodeID](t, "given to", "n1", "n2", "n3", "n9"), Epoch: anyEpoch(t), GUID: 1}
		if c.Newest() != nil {
			c.Release.GUID = c.Newest().GUID
		}
		if rarely(t, "unreadable", 20) {
			c.Release = nil
		}
	}
	if c.Role == state.Standby && rarely(t, "token", 6) {
		c.ResumeToken = "1-abc"
	}
	if rarely(t, "used by", 8) {
		c.Users = []state.User{{PID: 1, Command: "db"}}
	}
	return c
}

func anyApp(t *rapid.T, d *state.Desired, o *state.Observed, id state.AppID) {
	if rarely(t, "not in Marathon", 4) {
		return
	}
	app := d.Apps[id]
	app.ID = id
	var at *pin
	if len(app.Volumes) > 0 {
		at = newView(d, o, noon).caseOf(app).pinAt(o.Nodes[one[state.NodeID](t, "runs at", "n1", "n2", "n3")])
	}
	def := definition(app, at)
	if len(app.Volumes) > 0 && rapid.Bool().Draw(t, "held") {
		def.hold(state.MoveID("x-" + anyEpoch(t).String()))
	}
	live := deployed(state.Step{App: id, Definition: def.json()})
	live.Version = noon.Add(-one(t, "age", time.Second, hour))
	live.Instances = one(t, "instances", live.Instances, live.Instances, 0, 1, 2)
	for i := range rapid.IntRange(0, 2).Draw(t, "tasks") {
		live.Tasks = append(live.Tasks, state.Task{ID: fmt.Sprint(id, i), Host: one[state.Hostname](t, "host", "n1", "n2", "n3"), Ports: []int{31000 + i},
			State: one(t, "task", state.TaskRunning, state.TaskRunning, state.TaskStaging, state.TaskUnreachable), Health: one(t, "health", state.Healthy, state.HealthUnknown, state.Unhealthy)})
	}
	o.Marathon.Apps[id] = live
	if rarely(t, "locked", 8) {
		o.Marathon.Deployments = append(o.Marathon.Deployments, state.Deployment{ID: "d", Apps: one(t, "locks", []state.AppID{id}, []state.AppID{id, "/z"})})
	}
	if rapid.Bool().Draw(t, "counted") {
		o.DownFor[id], o.ReadyFor[id] = one(t, "down", 0, time.Second, hour), one(t, "ready", 0, hour)
	}
	if rarely(t, "mark", 8) {
		o.Register.Marks[id] = state.Mark{Kind: one(t, "kind", state.Paused, state.Cancelled), Digest: PlacementDigest(app)}
	}
}

// settling are the kinds of step that end a half-done handover, or restore what the register must know for that.
var settling = []state.StepKind{state.Fence, state.LastIncrement, state.ReleaseVolume, state.Promote, state.SwearOff, state.GoBack, state.AbortRecv, state.RecordBirth, state.ClaimVolume}

// checkDecision checks all that must hold of any decision in any state.
func checkDecision(t *rapid.T, d *state.Desired, o *state.Observed, dec state.Decision) {
	if dec.Step == nil {
		return
	}
	if dec.Waiting != "" || dec.Stalled != "" {
		t.Fatalf("%s, and yet it waits (%s) or is stalled (%s)", stepLine(*dec.Step), dec.Waiting, dec.Stalled)
	}
	for _, s := range dec.Steps() {
		checkStep(t, d, o, s)
	}
	checkBeside(t, d, o, dec)
	checkEffect(t, d, o, dec)
}

// checkStep checks one of the steps of a decision.
func checkStep(t *rapid.T, d *state.Desired, o *state.Observed, s state.Step) {
	line := stepLine(s)
	if reachable(s.Kind) {
		if why := agentRefuses(o, s); why != "" {
			t.Fatalf("%s is refused: %s", line, why)
		}
	}
	if why := untrue(d, o, s); why != "" {
		t.Fatalf("%s rests on what is not so: %s", line, why)
	}
	if s.Kind == state.RemoveApp && (!d.Cluster.Prune || d.Apps[s.App].ID != "") {
		t.Fatalf("%s, which nobody asked for", line)
	}
	if s.Kind == state.ClaimVolume && s.UUID == "" && len(copiesOf(o, s.Volume)) > 0 {
		t.Fatalf("%s though there are copies", line)
	}
	if a := newView(d, o, noon).caseOf(d.Apps[s.App]); len(a.vols) > 0 {
		if h, ok := a.lead().holder(); ok && h.copy.Role != state.Primary && !slices.Contains(settling, s.Kind) {
			t.Fatalf("%s before the handover of %s, %s on %s, is settled", line, h.copy.Volume, h.copy.Role, h.node.ID)
		}
	}
}

// checkBeside makes sure that steps that are done at the same time do not depend on each other: each is of another volume, and is
// decided, allowed and true when all others have been done before it, just as if none had.
func checkBeside(t *rapid.T, d *state.Desired, o *state.Observed, dec state.Decision) {
	volumes, steps := map[state.VolumeName]bool{}, dec.Steps()
	for i, s := range steps {
		if s.Beside != (i > 0) || i > 0 && volumes[s.Volume] {
			t.Fatalf("%d: %s is not beside the others", i, stepLine(s))
		}
		volumes[s.Volume] = true
		if len(steps) == 1 {
			return
		}
		others := Clone(o)
		for j, other := range steps {
			if j != i {
				Predict(others, other, noon)
			}
		}
		if why := agentRefuses(others, s); why != "" {
			t.Fatalf("%s after what is beside it is refused: %s", stepLine(s), why)
		}
		last := NextFor(d, others, noon, dec.App)
		if !slices.Contains(alone(last.Steps()), alone([]state.Step{s})[0]) {
			t.Fatalf("after what is beside it comes %q, not %s", lines(last.Steps()), stepLine(s))
		}
	}
}

// checkEffect predicts a decision: it makes no second writer, and is not made again.
func checkEffect(t *rapid.T, d *state.Desired, o *state.Observed, dec state.Decision) {
	before, after := primaries(o), Clone(o)
	for _, s := range dec.Steps() {
		Predict(after, s, noon)
	}
	for uuid, n := range primaries(after) {
		if n > max(before[uuid], 1) {
			t.Fatalf("%s makes a second writer of %s", stepLine(*dec.Step), uuid)
		}
	}
	if _, wanted := d.Apps[dec.App]; !wanted {
		return
	}
	if again := NextFor(d, after, noon, dec.App).Step; again != nil && stepLine(*again) == stepLine(*dec.Step) {
		t.Fatalf("%s is decided again when it is done", stepLine(*again))
	}
}

func asJSON(v any) string { return jsonText(v) }

// In any state at all, every decision is allowed by the table, is true, is the same for the same state, and changes nothing by being made.
func TestAnyState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := anyDesired(t)
		o := anyObserved(t, d)
		was := asJSON(d) + asJSON(o)
		decisions := Next(d, o, noon)
		for _, dec := range decisions {
			checkDecision(t, d, o, dec)
		}
		if diff := cmp.Diff(asJSON(decisions), asJSON(Next(d, Clone(o), noon))); diff != "" {
			t.Fatalf("another decision about the same state: %s", diff)
		}
		plan := Plan(d, o, noon)
		if text := Format(plan, o); strings.Contains(text, "does not end") {
			t.Fatalf("a plan without end:\n%s%s", text, stepLines(plan))
		}
		if asJSON(d)+asJSON(o) != was {
			t.Fatal("deciding changed what was decided about")
		}
	})
}

// Without manifests nothing is removed unless a person said prune.
func TestNoAppsDesired(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := anyObserved(t, anyDesired(t))
		for _, dec := range Next(&state.Desired{}, o, noon) {
			if dec.Step != nil {
				t.Fatalf("%s", stepLine(*dec.Step))
			}
		}
	})
}

// From a sound cluster, whatever the manifests ask for next and however far that gets, every decision stays allowed and true.
func TestWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := soundDesired()
		o := soundCluster(d)
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			walkOn(t, d, o)
		}
	})
}

func soundDesired() *state.Desired {
	d := &state.Desired{Apps: map[state.AppID]state.App{}, Volumes: map[state.VolumeName]state.Volume{}}
	for id, vols := range propertyVolumes {
		app := state.App{ID: id, Instances: 1, Grace: hour, Cutover: state.Cutover{MaxOutage: 5 * time.Second, MaxRounds: 4}, Definition: json.RawMessage(`{"cmd":"x","cpus":0.1}`)}
		for _, v := range vols {
			app.Volumes = append(app.Volumes, state.Mount{Volume: v, ContainerPath: string(v)})
			d.Volumes[v] = state.Volume{Name: v, Reclaim: state.Retain}
		}
		d.Apps[id] = app
	}
	return d
}

func soundCluster(d *state.Desired) *state.Observed {
	o := &state.Observed{Marathon: state.Marathon{Source: answered(""), Apps: map[state.AppID]*state.RunningApp{}}, Mesos: state.Mesos{Source: answered("")},
		Register: state.Register{Source: answered(""), Births: map[state.VolumeName]state.Birth{}}, Nodes: map[state.NodeID]*state.Node{}, DownFor: map[state.AppID]time.Duration{}}
	for _, id := range []state.NodeID{"n1", "n2", "n3"} {
		o.Nodes[id] = &state.Node{Source: answered(""), ID: id, Hostname: state.Hostname(id), Address: string(id) + ":1", Root: "tank/drover", Mounts: "/drover",
			Pool: state.Pool{Name: "tank", Health: "ONLINE", Free: 1 << 40}}
		o.Mesos.Agents = append(o.Mesos.Agents, state.MesosAgent{ID: string(id), Hostname: state.Hostname(id), Active: true, Free: state.Resources{CPUs: 4, Mem: 4096, Ports: 10}})
	}
	for {
		busy := false
		for _, dec := range Next(d, o, noon) {
			for _, s := range dec.Steps() {
				Predict(o, s, noon)
				busy = true
			}
		}
		if !busy {
			return o
		}
	}
}

// walkOn lets one thing happen: a step, a write, a silence, another placement, a budget that runs out.
func walkOn(t *rapid.T, d *state.Desired, o *state.Observed) {
	app := one[state.AppID](t, "app", "/a", "/b")
	n := o.Nodes[one[state.NodeID](t, "node", "n1", "n2", "n3")]
	switch one(t, "event", "step", "step", "step", "step", "step", "place", "silence", "write", "late", "in time", "served", "meddle") {
	case "step":
		seen := Clone(o)
		for _, id := range sortedKeys(seen.Nodes) {
			if s := seen.Nodes[id]; !s.Answered() {
				s.Copies, s.Datasets, s.Refused = nil, nil, nil
			}
		}
		dec := NextFor(d, seen, noon, app)
		checkDecision(t, d, seen, dec)
		before := Clone(o)
		for _, s := range dec.Steps() {
			if rapid.Bool().Draw(t, "done") || !s.Beside {
				Predict(o, s, noon)
			}
		}
		keepRefusals(before, o)
	case "place":
		a := d.Apps[app]
		a.Constraints = pinned(n.Hostname)
		d.Apps[app] = a
	case "silence":
		if n.Err == "" {
			n.Err = "timeout"
		} else {
			n.Err = ""
		}
	case "write":
		for i := range n.Copies {
			if n.Copies[i].Role == state.Primary {
				n.Copies[i].Written = 10
			}
		}
	case "late":
		o.DownFor[app] = hour
	case "in time":
		o.DownFor[app] = 0
	case "meddle":
		meddle(t, n)
	case "served":
		o.ReadyFor = map[state.AppID]time.Duration{app: hour}
	}
	for uuid, writers := range primaries(o) {
		if writers > 1 {
			t.Fatalf("%d writers of %s", writers, uuid)
		}
	}
}

// meddle does to one copy what a cut stream, a foreign snapshot tool or a person may do to it.
func meddle(t *rapid.T, n *state.Node) {
	if len(n.Copies) == 0 {
		return
	}
	i := rapid.IntRange(0, len(n.Copies)-1).Draw(t, "copy")
	c := &n.Copies[i]
	switch how := one(t, "meddle", "token", "snapshot", "unmount", "lose", "forget a snapshot", "users"); {
	case how == "token" && c.Role == state.Standby:
		c.ResumeToken = "1-abc"
	case how == "snapshot":
		name := fmt.Sprintf("auto-%d", len(c.Snapshots))
		add(&c.Filesystem, state.Snapshot{Name: name, GUID: guidOf(c.UUID, string(n.ID)+name), Written: c.Written})
		c.Written = 0
	case how == "unmount":
		c.Mounted = false
	case how == "lose" && (c.Role == state.Standby || c.Role == state.Retired):
		dataset := c.Dataset
		n.Copies = slices.Delete(n.Copies, i, i+1)
		n.Datasets = slices.DeleteFunc(n.Datasets, func(d string) bool { return d == dataset })
	case how == "forget a snapshot" && len(c.Snapshots) > 0:
		c.Snapshots = c.Snapshots[:len(c.Snapshots)-1]
	case how == "users" && c.Role == state.Primary:
		c.Users = []state.User{{PID: 1, Command: "db"}}
	}
}

// A crash is a longer gap between two looks: after the first k steps of any plan, planning afresh gives exactly the rest. Among steps that
// run side by side it gives the same steps, maybe in another order.
func TestStopAtEveryStep(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) {
			c := readCase(t, f)
			for _, a := range Plan(c.d, c.o, noon).Apps {
				stopAtEvery(t, c, a)
			}
		})
	}
}

func stopAtEvery(t *testing.T, c goldenCase, whole state.AppPlan) {
	o, steps := Clone(c.o), withoutGrace(whole.Steps)
	for k, s := range steps {
		var rest []state.Step
		for _, a := range Plan(c.d, o, noon).Apps {
			if a.App == whole.App {
				rest = withoutGrace(a.Steps)
			}
		}
		want, got := lines(steps[k:]), lines(rest)
		if s.Beside {
			want, got = slices.Sorted(slices.Values(alone(steps[k:]))), slices.Sorted(slices.Values(alone(rest)))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("after %d steps the plan is another (-want +got):\n%s", k, diff)
		}
		Predict(o, s, noon)
	}
}

// withoutGrace leaves out what a plan adds for the time after the grace: it does so only in the plan of the move itself.
func withoutGrace(steps []state.Step) []state.Step {
	return slices.DeleteFunc(slices.Clone(steps), func(s state.Step) bool { return s.Kind == state.DeleteOld || s.Kind == state.SaveGrace })
}

// alone are the lines of steps that do not say what they run beside.
func alone(steps []state.Step) []string {
	steps = slices.Clone(steps)
	for i := range steps {
		steps[i].Beside = false
	}
	return lines(steps)
}

func lines(steps []state.Step) []string {
	var out []string
	for _, s := range steps {
		out = append(out, stepLine(s))
	}
	return out
}

// Side by side or one after the other, the same is done in the end.
func TestSideBySideIsOneAfterTheOther(t *testing.T) {
	files, err := filepath.Glob("testdata/volumes*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d cases, %v", len(files), err)
	}
	for _, f := range files {
		c := readCase(t, f)
		for _, a := range Plan(c.d, c.o, noon).Apps {
			o, got := Clone(c.o), []state.Step(nil)
			for d := NextFor(c.d, o, noon, a.App); d.Step != nil && len(got) < planLimit; d = NextFor(c.d, o, noon, a.App) {
				got = append(got, *d.Step)
				Predict(o, *d.Step, noon)
			}
			want := slices.Sorted(slices.Values(alone(withoutGrace(a.Steps))))
			if diff := cmp.Diff(want, slices.Sorted(slices.Values(alone(got)))); diff != "" {
				t.Errorf("%s: %s", f, diff)
			}
		}
	}
}

// The outage that decides whether a cutover begins is the one that the plan says.
func TestPredictedOutageIsThatOfThePlan(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, f := range files {
		c := readCase(t, f)
		for _, a := range Plan(c.d, c.o, noon).Apps {
			o := Clone(c.o)
			for k, s := range a.Steps {
				if s.Kind != state.StopApp {
					Predict(o, s, noon)
					continue
				}
				to := a.Steps[k+1].Peer
				want := newView(c.d, o, noon).caseOf(c.d.Apps[a.App]).predictOutage(o.Nodes[s.Node], o.Nodes[to])
				if got := outageOf(a.Steps[k:]); got != want {
					t.Errorf("%s: the plan's steps take %s, predicted are %s", f, got, want)
				}
				compared++
				break
			}
		}
	}
	if compared < 20 {
		t.Errorf("only %d plans have a cutover", compared)
	}
}

func outageOf(steps []state.Step) (sum time.Duration) {
	var timer timer
	for _, s := range steps {
		if more := timer.adds(s); s.Outage {
			sum += more
		}
		if s.Kind == state.StartApp {
			break
		}
	}
	return sum
}
