package reconcile

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/state/manifest"
)

// A world is an observed state in a short notation: what is not said is as a healthy cluster has it. Of an app it is enough
// to say on which node it runs: its definition is rendered from the manifests by the package's own rules.
type world struct {
	Nodes       map[string]worldNode
	Apps        map[string]worldApp
	Births      map[string]string // volume -> node, or "node uncreated", or "node uuid=x"; left out: one for every copy there is
	Forgotten   []string          // volumes without a birth though copies are there
	Forced      map[string]uint64 // uuid -> F
	Marks       map[string]string // app -> "paused", "cancelled", or "cancelled elsewhere": for another placement
	Deployments []worldDeployment
	Queue       []state.QueueEntry
	Ready       map[string]string // app -> how long it was seen ready and not yet saved
	Down        map[string]string // app -> how long it has been stopped
	Missed      map[string]string // app -> "2 1m sh": cutovers that went back, how long ago the last one, and who used the volume still
	Past        map[string]string // app -> "stop start"
	Gates       string            // "" for gates that lead where they should, "none" for gates without routes
	Marathon    string            // why it is silent
	Mesos       string
	Register    string
}

type worldNode struct {
	Attributes map[string]string
	Free, Size string // of the pool; 100GiB of 200GiB
	Health     string
	CPUs, Mem  *float64
	Ports      *int
	Inactive   bool   // gets no offers from Mesos
	NoMesos    bool   // Mesos does not know it
	Silent     string // why its Drover agent does not answer; Mesos knows it still
	Copies     []string
	Datasets   []string
	Refused    map[string]string // volume -> epoch
	Rates      map[string]string // node -> bytes a second
	Orphans    map[string]string // volume -> the command that keeps it locked
	Streams    []string          // "tododata node2 quiet=40s waiting=48MiB bound=target": what it sends, and how that goes
}

type worldApp struct {
	At          string          // runs there as wanted
	Held        string          // held for this move
	Tasks       []string        // "node1 running healthy"; an app that is on a node has one there
	Age         string          // of its definition; 1h
	Instances   *int            // scaled by hand
	Constraints []string        // changed by hand: "disk CLUSTER ssd"
	With        map[string]any  // fields that Marathon holds otherwise
	Was         map[string]any  // fields that the manifest had otherwise when Drover deployed it
	Definition  json.RawMessage // an app that is not Drover's
}

type worldDeployment struct {
	ID   string
	Apps []string
}

// noon is when everything in tests happens.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func desired(t testing.TB, text []byte) *state.Desired {
	t.Helper()
	d, err := manifest.Parse(manifest.File{Name: "manifests.yaml", Data: text})
	if err != nil {
		t.Fatal(err)
	}
	return &d
}

// observed reads a world.
func observed(t testing.TB, d *state.Desired, text []byte) *state.Observed {
	t.Helper()
	var w world
	if err := yaml.UnmarshalStrict(text, &w); err != nil {
		t.Fatal(err)
	}
	r := worldReader{TB: t, w: w, d: d}
	return r.read()
}

type worldReader struct {
	testing.TB
	w world
	d *state.Desired
	o *state.Observed
}

func (r *worldReader) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *worldReader) duration(text, otherwise string) time.Duration {
	d, err := time.ParseDuration(cmp.Or(text, otherwise))
	r.must(err)
	return d
}

// bytes reads a size such as 2.1GiB.
func (r *worldReader) bytes(text, otherwise string) int64 {
	text = cmp.Or(text, otherwise)
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if n, ok := strings.CutSuffix(text, unit); ok {
			f, err := strconv.ParseFloat(n, 64)
			r.must(err)
			return int64(f * float64(int64(1)<<(10*(i+1))))
		}
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(text, "B"), 10, 64)
	r.must(err)
	return n
}

func answered(err string) state.Source { return state.Source{At: noon, Err: err} }

func (r *worldReader) read() *state.Observed {
	r.o = &state.Observed{
		Marathon: state.Marathon{Source: answered(r.w.Marathon), Apps: map[state.AppID]*state.RunningApp{}, Queue: r.w.Queue},
		Mesos:    state.Mesos{Source: answered(r.w.Mesos)},
		Register: state.Register{Source: answered(r.w.Register), Births: map[state.VolumeName]state.Birth{}, Members: map[state.NodeID]state.Member{},
			Forced: map[state.UUID]uint64{}, Marks: map[state.AppID]state.Mark{}},
		Nodes:    map[state.NodeID]*state.Node{},
		ReadyFor: map[state.AppID]time.Duration{}, DownFor: map[state.AppID]time.Duration{},
		Past: map[state.AppID]state.Timing{}, Attempts: map[state.AppID]state.Attempts{},
	}
	for _, name := range sortedKeys(r.w.Nodes) {
		r.node(name, r.w.Nodes[name])
	}
	r.register()
	for _, id := range sortedKeys(r.w.Apps) {
		r.app(state.AppID(id), r.w.Apps[id])
	}
	r.counted()
	if r.w.Gates == "" {
		r.gates()
	}
	return r.o
}

func (r *worldReader) node(name string, w worldNode) {
	n := &state.Node{Source: answered(w.Silent), ID: state.NodeID(name), Hostname: state.Hostname(name), Address: name + ":7700",
		Pool: state.Pool{Name: "tank", Health: cmp.Or(w.Health, "ONLINE"), Size: r.bytes(w.Size, "200GiB"), Free: r.bytes(w.Free, "100GiB")},
		Root: "tank/drover", Mounts: "/drover", Datasets: append([]string{"tank", "tank/drover"}, w.Datasets...),
		Refused: map[state.UUID]state.Epoch{}, Rates: map[state.NodeID]float64{}}
	for _, c := range w.Copies {
		cp := r.copy(n, c)
		n.Copies = append(n.Copies, cp)
		n.Datasets = append(n.Datasets, cp.Dataset)
	}
	for v, e := range w.Refused {
		epoch, err := state.ParseEpoch(e)
		r.must(err)
		n.Refused[uuidOf(v)] = epoch
	}
	for to, rate := range w.Rates {
		n.Rates[state.NodeID(to)] = float64(r.bytes(rate, ""))
	}
	for _, v := range sortedKeys(w.Orphans) {
		n.Orphans = append(n.Orphans, state.Orphan{UUID: uuidOf(v), PID: 4711, Command: w.Orphans[v], Since: noon.Add(-time.Minute)})
	}
	for _, text := range w.Streams {
		n.Streams = append(n.Streams, r.stream(n, strings.Fields(text)))
	}
	if n.Answered() || len(n.Copies) == 0 {
		r.o.Nodes[n.ID] = n
	} else {
		r.Fatalf("%s is silent: what it has cannot be known", name)
	}
	r.o.Register.Members[n.ID] = state.Member{ID: n.ID, Hostname: n.Hostname, Address: n.Address}
	if w.NoMesos {
		return
	}
	agent := state.MesosAgent{ID: "agent-" + name, Hostname: n.Hostname, Attributes: w.Attributes, Active: !w.Inactive,
		Free: state.Resources{CPUs: 4, Mem: 4096, Disk: 1 << 20, Ports: 100}}
	if w.CPUs != nil {
		agent.Free.CPUs = *w.CPUs
	}
	if w.Mem != nil {
		agent.Free.Mem = *w.Mem
	}
	if w.Ports != nil {
		agent.Free.Ports = *w.Ports
	}
	r.o.Mesos.Agents = append(r.o.Mesos.Agents, agent)
}

func uuidOf(volume string) state.UUID { return state.UUID("uuid-" + volume) }

// guidOf makes up a snapshot's guid as Predict does.
func guidOf(uuid state.UUID, name string) state.GUID {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s@%s", uuid, name)
	return state.GUID(h.Sum64())
}

// copy reads "tododata primary 0.1 2.1GiB @drover-0.2-0=2GiB @drover-0.2-1 +10MiB key=value...": a snapshot may carry the bytes
// written since the one before, +n are those since the newest; @name!other has another guid; #name is a bookmark of @name, which is gone. What the manifest
// says of the volume is as it says.
func (r *worldReader) copy(n *state.Node, text string) state.Copy {
	words := strings.Fields(text)
	if len(words) < 4 {
		r.Fatalf("copy %q: want volume role epoch size", text)
	}
	want := r.d.Volumes[state.VolumeName(words[0])]
	epoch, err := state.ParseEpoch(words[2])
	r.must(err)
	c := state.Copy{Dataset: n.Root + "/" + words[0], Volume: state.VolumeName(words[0]), UUID: uuidOf(words[0]), Role: state.Role(words[1]), Epoch: epoch,
		Lead: r.leadOf(words[0]), Quota: want.Quota, Reclaim: cmp.Or(want.Reclaim, state.Retain),
		Filesystem: state.Filesystem{Mountpoint: n.Mounts + "/" + words[0], Properties: maps.Clone(want.Properties)}}
	if c.Properties == nil {
		c.Properties = map[string]string{}
	}
	c.Mounted, c.Readonly = c.Role == state.Primary, c.Role != state.Primary
	c.Used = r.bytes(words[3], "")
	c.Referenced = c.Used
	for _, w := range words[4:] {
		r.copyWord(n, &c, w)
	}
	if c.Release != nil {
		c.Release.From, c.Release.Below = n.ID, c.Below()
	}
	return c
}

func (r *worldReader) leadOf(volume string) state.VolumeName {
	for _, app := range r.d.Apps {
		if slices.ContainsFunc(app.Volumes, func(m state.Mount) bool { return string(m.Volume) == volume }) {
			return app.Volumes[0].Volume
		}
	}
	return state.VolumeName(volume)
}

func (r *worldReader) copyWord(n *state.Node, c *state.Copy, w string) {
	switch {
	case w[0] == '@':
		name, size, _ := strings.Cut(w[1:], "=")
		s := state.Snapshot{Name: name, GUID: guidOf(c.UUID, name), Created: noon.Add(-time.Minute), Written: r.bytes(size, "0"), Held: true}
		s.Name, _, _ = strings.Cut(name, "!")
		add(&c.Filesystem, s)
	case w[0] == '#':
		g := guidOf(c.UUID, w[1:])
		c.Bookmarks = append(c.Bookmarks, state.Snapshot{Name: "drover-" + g.String(), GUID: g, Txg: uint64(len(c.Snapshots) + len(c.Bookmarks) + 1)})
	case w[0] == '+':
		c.Written = r.bytes(w[1:], "")
	case strings.HasPrefix(w, "->"):
		to, e, _ := strings.Cut(w[2:], "@")
		epoch, err := state.ParseEpoch(e)
		r.must(err)
		c.Release = &state.Release{To: state.NodeID(to), Epoch: epoch}
		if c.Newest() != nil { // so far
			c.Release.GUID = c.Newest().GUID
		}
	case w == "unmounted":
		c.Mounted = false
	case w == "receiving":
		c.Receiving = true
	case w == "encrypted":
		c.Encrypted = true
	case w == "keyless":
		c.Encrypted, c.KeyMissing = true, true
	default:
		key, value, ok := strings.Cut(w, "=")
		if !ok {
			r.Fatalf("copy on %s: %q is not understood", n.ID, w)
		}
		r.copyValue(c, key, value)
	}
}

// stream reads what a node sends to another.
func (r *worldReader) stream(from *state.Node, words []string) state.Stream {
	s := state.Stream{Volume: state.VolumeName(words[0]), UUID: uuidOf(words[0]), To: state.NodeID(words[1]), Patience: 5 * time.Minute}
	for id, app := range r.d.Apps {
		if slices.ContainsFunc(app.Volumes, func(m state.Mount) bool { return m.Volume == s.Volume }) {
			s.App = id
		}
	}
	for _, w := range words[2:] {
		switch key, value, _ := strings.Cut(w, "="); key {
		case "quiet":
			s.Quiet = from.At.Add(-r.duration(value, ""))
		case "waiting":
			s.Waiting = r.bytes(value, "")
		case "bound":
			s.Bound = state.Bound(value)
		default:
			r.Fatalf("stream of %s: %q is not understood", s.Volume, w)
		}
	}
	return s
}

// child reads "below=logs,2GiB,quota=1024,unsent,device": a child with the snapshots that stand before it, or without the newest one,
// or with none if it is new.
func (r *worldReader) child(c *state.Copy, words []string) state.Child {
	d := state.Child{Path: words[0], Filesystem: state.Filesystem{Readonly: c.Readonly, Mounted: c.Mounted, Mountpoint: c.Mountpoint + "/" + words[0], Properties: map[string]string{}}}
	for _, s := range c.Snapshots {
		s.GUID = guidOf(c.UUID+state.UUID("/"+d.Path), s.Name)
		d.Snapshots = append(d.Snapshots, s)
	}
	d.Referenced = r.bytes(words[1], "")
	d.Used = d.Referenced
	for _, w := range words[2:] {
		switch name, value, _ := strings.Cut(w, "="); name {
		case "new":
			d.Snapshots = nil
		case "unsent":
			d.Snapshots = d.Snapshots[:len(d.Snapshots)-1]
		case "device":
			d = state.Child{Path: d.Path, Device: true}
		case "unmounted":
			d.Mounted = false
		default:
			d.Properties[name] = value
		}
	}
	return d
}

func (r *worldReader) copyValue(c *state.Copy, key, value string) {
	switch key {
	case "below":
		c.Children = append(c.Children, r.child(c, strings.Split(value, ",")))
	case "uuid":
		c.UUID = state.UUID(value)
	case "at":
		c.Dataset, c.Mountpoint = value, "/"+value
	case "lead":
		c.Lead = state.VolumeName(value)
	case "users":
		c.Users = append(c.Users, state.User{PID: 4711, Command: value, How: "open"})
	case "sync":
		c.Properties["sync"], c.SyncOff = value, value == "disabled"
	case "token":
		c.ResumeToken = value
	case "quota":
		c.Quota = r.bytes(value, "")
	case "grace":
		c.GraceServed = r.duration(value, "")
	case "reclaim":
		c.Reclaim = state.Reclaim(value)
	case "age": // of the newest snapshot
		c.Newest().Created = noon.Add(-r.duration(value, ""))
	default:
		c.Properties[key] = value
	}
}

func (r *worldReader) register() {
	for _, id := range sortedKeys(r.o.Nodes) {
		for _, c := range r.o.Nodes[id].Copies {
			if _, known := r.o.Register.Births[c.Volume]; !known && r.w.Births == nil && !slices.Contains(r.w.Forgotten, string(c.Volume)) {
				r.o.Register.Births[c.Volume] = state.Birth{Volume: c.Volume, UUID: c.UUID, Node: id, Created: true}
			}
		}
	}
	for v, text := range r.w.Births {
		words := strings.Fields(text)
		b := state.Birth{Volume: state.VolumeName(v), UUID: uuidOf(v), Node: state.NodeID(words[0]), Created: true}
		for _, w := range words[1:] {
			if w == "uncreated" {
				b.Created = false
			} else {
				b.UUID = state.UUID(strings.TrimPrefix(w, "uuid="))
			}
		}
		r.o.Register.Births[b.Volume] = b
	}
	for uuid, f := range r.w.Forced {
		r.o.Register.Forced[state.UUID(uuid)] = f
	}
	for id, text := range r.w.Marks {
		m := state.Mark{Kind: state.MarkKind(text), Digest: PlacementDigest(r.d.Apps[state.AppID(id)])}
		if kind, elsewhere := strings.CutSuffix(text, " elsewhere"); elsewhere {
			m = state.Mark{Kind: state.MarkKind(kind), Digest: "another placement"}
		}
		r.o.Register.Marks[state.AppID(id)] = m
	}
}

func (r *worldReader) counted() {
	for id, d := range r.w.Ready {
		r.o.ReadyFor[state.AppID(id)] = r.duration(d, "")
	}
	for id, d := range r.w.Down {
		r.o.DownFor[state.AppID(id)] = r.duration(d, "")
	}
	for id, text := range r.w.Past {
		stop, start, _ := strings.Cut(text, " ")
		r.o.Past[state.AppID(id)] = state.Timing{Stop: r.duration(stop, ""), Start: r.duration(start, "")}
	}
	for id, text := range r.w.Missed {
		n, ago, _ := strings.Cut(text, " ")
		ago, kept, _ := strings.Cut(ago, " ")
		missed, err := strconv.Atoi(n)
		r.must(err)
		last := state.Attempts{Missed: missed, Last: noon.Add(-r.duration(ago, ""))}
		if kept != "" {
			last.Users = []state.User{{PID: 4711, Command: kept}}
		}
		r.o.Attempts[state.AppID(id)] = last
	}
	for _, dep := range r.w.Deployments {
		d := state.Deployment{ID: dep.ID, Version: noon}
		for _, a := range dep.Apps {
			d.Apps = append(d.Apps, state.AppID(a))
		}
		r.o.Marathon.Deployments = append(r.o.Marathon.Deployments, d)
	}
}

func (r *worldReader) app(id state.AppID, w worldApp) {
	app := r.d.Apps[id]
	if w.Was != nil {
		app.Definition = merged(app.Definition, w.Was)
	}
	v := newView(r.d, r.o, noon)
	a := v.caseOf(app)
	var at *pin
	if w.At != "" && len(app.Volumes) > 0 {
		at = a.pinAt(r.o.Nodes[state.NodeID(w.At)])
	}
	raw := w.Definition
	if raw == nil {
		def := definition(app, at)
		if w.Held != "" {
			def.hold(state.MoveID(w.Held))
		}
		raw = def.json()
	}
	live := deployed(state.Step{App: id, Definition: merged(raw, w.With)})
	live.Version = noon.Add(-r.duration(w.Age, "1h"))
	if w.Instances != nil {
		live.Instances = *w.Instances
	}
	if w.Constraints != nil {
		live.Constraints = nil
		for _, c := range w.Constraints {
			words := append(strings.Fields(c), "")
			live.Constraints = append(live.Constraints, state.Constraint{Field: words[0], Op: words[1], Value: words[2]})
		}
		live.Definition = merged(live.Definition, map[string]any{"constraints": constraintLists(live.Constraints)})
	}
	if w.Tasks == nil && w.At != "" {
		w.Tasks = []string{w.At + " running healthy"}
	}
	for i, text := range w.Tasks {
		words := append(strings.Fields(text), "")
		live.Tasks = append(live.Tasks, state.Task{ID: fmt.Sprintf("%s.%d", id, i), Host: state.Hostname(words[0]), State: state.TaskState(words[1]),
			Health: state.Health(words[2]), Ports: []int{31000 + i, 32000 + i, 33000 + i}})
	}
	r.o.Marathon.Apps[id] = live
}

// merged replaces fields of a definition; nil takes one out.
func merged(raw json.RawMessage, with map[string]any) json.RawMessage {
	d := parse(raw)
	for k, v := range with {
		if v == nil {
			delete(d, k)
		} else {
			d[k] = v
		}
	}
	return d.json()
}

// gates leads every gate to where the apps answer.
func (r *worldReader) gates() {
	v := newView(r.d, r.o, noon)
	for _, id := range sortedIDs(r.d.Apps) {
		a := v.caseOf(r.d.Apps[id])
		var at *state.Node
		if len(a.vols) > 0 {
			h, ok := a.lead().holder()
			if !ok {
				continue
			}
			at = h.node
		}
		if a.live == nil {
			continue
		}
		_, ready := a.readyTask("")
		for _, n := range r.o.Nodes {
			n.Gate.Routes = append(n.Gate.Routes, a.routes(at, ready)...)
		}
	}
}
