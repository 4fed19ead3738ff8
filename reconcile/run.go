package reconcile

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"path"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/drover-project/drover/state"
)

// patience is how long an app may take to become ready before other changes to it go on without waiting for it.
const patience = time.Minute

// beMounted sees to it that the primary copies are mounted.
func (a *appCase) beMounted() (state.Decision, bool) {
	return a.each(func(vc *volumeCase) (state.Decision, bool) {
		h, _ := vc.holder()
		if mountedWhole(h.copy) {
			return state.Decision{}, false
		}
		if why := keyless(h.copy, h.node); why != "" {
			return a.stall("%s; it is mounted and used then", why)
		}
		return a.do(state.Step{Kind: state.MountVolume, Volume: vc.want.Name, UUID: vc.birth.UUID, Node: h.node.ID, Expect: expect(h.copy),
			Why: "it is primary and not mounted"})
	})
}

// keep sees to it that the primary copies have the properties that the manifest wants.
func (a *appCase) keep() (state.Decision, bool) {
	for i := range a.vols {
		vc := &a.vols[i]
		h, _ := vc.holder()
		changed := changedProperties(vc.want, h.copy)
		if len(changed) == 0 && vc.want.Quota == h.copy.Quota && vc.want.Reclaim == h.copy.Reclaim && !limited(h.copy) {
			continue
		}
		if vc.want.Quota != 0 && vc.want.Quota < h.copy.Referenced {
			return a.butUpdate(a.stall("volume %s holds %s, more than its quota of %s in the manifest: raise the quota or delete data",
				vc.want.Name, Bytes(h.copy.Referenced), Bytes(vc.want.Quota)))
		}
		return a.do(state.Step{Kind: state.SetProperties, Volume: vc.want.Name, UUID: vc.birth.UUID, Node: h.node.ID, Expect: expect(h.copy),
			Properties: changed, Quota: vc.want.Quota, Reclaim: vc.want.Reclaim, Why: "the manifest says so"})
	}
	return state.Decision{}, false
}

// beSafe says which promises do not hold, and why. It never decides.
func (a *appCase) beSafe() (state.Decision, bool) {
	var d state.Decision
	for i := range a.vols {
		if h, _ := a.vols[i].holder(); h.copy.SyncOff {
			d.Notes = append(d.Notes, fmt.Sprintf("volume %s has sync=disabled: what the app took for saved may be gone after a power cut, in a move too; set sync: standard among its properties",
				a.vols[i].want.Name))
		}
	}
	return d, false
}

// butUpdate passes on an obstacle, unless the app can be updated where it is in the meantime.
func (a *appCase) butUpdate(d state.Decision, decided bool) (state.Decision, bool) {
	if decided && d.Step == nil {
		if u, updated := a.update(); updated && u.Step != nil {
			return u, true
		}
	}
	return d, decided
}

func changedProperties(want state.Volume, c *state.Copy) map[string]string {
	changed := map[string]string{}
	for k, v := range want.Properties {
		if !sameProperty(k, c.Properties[k], v) {
			changed[k] = v
		}
	}
	return changed
}

// pinAt returns where the app runs if its volumes are primary on a node.
func (a *appCase) pinAt(n *state.Node) *pin {
	p := &pin{host: n.Hostname}
	for _, m := range a.app.Volumes {
		mount := path.Join(n.Mounts, string(m.Volume))
		if c := a.copyOn(n, m.Volume); c != nil && c.Mountpoint != "" {
			mount = c.Mountpoint
		}
		p.mounts = append(p.mounts, mount)
	}
	return p
}

func (a *appCase) copyOn(n *state.Node, volume state.VolumeName) *state.Copy {
	for i := range a.vols {
		if a.vols[i].want.Name == volume {
			return a.vols[i].on(n.ID)
		}
	}
	return nil
}

// beUp sees to it that Marathon runs the app, once, and only where its data is.
func (a *appCase) beUp() (state.Decision, bool) {
	h, _ := a.lead().holder()
	s := state.Step{Kind: state.StartApp, Volume: a.lead().want.Name, Node: h.node.ID, Instances: 1, Force: a.ownLock(),
		Took: a.timing().Start, Outage: true}
	switch {
	case a.live == nil:
		_, s.Outage = a.o.DownFor[a.app.ID]
		s.Why = "Marathon does not have it"
	case a.held():
		s.Why = "its volumes are writable on " + string(h.node.Hostname)
	case !reflect.DeepEqual(a.live.Constraints, pinned(h.node.Hostname)):
		s.Why = "its data is on " + string(h.node.Hostname) + " and Marathon may start it elsewhere"
	case a.live.Instances == 0:
		s.Why = "it was scaled to 0; its manifest wants it running"
	case a.live.Instances > 1:
		s.Kind, s.Outage, s.Took = state.ScaleApp, false, 0
		s.Why = fmt.Sprintf("it was scaled to %d; an app with volumes has one instance", a.live.Instances)
	default:
		return state.Decision{}, false
	}
	if d, locked := a.locked(); locked {
		return d, true
	}
	s.Definition = a.memo.render(a.app, a.pinAt(h.node)).json()
	return a.do(s)
}

// locked reports a deployment of somebody else that holds the app.
func (a *appCase) locked() (state.Decision, bool) {
	if locks := a.locks[a.app.ID]; len(locks) > 0 && !a.ownLock() {
		return a.wait("deployment %s holds %s; it goes on when that has ended, or is cancelled in Marathon", locks[0].ID, a.app.ID)
	}
	return state.Decision{}, false
}

// ownLock reports whether every deployment that holds the app concerns it alone and is of a definition that Drover wrote: only
// then may it be overridden.
func (a *appCase) ownLock() bool {
	locks := a.locks[a.app.ID]
	for _, dep := range locks {
		if len(dep.Apps) != 1 || a.live == nil || a.liveDefinition().deployedDigest() == "" {
			return false
		}
	}
	return len(locks) > 0
}

// beReady waits until the app answers and sees to it that the gates lead to it.
func (a *appCase) beReady() (state.Decision, bool) {
	h, _ := a.lead().holder()
	_, ready := a.readyTask(h.node.Hostname)
	if ready {
		if d, decided := a.route(a.routes(h.node, true)); decided && !a.aboutToStop() {
			return d, true
		}
		return state.Decision{}, false
	}
	passing := a.passing(h.node)
	if !passing {
		if d, decided := a.route(a.routes(h.node, false)); decided {
			return d, true
		}
	}
	if !sameDefinition(a.liveDefinition(), a.memo.render(a.app, a.pinAt(h.node))) {
		return a.update()
	}
	if a.now.Sub(a.live.Version) > patience {
		return state.Decision{Notes: []string{"it is not ready on " + string(h.node.Hostname) + a.queueRemark()}}, false
	}
	if passing {
		return a.wait("it answers on %s; Marathon's health checks have not said so yet", h.node.Hostname)
	}
	return a.do(state.Step{Kind: state.VerifyReady, Volume: a.lead().want.Name, Node: h.node.ID, Outage: true, Probes: a.probes(h.node.Hostname),
		Why: "it was started on " + string(h.node.Hostname)})
}

// passing reports whether the gates already let connections through to the app's running task. They do once it has answered
// Drover's own probes; Marathon's checks come round later, and must not make the gates hold again.
func (a *appCase) passing(at *state.Node) bool {
	for _, t := range a.runningOn(at.Hostname) {
		if want := a.routesTo(at, &t); len(want) > 0 && len(a.gatesThatDiffer(want)) == 0 {
			return true
		}
	}
	return false
}

// probes asks of the app's running task on a host what Marathon's health checks would ask, or, for an app without checks,
// whether its endpoints' ports are open. Checks that run a command have no probe.
func (a *appCase) probes(host state.Hostname) []state.Probe {
	tasks := a.runningOn(host)
	if len(tasks) == 0 {
		return nil
	}
	ports, addr := tasks[0].Ports, a.address(tasks[0].Host)
	var out []state.Probe
	for _, c := range checksOf(a.liveDefinition()) {
		if port := c.portOf(ports); port > 0 && c.asks() {
			out = append(out, state.Probe{Address: net.JoinHostPort(addr, strconv.Itoa(port)), Path: c.path(), TLS: c.tls()})
		}
	}
	if out != nil || hasChecks(a.liveDefinition()) {
		return out
	}
	for i, e := range a.app.Endpoints {
		if p := portIndex(a.liveDefinition(), e.Name, i); p < len(ports) {
			out = append(out, state.Probe{Address: net.JoinHostPort(addr, strconv.Itoa(ports[p]))})
		}
	}
	return out
}

// runningOn returns the app's running tasks on a host, on any host for "", in a fixed order.
func (a *appCase) runningOn(host state.Hostname) []state.Task {
	if a.live == nil {
		return nil
	}
	out := slices.DeleteFunc(slices.Clone(a.live.Tasks), func(t state.Task) bool {
		return t.State != state.TaskRunning || host != "" && t.Host != host
	})
	slices.SortFunc(out, func(x, y state.Task) int { return cmp.Or(cmp.Compare(x.Host, y.Host), cmp.Compare(x.ID, y.ID)) })
	return out
}

// aboutToStop reports whether a cutover begins now: then connections are held on purpose though the app is ready.
func (a *appCase) aboutToStop() bool {
	d, _ := a.moveOn()
	return d.Step != nil && (d.Step.Kind == state.StopApp || d.Step.Kind == state.HoldConnections)
}

// queueRemark says why Marathon has not launched the app, if it says so itself.
func (a *appCase) queueRemark() string {
	for _, q := range a.o.Marathon.Queue {
		if q.App != a.app.ID {
			continue
		}
		if q.Delay > 0 {
			return "; Marathon waits " + Seconds(q.Delay) + " before it starts it again, because it failed"
		}
		for _, r := range slices.Sorted(maps.Keys(q.Refused)) {
			if q.Refused[r] > 0 {
				return "; Marathon finds no offer for it: " + r
			}
		}
		return "; Marathon waits for an offer"
	}
	return ""
}

// readyTask returns the app's task on a host that runs and, if the app has health checks, is healthy.
func (a *appCase) readyTask(host state.Hostname) (state.Task, bool) {
	checks := hasChecks(a.liveDefinition())
	for _, t := range a.runningOn(host) {
		if t.Health == state.Healthy || !checks && t.Health != state.Unhealthy {
			return t, true
		}
	}
	return state.Task{}, false
}

// routes returns where the gates should lead the app's endpoints: to its ready task, or to nowhere, with new connections held,
// while it has none. at is the node of an app with volumes, else nil.
func (a *appCase) routes(at *state.Node, ready bool) []state.Route {
	host := state.Hostname("")
	if at != nil {
		host = at.Hostname
	}
	if t, found := a.readyTask(host); ready && found {
		return a.routesTo(at, &t)
	}
	return a.routesTo(at, nil)
}

// routesTo leads the app's endpoints to a task, or holds connections if it is nil.
func (a *appCase) routesTo(at *state.Node, t *state.Task) []state.Route {
	var epoch state.Epoch
	if at != nil {
		epoch = a.lead().on(at.ID).Epoch
	}
	var out []state.Route
	for i, e := range a.app.Endpoints {
		r := state.Route{App: a.app.ID, Endpoint: e, Epoch: epoch, Held: true, Hold: a.app.Cutover.MaxOutage}
		if p := portIndex(a.liveDefinition(), e.Name, i); t != nil && p < len(t.Ports) {
			r.Held, r.Backend = false, net.JoinHostPort(a.address(t.Host), strconv.Itoa(t.Ports[p]))
		}
		out = append(out, r)
	}
	return out
}

// liveDefinition is what Marathon holds, for looking at; empty if it does not have the app.
func (a *appCase) liveDefinition() def {
	if a.live == nil {
		return def{}
	}
	return a.memo.read(a.live.Definition)
}

// address returns how a task's host is reached: where its Drover agent is, or by the name that Mesos has for it.
func (v *view) address(h state.Hostname) string {
	if n := v.byHost[h]; n != nil {
		if host, _, err := net.SplitHostPort(n.Address); err == nil {
			return host
		}
	}
	return string(h)
}

// route sets the gates that differ from the wanted routes.
func (a *appCase) route(routes []state.Route) (state.Decision, bool) {
	nodes := a.gatesThatDiffer(routes)
	if len(nodes) == 0 {
		return state.Decision{}, false
	}
	why := "connections wait until it is ready"
	if len(routes) == 0 {
		why = "it has no endpoints any more"
	} else if !routes[0].Held {
		why = "it answers at " + routes[0].Backend
	}
	return a.do(state.Step{Kind: state.SetRoutes, Nodes: nodes, Routes: routes, Why: why})
}

// gatesThatDiffer names the nodes that answer and whose gate does not lead the app's endpoints as wanted.
func (a *appCase) gatesThatDiffer(want []state.Route) []state.NodeID {
	have := a.routesOf(a.app.ID)
	if len(have) == 0 && len(want) == 0 {
		return nil
	}
	var out []state.NodeID
	for _, n := range a.nodes() {
		if n.Answered() && !sameRoutes(have[n.ID], want) {
			out = append(out, n.ID)
		}
	}
	return out
}

// sameRoutes compares what matters: of a held route neither where it led before nor its epoch.
func sameRoutes(have, want []state.Route) bool {
	return slices.EqualFunc(have, want, func(h, w state.Route) bool {
		return h.Endpoint == w.Endpoint && h.Held == w.Held && (w.Held || h.Backend == w.Backend)
	})
}

// update deploys what the manifest says, where the data is.
func (a *appCase) update() (state.Decision, bool) {
	h, _ := a.lead().holder()
	want := a.memo.render(a.app, a.pinAt(h.node))
	if sameDefinition(a.liveDefinition(), want) {
		return state.Decision{}, false
	}
	if d, locked := a.locked(); locked {
		return d, true
	}
	return a.do(state.Step{Kind: state.DeployApp, Volume: a.lead().want.Name, Node: h.node.ID, Definition: want.json(), Instances: 1,
		Force: a.ownLock(), Outage: true, Took: a.timing().Stop + a.timing().Start, Why: "its definition in the manifest differs from what runs"})
}

// bePlaceable stalls an app without volumes that no agent can take.
func (a *appCase) bePlaceable() (state.Decision, bool) {
	if a.app.Instances == 0 || len(a.app.Constraints) == 0 {
		return state.Decision{}, false
	}
	var why []string
	for i := range a.o.Mesos.Agents {
		agent := &a.o.Mesos.Agents[i]
		u := ""
		for _, c := range a.app.Constraints {
			u = cmp.Or(u, unmet(c, agent, nil))
		}
		if u == "" {
			return state.Decision{}, false
		}
		why = append(why, string(agent.Hostname)+": "+u)
	}
	slices.Sort(why)
	return a.stall("%s", a.nowhere(why))
}

// deploy brings an app without volumes to what the manifest says.
func (a *appCase) deploy() (state.Decision, bool) {
	want := definition(a.app, nil)
	s := state.Step{Kind: state.DeployApp, Definition: want.json(), Instances: a.app.Instances, Force: a.ownLock()}
	switch {
	case a.live == nil:
		s.Why = "Marathon does not have it"
	case !sameDefinition(a.liveDefinition(), want):
		s.Why = "its definition in the manifest differs from what runs"
	case a.live.Instances != a.app.Instances:
		s.Kind, s.Why = state.ScaleApp, fmt.Sprintf("it has %s and the manifest wants %d", plural(a.live.Instances, "instance"), a.app.Instances)
	default:
		return state.Decision{}, false
	}
	if d, locked := a.locked(); locked {
		return d, true
	}
	return a.do(s)
}

// beRouted leads the gates to an app without volumes.
func (a *appCase) beRouted() (state.Decision, bool) {
	_, ready := a.readyTask("")
	if d, decided := a.route(a.routes(nil, ready)); decided {
		return d, true
	}
	if ready || a.app.Instances == 0 {
		return state.Decision{}, false
	}
	if a.now.Sub(a.live.Version) > patience {
		return state.Decision{Notes: []string{"it is not ready" + a.queueRemark()}}, false
	}
	return a.do(state.Step{Kind: state.VerifyReady, Why: "it was deployed"})
}
