package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/drover-project/drover/state"
)

// view is one look: the desired and observed state with the indexes that deciding needs.
type view struct {
	d      *state.Desired
	o      *state.Observed
	now    time.Time
	byHost map[state.Hostname]*state.Node
	agents map[state.Hostname]*state.MesosAgent
	copies map[state.VolumeName][]placed
	locks  map[state.AppID][]state.Deployment
	sorted []*state.Node
	memo   *memo

	// Worked out when they are first asked for.
	mountings []mounting
	quiet     map[state.AppID][]string
	leaving   map[state.NodeID][]state.AppID
	routed    map[state.AppID]map[state.NodeID][]state.Route
}

// placed is a copy and the node that holds it.
type placed struct {
	node *state.Node
	copy *state.Copy
}

func newView(d *state.Desired, o *state.Observed, now time.Time) *view {
	return newMemo().view(d, o, now)
}

// view looks at a state with the help of what was worked out in other looks of the same plan.
func (m *memo) view(d *state.Desired, o *state.Observed, now time.Time) *view {
	v := &view{d: d, o: o, now: now, memo: m, sorted: inOrder(o.Nodes),
		byHost: make(map[state.Hostname]*state.Node, len(o.Nodes)),
		agents: make(map[state.Hostname]*state.MesosAgent, len(o.Mesos.Agents)),
		copies: make(map[state.VolumeName][]placed, len(d.Volumes)),
		locks:  map[state.AppID][]state.Deployment{},
	}
	for i := range o.Mesos.Agents {
		v.agents[o.Mesos.Agents[i].Hostname] = &o.Mesos.Agents[i]
	}
	for _, n := range v.nodes() {
		v.byHost[n.Hostname] = n
		v.indexCopies(n)
	}
	for _, dep := range o.Marathon.Deployments {
		for _, app := range dep.Apps {
			v.locks[app] = append(v.locks[app], dep)
		}
	}
	return v
}

func (v *view) indexCopies(n *state.Node) {
	if !n.Answered() {
		return
	}
	for i := range n.Copies {
		c := &n.Copies[i]
		v.copies[c.Volume] = append(v.copies[c.Volume], placed{n, c})
	}
}

// nodes returns all nodes in a fixed order, so that equal states give equal decisions.
func (v *view) nodes() []*state.Node { return v.sorted }

func inOrder(nodes map[state.NodeID]*state.Node) []*state.Node {
	out := make([]*state.Node, 0, len(nodes))
	for _, n := range nodes {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *state.Node) int {
		return cmp.Or(cmp.Compare(a.Hostname, b.Hostname), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// silent names the members that do not answer, for people, and says of a single one why.
func (v *view) silent() []string {
	var out []string
	why := ""
	for _, n := range v.nodes() {
		if !n.Answered() {
			out, why = append(out, string(n.Hostname)), n.Err
		}
	}
	if len(out) == 1 && why != "" {
		out[0] += " (" + why + ")"
	}
	return out
}

// name returns how people call a node.
func (v *view) name(id state.NodeID) string {
	if n := v.o.Nodes[id]; n != nil {
		return string(n.Hostname)
	}
	return "unknown node " + string(id)
}

// appCase is one app with volumes, seen together with everything that concerns it.
type appCase struct {
	*view
	app  state.App
	live *state.RunningApp // nil if Marathon does not have it
	vols []volumeCase      // the first one leads

	choice *choice // of a node, once it was made
}

// volumeCase is one volume of an app and where its copies are.
type volumeCase struct {
	want   state.Volume
	birth  state.Birth
	born   bool // the register knows it
	copies []placed
}

func (v *view) caseOf(app state.App) *appCase {
	a := &appCase{view: v, app: app, live: v.o.Marathon.Apps[app.ID]}
	for _, m := range app.Volumes {
		vc := volumeCase{want: v.d.Volumes[m.Volume]}
		vc.birth, vc.born = v.o.Register.Births[m.Volume]
		for _, p := range v.copies[m.Volume] {
			if !vc.born || p.copy.UUID == vc.birth.UUID {
				vc.copies = append(vc.copies, p)
			}
		}
		a.vols = append(a.vols, vc)
	}
	a.order()
	return a
}

// order puts the leading volume first: the one that its copies say leads, so that another order in the manifest does not
// change the lead, least of all in the middle of a handover. What joins the app in the middle of a handover waits for its end.
func (a *appCase) order() {
	if i := a.recordedLead(); i > 0 {
		lead := a.vols[i]
		a.vols = slices.Insert(slices.Delete(a.vols, i, i+1), 0, lead)
	}
	if len(a.vols) < 2 {
		return
	}
	if h, ok := a.lead().holder(); ok && h.copy.Role != state.Primary {
		a.vols = slices.DeleteFunc(a.vols, func(vc volumeCase) bool { return len(vc.copies) == 0 && !vc.birth.Created })
	}
}

// recordedLead returns the place of the volume that leads according to the copies, or -1 if they do not know.
func (a *appCase) recordedLead() int {
	for i := range a.vols {
		h, ok := a.vols[i].holder()
		if !ok {
			continue
		}
		if lead := slices.IndexFunc(a.vols, func(vc volumeCase) bool { return vc.want.Name == h.copy.Lead }); lead >= 0 {
			return lead
		}
	}
	return -1
}

func (a *appCase) lead() *volumeCase { return &a.vols[0] }

// on returns the volume's copy on a node, or nil.
func (vc *volumeCase) on(node state.NodeID) *state.Copy {
	for _, p := range vc.copies {
		if p.node.ID == node {
			return p.copy
		}
	}
	return nil
}

// with returns the copies in a role.
func (vc *volumeCase) with(role state.Role) []placed {
	var out []placed
	for _, p := range vc.copies {
		if p.copy.Role == role {
			out = append(out, p)
		}
	}
	return out
}

// holder returns the copy that decides now: of several that do, which is never as it should be, the one at the highest epoch.
func (vc *volumeCase) holder() (placed, bool) {
	var best placed
	for _, p := range vc.copies {
		if !vc.decides(p) {
			continue
		}
		if best.copy == nil || best.copy.Epoch.Less(p.copy.Epoch) {
			best = p
		}
	}
	return best, best.copy != nil
}

// decides reports whether a copy is writable or can become so without another copy's word: primary and fenced ones, and
// those released to a target that has not taken over.
func (vc *volumeCase) decides(p placed) bool {
	switch p.copy.Role {
	case state.Primary, state.Fenced:
		return true
	case state.Released:
		return !vc.overtaken(p)
	case state.Retired, state.Standby:
	}
	return false
}

// deciding returns the copies that decide: one, if all is as it should be.
func (vc *volumeCase) deciding() []placed {
	return slices.DeleteFunc(slices.Clone(vc.copies), func(p placed) bool { return !vc.decides(p) })
}

// overtaken reports whether a released copy's release is history: another copy has its epoch or a later one, which it can
// only have if the target took over.
func (vc *volumeCase) overtaken(old placed) bool {
	r := old.copy.Release
	return r != nil && slices.ContainsFunc(vc.copies, func(p placed) bool {
		return p.node != old.node && !p.copy.Epoch.Less(r.Epoch)
	})
}

// common returns the newest snapshot of to at which an increment of from can begin, or nil.
func common(from, to *state.Copy) *state.Snapshot { return from.Base(&to.Filesystem) }

// since returns the bytes that from holds beyond a base: what an increment from it has to carry. Of a bookmark it may be more than that:
// the snapshot after it counts what was written since the one before it.
func since(from *state.Copy, base *state.Snapshot) int64 {
	total := from.Written
	for i := len(from.Snapshots) - 1; i >= 0 && from.Snapshots[i].Txg > base.Txg; i-- {
		total += from.Snapshots[i].Written
	}
	return total
}

func (a *appCase) do(s state.Step) (state.Decision, bool) {
	s.App = a.app.ID
	if len(a.vols) > 0 {
		s.Lead = a.lead().want.Name
	}
	return state.Decision{App: a.app.ID, Step: &s}, true
}

func (a *appCase) wait(format string, args ...any) (state.Decision, bool) {
	return state.Decision{App: a.app.ID, Waiting: fmt.Sprintf(format, args...)}, true
}

func (a *appCase) stall(format string, args ...any) (state.Decision, bool) {
	return state.Decision{App: a.app.ID, Stalled: fmt.Sprintf(format, args...)}, true
}

func join(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
