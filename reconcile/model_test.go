package reconcile

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/drover-project/drover/state"
)

// A small exhaustive model: two nodes, one volume, epochs to 4, to 2 where copies are tampered with. The rules decide on any of the last four states, with either
// placement wanted, with either node silent or none, in time or late; the agents judge by the table and by what they have
// now. The app writes whenever its copy is writable, and a tool takes snapshots of copies that only receive. In no state that can be reached do two copies write, and what was
// written and acknowledged is never missing where the volume is writable next.

// modelWindow is how many states ago a decision may have been made.
const modelWindow = 3

// moment is a state of the model and the states that decisions may still rest on, newest first.
type moment [1 + modelWindow]int

type model struct {
	epochs   uint64 // how far to go
	meddled  bool   // whether copies that only receive are tampered with
	t        *testing.T
	wanted   []*state.Desired
	states   []*state.Observed
	ids      map[string]int
	steps    []state.Step
	stepIDs  map[string]int
	decided  map[int][]int  // state -> steps decided there
	arrivals map[[2]int]int // state, step -> state after, or the same if it is refused
	writes   map[int]int    // state -> state after a write
}

func TestTwoNodesExhaustively(t *testing.T) {
	t.Run("sound", func(t *testing.T) { exhaust(&model{t: t, epochs: 4}) })
	t.Run("meddled with", func(t *testing.T) { exhaust(&model{t: t, epochs: 2, meddled: true}) })
}

func exhaust(m *model) {
	m.ids, m.stepIDs = map[string]int{}, map[string]int{}
	m.decided, m.arrivals, m.writes = map[int][]int{}, map[[2]int]int{}, map[int]int{}
	for _, host := range []state.Hostname{"n1", "n2"} {
		m.wanted = append(m.wanted, modelDesired(host))
	}
	first := m.state(modelStart(m.wanted[0]))
	begin := moment{first, first, first, first}
	seen, queue := map[moment]bool{begin: true}, []moment{begin}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, next := range m.after(at) {
			if !seen[next] {
				seen[next] = true
				queue = append(queue, next)
			}
		}
	}
	m.reached(len(seen))
}

// reached guards against a model that proves nothing because it does not move.
func (m *model) reached(moments int) {
	kinds, back, top := map[state.StepKind]bool{}, false, state.Epoch{}
	for at := range m.arrivals {
		if m.arrivals[at] != at[0] {
			kinds[m.steps[at[1]].Kind] = true
		}
	}
	for _, o := range m.states {
		for _, n := range o.Nodes {
			for _, c := range n.Copies {
				top = state.MaxEpoch(top, c.Epoch)
				back = back || c.Role == state.Primary && n.ID == "n1" && c.Epoch.N > 2
			}
		}
	}
	for _, k := range []state.StepKind{state.Replicate, state.CatchUp, state.Fence, state.LastIncrement, state.ReleaseVolume, state.Promote, state.Retire,
		state.SwearOff, state.GoBack, state.Rejoin, state.SetAside, state.DeleteOld, state.StopApp, state.StartApp} {
		if !kinds[k] && (m.meddled || k != state.SwearOff && k != state.SetAside) {
			m.t.Errorf("no %s was ever done", k)
		}
	}
	if !back && !m.meddled || top.N <= m.epochs {
		m.t.Errorf("the model got no further than epoch %s", top)
	}
	m.t.Logf("%d states, %d moments, %d different steps", len(m.states), moments, len(m.steps))
}

func modelDesired(host state.Hostname) *state.Desired {
	return &state.Desired{Volumes: map[state.VolumeName]state.Volume{"v": {Name: "v", Reclaim: state.Retain}},
		Apps: map[state.AppID]state.App{"/a": {ID: "/a", Instances: 1, Volumes: []state.Mount{{Volume: "v", ContainerPath: "v"}}, Constraints: pinned(host),
			Cutover: state.Cutover{MaxOutage: 5 * time.Second, MaxRounds: 3}, Definition: json.RawMessage(`{"cmd":"x"}`)}}}
}

func modelStart(d *state.Desired) *state.Observed {
	o := &state.Observed{Marathon: state.Marathon{Source: answered(""), Apps: map[state.AppID]*state.RunningApp{}}, Mesos: state.Mesos{Source: answered("")},
		Register: state.Register{Source: answered(""), Births: map[state.VolumeName]state.Birth{"v": {Volume: "v", UUID: "u", Node: "n1", Created: true}}}, Nodes: map[state.NodeID]*state.Node{}}
	for _, id := range []state.NodeID{"n1", "n2"} {
		o.Nodes[id] = &state.Node{Source: answered(""), ID: id, Hostname: state.Hostname(id), Root: "tank", Mounts: "/m", Pool: state.Pool{Health: "ONLINE", Free: 1 << 40}}
		o.Mesos.Agents = append(o.Mesos.Agents, state.MesosAgent{ID: string(id), Hostname: state.Hostname(id), Active: true, Free: state.Resources{CPUs: 4, Mem: 4096, Ports: 10}})
	}
	o.Nodes["n1"].Copies = []state.Copy{{Dataset: "tank/v", Volume: "v", UUID: "u", Role: state.Primary, Epoch: firstEpoch, Lead: "v", Filesystem: state.Filesystem{Mounted: true, Mountpoint: "/m/v"}, Reclaim: state.Retain}}
	for {
		s := NextFor(d, o, noon, "/a").Step
		if s == nil {
			return o
		}
		Predict(o, *s, noon)
	}
}

// state numbers a state; what the agents do not look at is not part of it.
func (m *model) state(o *state.Observed) int {
	o.DownFor, o.ReadyFor, o.Attempts = nil, nil, nil
	for _, n := range o.Nodes {
		n.Pool.Free = 1 << 40
		for i := range n.Copies {
			n.Copies[i].Used = 0
			for j, s := range n.Copies[i].Snapshots {
				if s.Name != "auto" {
					n.Copies[i].Snapshots[j].Written = 0
				}
			}
		}
	}
	live := o.Marathon.Apps["/a"]
	key := asJSON([]any{o.Nodes["n1"].Copies, o.Nodes["n1"].Refused, o.Nodes["n2"].Copies, o.Nodes["n2"].Refused, live.Constraints, live.Instances, live.Tasks})
	id, known := m.ids[key]
	if !known {
		id = len(m.states)
		m.ids[key] = id
		m.states = append(m.states, o)
		m.check(o)
	}
	return id
}

func (m *model) check(o *state.Observed) {
	if n := primaries(o)["u"]; n > 1 {
		m.t.Fatalf("%d writers: %s", n, asJSON(o.Nodes))
	}
}

// after returns the moments that can come after one.
func (m *model) after(at moment) []moment {
	if m.spent(at[0]) {
		return nil
	}
	var out []moment
	add := func(next int) {
		if next != at[0] {
			out = append(out, moment{next, at[0], at[1], at[2]})
		}
	}
	for i, from := range at {
		for _, s := range m.decisions(from) {
			if i == 0 || m.guarded(s) {
				add(m.arrive(at[0], s))
			}
		}
	}
	add(m.write(at[0]))
	if m.meddled {
		add(m.meddle(at[0], 0))
		add(m.meddle(at[0], 1))
	}
	return out
}

// guarded reports whether a step is one that the agents guard: only those may come late. Marathon's word proves nothing.
func (m *model) guarded(step int) bool { return reachable(m.steps[step].Kind) }

func (m *model) spent(id int) bool {
	for _, n := range m.states[id].Nodes {
		for _, c := range n.Copies {
			if c.Epoch.N > m.epochs {
				return true
			}
		}
	}
	return false
}

// decisions returns what the rules may decide in a state.
func (m *model) decisions(id int) []int {
	if d, ok := m.decided[id]; ok {
		return d
	}
	found := map[int]bool{}
	for _, d := range m.wanted {
		for _, silent := range []state.NodeID{"", "n1", "n2"} {
			for _, down := range []time.Duration{0, hour} {
				o := Clone(m.states[id])
				o.DownFor = map[state.AppID]time.Duration{"/a": down}
				if n := o.Nodes[silent]; n != nil {
					n.Err, n.Copies, n.Datasets, n.Refused = "timeout", nil, nil, nil
				}
				if s := NextFor(d, o, noon, "/a").Step; s != nil {
					found[m.step(*s)] = true
				}
			}
		}
	}
	m.decided[id] = sortedKeys(found)
	return m.decided[id]
}

func (m *model) step(s state.Step) int {
	s.Why, s.Took, s.Bytes = "", 0, 0
	key := asJSON(s)
	id, known := m.stepIDs[key]
	if !known {
		id = len(m.steps)
		m.stepIDs[key] = id
		m.steps = append(m.steps, s)
	}
	return id
}

// arrive lets a step reach its agent.
func (m *model) arrive(at, step int) int {
	if next, ok := m.arrivals[[2]int{at, step}]; ok {
		return next
	}
	next, s, o := at, m.steps[step], m.states[at]
	if !reachable(s.Kind) || agentRefuses(o, s) == "" {
		if s.Kind == state.Promote {
			m.checkPromotion(o, s)
		}
		after := Clone(o)
		Predict(after, s, noon)
		keepRefusals(o, after)
		next = m.state(after)
	}
	m.arrivals[[2]int{at, step}] = next
	return next
}

// keepRefusals: what a node has sworn off stays so. Predict only says which epoch it answered for.
func keepRefusals(before, after *state.Observed) {
	for id, n := range before.Nodes {
		for uuid, e := range n.Refused {
			after.Nodes[id].Refused[uuid] = state.MaxEpoch(e, after.Nodes[id].Refused[uuid])
		}
	}
}

// checkPromotion: what the source wrote before its fence is on the target. Nothing can have been written since.
func (m *model) checkPromotion(o *state.Observed, s state.Step) {
	src, dst := copyOf(o.Nodes[s.Peer], "u"), copyOf(o.Nodes[s.Node], "u")
	if src == nil || src.Role != state.Released || src.Written != 0 || dst.ChangedSince(src.Newest().GUID) {
		m.t.Fatalf("promoted without all that the source has: %s", asJSON(o.Nodes))
	}
}

// write lets the app write, if it runs where its copy is writable.
func (m *model) write(at int) int {
	if next, ok := m.writes[at]; ok {
		return next
	}
	o := Clone(m.states[at])
	for _, n := range o.Nodes {
		for i := range n.Copies {
			if c := &n.Copies[i]; c.Role == state.Primary && c.Mounted {
				c.Written = 1
			}
		}
	}
	m.writes[at] = m.state(o)
	return m.writes[at]
}

// meddle lets a snapshot be taken of every copy that only receives. If something was written no increment fits on it any more.
func (m *model) meddle(at int, written int64) int {
	o := Clone(m.states[at])
	for _, n := range o.Nodes {
		for i := range n.Copies {
			if c := &n.Copies[i]; c.Role == state.Standby && len(c.Snapshots) > 0 && c.Newest().Name != "auto" {
				add(&c.Filesystem, state.Snapshot{Name: "auto", GUID: 1, Written: written})
			}
		}
	}
	return m.state(o)
}
