package reconcile

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/drover-project/drover/state"
)

// Predict applies a step's effect to o, which it changes. It is what the dry run believes that doing the step would do;
// tests compare it with what doing it did.
func Predict(o *state.Observed, s state.Step, now time.Time) {
	p := predictor{o: o, s: s, now: now}
	if Missed(o, s) {
		p.missed()
	}
	switch s.Kind {
	case state.ClaimVolume, state.RecordBirth:
		p.register()
	case state.CreateVolume, state.AdoptVolume:
		p.create()
	case state.Replicate, state.Resume, state.CatchUp, state.LastIncrement:
		p.send()
	case state.HoldConnections, state.SetRoutes:
		p.route()
	case state.StopApp, state.StartApp, state.DeployApp, state.ScaleApp, state.RemoveApp, state.VerifyReady:
		p.marathon()
	case state.SwearOff:
		n := o.Nodes[s.Node]
		if n.Refused == nil {
			n.Refused = map[state.UUID]state.Epoch{}
		}
		n.Refused[s.UUID] = s.Epoch
	case state.SetAside, state.DeleteOld:
		p.remove()
	default:
		if c := p.copy(s.Node); c != nil {
			p.change(c)
		}
	}
}

// Missed reports whether a step, about to be done in o, ends a cutover that did not come about: a way back, or the start of a
// held app where it was. The next cutover of the app waits longer for each.
func Missed(o *state.Observed, s state.Step) bool {
	if s.Kind == state.GoBack {
		return s.Lead == "" || s.Lead == s.Volume
	}
	return s.Kind == state.StartApp && Held(o, s.App) && !arrived(o, s)
}

// arrived reports whether the app's lead has reached the epoch that its cutover led to.
func arrived(o *state.Observed, s state.Step) bool {
	move := o.Marathon.Apps[s.App].Constraints[0].Value
	led, err := state.ParseEpoch(move[strings.LastIndex(move, "-")+1:])
	return err == nil && slices.ContainsFunc(o.Nodes[s.Node].Copies, func(c state.Copy) bool {
		return c.Volume == s.Lead && c.Role == state.Primary && !c.Epoch.Less(led)
	})
}

type predictor struct {
	o   *state.Observed
	s   state.Step
	now time.Time
}

func (p *predictor) copy(node state.NodeID) *state.Copy {
	n := p.o.Nodes[node]
	if n == nil {
		return nil
	}
	for i := range n.Copies {
		if n.Copies[i].UUID == p.s.UUID {
			return &n.Copies[i]
		}
	}
	return nil
}

func (p *predictor) missed() {
	if p.o.Attempts == nil {
		p.o.Attempts = map[state.AppID]state.Attempts{}
	}
	p.o.Attempts[p.s.App] = state.Attempts{Missed: p.o.Attempts[p.s.App].Missed + 1, Last: p.now, Users: Lingering(p.o, p.s)}
}

// Lingering returns who uses a volume of the step's app on its node in o.
func Lingering(o *state.Observed, s state.Step) []state.User {
	var users []state.User
	n := o.Nodes[s.Node]
	if n == nil {
		return nil
	}
	for _, c := range n.Copies {
		if c.Volume == s.Volume || c.Lead == s.Volume {
			users = append(users, c.Users...)
		}
	}
	return users
}

func (p *predictor) register() {
	if p.o.Register.Births == nil {
		p.o.Register.Births = map[state.VolumeName]state.Birth{}
	}
	b := state.Birth{Volume: p.s.Volume, UUID: p.s.UUID, Node: p.s.Node, Created: p.s.Kind == state.RecordBirth}
	if b.UUID == "" {
		b.UUID = state.UUID("new-" + p.s.Volume)
	}
	p.o.Register.Births[p.s.Volume] = b
}

func (p *predictor) create() {
	n := p.o.Nodes[p.s.Node]
	n.Copies = append(n.Copies, state.Copy{Dataset: p.s.Dataset, Volume: p.s.Volume, UUID: p.s.UUID, Role: state.Primary, Epoch: p.s.Epoch,
		Lead: p.s.Lead, Quota: p.s.Quota, Reclaim: p.s.Reclaim,
		Filesystem: state.Filesystem{Mounted: true, Mountpoint: n.Mounts + "/" + string(p.s.Volume), Properties: cloneMap(p.s.Properties)}})
	if !contains(n.Datasets, p.s.Dataset) {
		n.Datasets = append(n.Datasets, p.s.Dataset)
	}
}

// change is every step whose effect is within one copy.
func (p *predictor) change(c *state.Copy) {
	switch p.s.Kind {
	case state.SetProperties:
		c.Quota, c.Reclaim = p.s.Quota, p.s.Reclaim
		if c.Properties == nil {
			c.Properties = map[string]string{}
		}
		for k, v := range p.s.Properties {
			c.Properties[k] = v
		}
		c.Limits = nil
		for i := range c.Children {
			c.Children[i].Limits = nil
		}
	case state.MountVolume:
		remount(c, true, c.Readonly)
	case state.Rejoin:
		c.Role, c.Readonly, c.GraceServed = state.Standby, true, 0
	case state.Fence:
		c.Role = state.Fenced
		remount(c, false, true)
		p.snapshot(c, p.s.Snapshot)
	case state.ReleaseVolume:
		c.Role, c.Release = state.Released, p.s.Release
	case state.Retire:
		c.Role, c.GraceServed = state.Retired, 0
	case state.Promote, state.GoBack:
		c.Role, c.Epoch, c.Release = state.Primary, p.s.Epoch, nil
		remount(c, true, false)
	case state.KeepBase:
		markAll(c, func(s state.Snapshot) bool { return slices.Contains(p.s.Keep, s.GUID) })
	case state.SaveGrace:
		c.GraceServed = p.s.Grace
		delete(p.o.ReadyFor, p.s.App)
	case state.AbortRecv:
		c.Receiving = false
		if d := c.Child(p.s.Child); d != nil {
			d.ResumeToken = ""
		} else {
			c.ResumeToken = ""
		}
	default: // no other step is within one copy
	}
}

// markAll makes bookmarks of some snapshots of a copy and its children.
func markAll(c *state.Copy, some func(state.Snapshot) bool) {
	mark(&c.Filesystem, some)
	for i := range c.Children {
		mark(&c.Children[i].Filesystem, some)
	}
}

func mark(f *state.Filesystem, some func(state.Snapshot) bool) {
	for _, s := range f.Snapshots {
		if some(s) && !f.Marked(s.GUID) {
			f.Bookmarks = append(f.Bookmarks, state.Snapshot{Name: "drover-" + s.GUID.String(), GUID: s.GUID, Txg: s.Txg, Created: s.Created})
		}
	}
}

func (p *predictor) remove() {
	n := p.o.Nodes[p.s.Node]
	if c := p.copy(p.s.Node); c != nil && p.s.Child != "" {
		c.Children = slices.DeleteFunc(c.Children, func(d state.Child) bool { return d.Path == p.s.Child || strings.HasPrefix(d.Path, p.s.Child+"/") })
		return
	}
	n.Copies = slices.DeleteFunc(n.Copies, func(c state.Copy) bool {
		if c.UUID == p.s.UUID && p.s.Kind == state.DeleteOld {
			n.Pool.Free += c.Used
		}
		return c.UUID == p.s.UUID
	})
	n.Datasets = slices.DeleteFunc(n.Datasets, func(d string) bool { return d == p.s.Dataset })
}

// snapshot takes a snapshot of a copy and its children if there is none of that name.
func (p *predictor) snapshot(c *state.Copy, name string) {
	p.take(&c.Filesystem, name, "")
	for i := range c.Children {
		p.take(&c.Children[i].Filesystem, name, "/"+c.Children[i].Path)
	}
}

// take takes a snapshot of one dataset. Its guid is made up, the same for the same name.
func (p *predictor) take(f *state.Filesystem, name, path string) {
	if slices.ContainsFunc(f.Snapshots, func(s state.Snapshot) bool { return s.Name == name }) {
		return
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%s%s@%s", p.s.UUID, path, name)
	bytes := f.Written
	if len(f.Snapshots) == 0 {
		bytes = f.Referenced
	}
	add(f, state.Snapshot{Name: name, GUID: state.GUID(h.Sum64()), Created: p.now, Written: bytes, Held: true})
	f.Written = 0
}

// add appends snapshots, each later than all that are there.
func add(f *state.Filesystem, snapshots ...state.Snapshot) {
	var last uint64
	for _, s := range slices.Concat(f.Snapshots, f.Bookmarks) {
		last = max(last, s.Txg)
	}
	for _, s := range snapshots {
		last++
		s.Txg = last
		f.Snapshots = append(f.Snapshots, s)
	}
}

func (p *predictor) send() {
	src := p.copy(p.s.Node)
	if src == nil {
		return
	}
	if p.s.Kind != state.LastIncrement {
		p.snapshot(src, p.s.Snapshot)
		markAll(src, func(s state.Snapshot) bool { return s.Name == p.s.Snapshot })
	}
	to := p.o.Nodes[p.s.Peer]
	dst := p.copy(p.s.Peer)
	if dst == nil {
		to.Copies = append(to.Copies, state.Copy{Dataset: to.Root + "/" + string(p.s.Volume), Volume: p.s.Volume, UUID: p.s.UUID, Role: state.Standby,
			Epoch: src.Epoch, Lead: p.s.Lead, Quota: p.s.Quota, Reclaim: src.Reclaim, SyncOff: src.SyncOff,
			Filesystem: state.Filesystem{Readonly: true, Mountpoint: to.Mounts + "/" + string(p.s.Volume), Properties: cloneMap(p.s.Properties),
				Encrypted: src.Encrypted, KeyMissing: src.Encrypted, Limits: limits(src.Properties, "")}})
		dst = &to.Copies[len(to.Copies)-1]
		to.Datasets = append(to.Datasets, dst.Dataset)
	}
	dst.ResumeToken, dst.Receiving = "", false
	add(&dst.Filesystem, missing(src, dst)...)
	p.sendChildren(src, dst)
	to.Pool.Free -= max(src.Used-dst.Used, 0)
	dst.Used, dst.Referenced = max(src.Used, dst.Used), src.Referenced
}

func (p *predictor) sendChildren(src, dst *state.Copy) {
	for _, path := range src.Paths()[1:] {
		d := dst.Child(path)
		if d == nil {
			dst.Children = append(dst.Children, childLike(src.Child(path), dst.Mountpoint, src.Mountpoint))
			d = &dst.Children[len(dst.Children)-1]
		}
		d.ResumeToken = ""
		add(&d.Filesystem, missing(src.Part(path), dst.Part(path))...)
		d.Used, d.Referenced = max(src.Child(path).Used, d.Used), src.Child(path).Referenced
	}
}

// missing returns the snapshots of src after the newest one that dst has.
func missing(src, dst *state.Copy) []state.Snapshot {
	from := 0
	for i, s := range src.Snapshots {
		if dst.Find(s.GUID) != nil {
			from = i + 1
		}
	}
	return slices.Clone(src.Snapshots[from:])
}

func (p *predictor) route() {
	for _, id := range p.s.Nodes {
		n := p.o.Nodes[id]
		rest := slices.DeleteFunc(slices.Clone(n.Gate.Routes), func(r state.Route) bool { return r.App == p.s.App })
		n.Gate.Routes = append(rest, p.s.Routes...)
	}
}

func (p *predictor) marathon() {
	apps := p.o.Marathon.Apps
	live := apps[p.s.App]
	switch p.s.Kind {
	case state.RemoveApp:
		delete(apps, p.s.App)
	case state.VerifyReady:
		live.Tasks = p.tasks(live)
		for i := range live.Tasks {
			live.Tasks[i].State, live.Tasks[i].Health = state.TaskRunning, state.Healthy
		}
	case state.ScaleApp:
		live.Instances, live.Version = p.s.Instances, p.now
		kept := live.Tasks[:min(len(live.Tasks), live.Instances)]
		live.Tasks = append(slices.Clone(kept), p.tasks(live)[len(kept):]...)
	default:
		if apps == nil {
			p.o.Marathon.Apps = map[state.AppID]*state.RunningApp{}
		}
		live = deployed(p.s)
		live.Version, live.Tasks = p.now, p.tasks(live)
		p.o.Marathon.Apps[p.s.App] = live
	}
	p.settleProcesses(live)
}

// deployed reads a step's definition as Marathon would hold it.
func deployed(s state.Step) *state.RunningApp {
	d := parse(s.Definition)
	app := &state.RunningApp{ID: s.App, Definition: s.Definition, Instances: int(number(d["instances"], 1))}
	lists, _ := d["constraints"].([]any)
	for _, l := range lists {
		var c state.Constraint
		for i, f := range l.([]any) {
			*[]*string{&c.Field, &c.Op, &c.Value}[i] = fmt.Sprint(f)
		}
		app.Constraints = append(app.Constraints, c)
	}
	return app
}

// tasks starts an app's instances: staging where it is pinned, anywhere else.
func (p *predictor) tasks(app *state.RunningApp) []state.Task {
	var host state.Hostname
	if len(app.Constraints) > 0 && app.Constraints[0].Field == "hostname" && app.Constraints[0].Op == "CLUSTER" {
		host = state.Hostname(app.Constraints[0].Value)
	}
	var out []state.Task
	for i := range app.Instances {
		out = append(out, state.Task{ID: fmt.Sprintf("%s.%d", app.ID, i), Host: host, State: state.TaskStaging, Ports: []int{31000 + i, 32000 + i, 33000 + i}})
	}
	return out
}

// settleProcesses: a stopped app uses nothing.
func (p *predictor) settleProcesses(live *state.RunningApp) {
	if p.s.Kind != state.StopApp || live == nil {
		return
	}
	for _, n := range p.o.Nodes {
		for i := range n.Copies {
			if n.Copies[i].Lead == p.s.Lead || n.Copies[i].Volume == p.s.Lead {
				n.Copies[i].Users = nil
			}
		}
	}
	if p.o.DownFor == nil {
		p.o.DownFor = map[state.AppID]time.Duration{}
	}
	p.o.DownFor[p.s.App] = 0
}

func cloneMap[K comparable, V any](m map[K]V) map[K]V {
	out := make(map[K]V, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}
