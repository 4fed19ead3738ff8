package reconcile

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/drover-project/drover/state"
)

// planLimit bounds the steps of one app in a plan. A plan that needs more is a defect of the rules, and is said to be one.
const planLimit = 200

// Plan returns what would be done about every app, in order, by repeating Next on predicted states until nothing is left. It
// changes neither d nor o.
func Plan(d *state.Desired, o *state.Observed, now time.Time) state.Plan {
	p := planner{d: d, o: Clone(o), now: now, memo: newMemo(), apps: map[state.AppID]*state.AppPlan{}}
	p.run(nil)
	p.oldCopies()
	return p.result(o)
}

type planner struct {
	d    *state.Desired
	o    *state.Observed
	now  time.Time
	memo *memo
	apps map[state.AppID]*state.AppPlan
}

// run repeats Next until no app has a step. After the first look it follows only the apps that had one, and looks at all of
// them again when those are done, because what one app did may have made room for another.
func (p *planner) run(only []state.AppID) {
	for {
		busy := p.look(only)
		if len(busy) == 0 && only == nil {
			return
		}
		only = busy
	}
}

// look decides once, predicts, and returns the apps that had a step. nil looks at all.
func (p *planner) look(only []state.AppID) []state.AppID {
	var busy []state.AppID
	for _, d := range p.decisions(only) {
		a := p.app(d.App)
		a.Waiting, a.Stalled, a.Notes = d.Waiting, d.Stalled, d.Notes
		if d.Step == nil {
			continue
		}
		if len(a.Steps) >= planLimit {
			a.Stalled = "the plan does not end: its last step is " + string(d.Step.Kind) + " again and again; this is a defect of Drover"
			continue
		}
		for _, s := range d.Steps() {
			a.Steps = append(a.Steps, s)
			Predict(p.o, s, p.now)
		}
		busy = append(busy, d.App)
	}
	return busy
}

func (p *planner) decisions(only []state.AppID) []state.Decision {
	v := p.memo.view(p.d, p.o, p.now)
	if only == nil {
		return v.decideAll()
	}
	var out []state.Decision
	for _, id := range only {
		if app, ok := p.d.Apps[id]; ok {
			out = append(out, v.decide(app))
		}
	}
	return out
}

func (p *planner) app(id state.AppID) *state.AppPlan {
	a := p.apps[id]
	if a == nil {
		a = &state.AppPlan{App: id, Budget: p.d.Apps[id].Cutover.MaxOutage}
		p.apps[id] = a
	}
	return a
}

// oldCopies adds the deletions that follow a move once its grace is over: as if every app that has moved were ready for so
// long, once for each of its volumes.
func (p *planner) oldCopies() {
	moved := p.moved()
	if p.o.ReadyFor == nil {
		p.o.ReadyFor = map[state.AppID]time.Duration{}
	}
	for left := moved; len(left) > 0; {
		for _, id := range left {
			p.o.ReadyFor[id] = p.d.Apps[id].Grace
		}
		left = p.look(left)
	}
	for _, id := range moved {
		a := p.apps[id]
		a.Steps = slices.DeleteFunc(a.Steps, func(s state.Step) bool { return s.Kind == state.SaveGrace })
	}
}

// moved names the apps that the plan brings to another node without a hitch.
func (p *planner) moved() []state.AppID {
	var out []state.AppID
	for id, a := range p.apps {
		if promotes(a.Steps) && a.Waiting == "" && a.Stalled == "" {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

func promotes(steps []state.Step) bool {
	return slices.ContainsFunc(steps, func(s state.Step) bool { return s.Kind == state.Promote })
}

func (p *planner) result(before *state.Observed) state.Plan {
	var plan state.Plan
	v := newView(p.d, before, p.now)
	for _, id := range slices.Sorted(maps.Keys(p.apps)) {
		a := p.apps[id]
		if len(a.Steps) == 0 && a.Waiting == "" && a.Stalled == "" && len(a.Notes) == 0 {
			continue
		}
		a.Summary, a.Reason = v.summarise(p.d.Apps[id], a.Steps)
		plan.Apps = append(plan.Apps, *a)
	}
	return plan
}

// Changes reports whether a plan has any step.
func Changes(p state.Plan) bool {
	return slices.ContainsFunc(p.Apps, func(a state.AppPlan) bool { return len(a.Steps) > 0 })
}

// summarise says in a few words what a list of steps amounts to, and why.
func (v *view) summarise(app state.App, steps []state.Step) (summary, reason string) {
	if len(steps) == 0 {
		return "", ""
	}
	reason = steps[0].Why
	for _, s := range steps {
		switch s.Kind {
		case state.Promote:
			return "move " + v.name(s.Peer) + " -> " + v.name(s.Node), v.placementReason(app, s.Peer, s.Node, reason)
		case state.Replicate, state.Resume, state.CatchUp:
			if summary == "" {
				summary, reason = "prepare "+v.name(s.Node)+" -> "+v.name(s.Peer), v.placementReason(app, s.Node, s.Peer, reason)
			}
		case state.CreateVolume:
			summary = "create on " + v.name(s.Node)
		case state.AdoptVolume:
			summary = "adopt " + s.Dataset + " on " + v.name(s.Node)
		case state.GoBack:
			summary, reason = "go back to "+v.name(s.Node), s.Why
		case state.RemoveApp:
			summary = "remove"
		case state.DeployApp:
			if summary == "" {
				summary = deployWord(v.o, s.App)
			}
		case state.StartApp:
			if summary == "" {
				summary = "start on " + v.name(s.Node)
			}
		case state.ScaleApp:
			if summary == "" {
				summary = "scale to " + plural(s.Instances, "instance")
			}
		default: // the others are parts of these, or speak for themselves
		}
	}
	if summary == "" {
		summary = string(steps[0].Kind)
	}
	return summary, reason
}

func deployWord(o *state.Observed, id state.AppID) string {
	if o.Marathon.Apps[id] == nil {
		return "deploy"
	}
	return "update"
}

// placementReason names the constraints that lead from one node to the other.
func (v *view) placementReason(app state.App, from, to state.NodeID, otherwise string) string {
	f, t := v.o.Nodes[from], v.o.Nodes[to]
	if f == nil || t == nil || v.agents[f.Hostname] == nil || v.agents[t.Hostname] == nil {
		return otherwise
	}
	var why []string
	for _, c := range app.Constraints {
		if unmet(c, v.agents[f.Hostname], nil) != "" {
			was, _ := attribute(v.agents[f.Hostname], c.Field)
			is, _ := attribute(v.agents[t.Hostname], c.Field)
			why = append(why, strings.Join([]string{c.Field, c.Op, was, "->", is}, " "))
		}
	}
	if len(why) == 0 {
		return otherwise
	}
	return "placement: " + strings.Join(why, ", ")
}

// Clone copies an observed state so deep that Predict can change it.
func Clone(o *state.Observed) *state.Observed {
	c := *o
	c.Marathon.Apps = cloneEach(o.Marathon.Apps)
	for _, app := range c.Marathon.Apps {
		app.Tasks = slices.Clone(app.Tasks)
	}
	c.Register.Births = cloneMap(o.Register.Births)
	c.ReadyFor, c.DownFor, c.Attempts = cloneMap(o.ReadyFor), cloneMap(o.DownFor), cloneMap(o.Attempts)
	c.Nodes = cloneEach(o.Nodes)
	for _, n := range c.Nodes {
		n.Copies, n.Datasets, n.Refused = cloneCopies(n.Copies), slices.Clone(n.Datasets), cloneMap(n.Refused)
		n.Gate.Routes = slices.Clone(n.Gate.Routes)
	}
	return &c
}

func cloneEach[K comparable, V any](m map[K]*V) map[K]*V {
	out := make(map[K]*V, len(m))
	for k, v := range m {
		c := *v
		out[k] = &c
	}
	return out
}
