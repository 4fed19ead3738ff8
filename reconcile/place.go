package reconcile

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/drover-project/drover/state"
)

// place chooses the node for an app with volumes. It stays where it is if its constraints allow that; else, among the nodes
// that would do, the one that already has most of its data wins, then the one with most free space. With no such node it
// returns nil and says what is wrong with each.
func (a *appCase) place(current *state.Node) (*state.Node, string) {
	if a.choice == nil || a.choice.from != current {
		to, why := a.choose(current)
		a.choice = &choice{current, to, why}
	}
	return a.choice.to, a.choice.why
}

// choice is a node that was chosen, or why there is none.
type choice struct {
	from, to *state.Node
	why      string
}

func (a *appCase) choose(current *state.Node) (*state.Node, string) {
	if current != nil && (a.agents[current.Hostname] == nil || a.constraintsOn(current) == "") {
		return current, "" // a node that Mesos does not know now, say after the master changed, has not lost its attributes
	}
	if best := a.best(); best != nil {
		return best, ""
	}
	var why []string
	for _, n := range a.nodes() {
		why = append(why, string(n.Hostname)+": "+a.unfit(n))
	}
	return nil, a.nowhere(why)
}

// best returns the node that would do and has most of the app's data, then most free space; nil if none would do.
func (a *appCase) best() *state.Node {
	var best *state.Node
	for _, n := range a.candidates() {
		if (best == nil || a.better(n, best)) && a.lacks(n) == "" {
			best = n
		}
	}
	return best
}

func (a *appCase) better(x, y *state.Node) bool {
	return cmp.Or(cmp.Compare(a.has(x), a.has(y)), cmp.Compare(x.Pool.Free, y.Pool.Free), -cmp.Compare(x.Hostname, y.Hostname)) > 0
}

// mayFit reports whether a node that does not answer satisfies the constraints: it may do when it is back.
func (a *appCase) mayFit() bool {
	return slices.ContainsFunc(a.candidates(), func(n *state.Node) bool { return !n.Answered() })
}

func (a *appCase) nowhere(why []string) string {
	if len(why) == 0 {
		return fmt.Sprintf("no node can take %s: no Drover agent is known", a.app.ID)
	}
	return fmt.Sprintf("no node can take %s: %s", a.app.ID, strings.Join(why, "; "))
}

// constraintsOn says which constraint a node does not satisfy; "" if it satisfies all.
func (a *appCase) constraintsOn(n *state.Node) string {
	agent := a.agents[n.Hostname]
	if agent == nil {
		return "Mesos knows no agent of that name"
	}
	var why []string
	for _, c := range a.app.Constraints {
		if u := unmet(c, agent, nil); u != "" {
			why = append(why, u)
		}
	}
	return strings.Join(why, ", ")
}

// unfit says why the app cannot be brought to a node; "" if it can.
func (a *appCase) unfit(n *state.Node) string {
	if why := a.constraintsOn(n); why != "" {
		return why
	}
	return a.lacks(n)
}

// lacks says what a node that satisfies the constraints lacks; "" if nothing.
func (a *appCase) lacks(n *state.Node) string {
	if !n.Answered() {
		return "its Drover agent does not answer (" + n.Err + ")"
	}
	agent := a.agents[n.Hostname]
	switch need, want := a.need(n), resources(a.memo.read(a.app.Definition)); {
	case a.inTheWay(n) != "":
		return a.inTheWay(n)
	case !agent.Active:
		return "its Mesos agent is not active"
	case n.Pool.Health != "ONLINE" && n.Pool.Health != "DEGRADED":
		return "pool " + n.Pool.Name + " is " + n.Pool.Health
	case need > n.Pool.Free:
		return fmt.Sprintf("needs %s on pool %s and %s is free: make room there%s", Bytes(need), n.Pool.Name, Bytes(n.Pool.Free), a.leaving(n))
	case want.CPUs > agent.Free.CPUs:
		return fmt.Sprintf("needs %g cpus and %g are free", want.CPUs, agent.Free.CPUs)
	case want.Mem > agent.Free.Mem:
		return fmt.Sprintf("needs %g MiB of memory and %g are free", want.Mem, agent.Free.Mem)
	case want.Ports > agent.Free.Ports:
		return fmt.Sprintf("needs %s and %d are free", plural(want.Ports, "port"), agent.Free.Ports)
	}
	return ""
}

// inTheWay names a dataset where a copy would have to be, and is none.
func (a *appCase) inTheWay(n *state.Node) string {
	for i := range a.vols {
		dataset := n.Root + "/" + string(a.vols[i].want.Name)
		if a.vols[i].on(n.ID) == nil && contains(n.Datasets, dataset) {
			return fmt.Sprintf("dataset %s is in the way and is not a copy of volume %s: rename it", dataset, a.vols[i].want.Name)
		}
	}
	return ""
}

// need is the room that the app's volumes still need on a node: what is not there yet, and a margin of a twentieth.
func (a *appCase) need(n *state.Node) int64 {
	var bytes int64
	for i := range a.vols {
		h, ok := a.vols[i].holder()
		if !ok {
			continue
		}
		there := int64(0)
		if c := a.vols[i].on(n.ID); c != nil {
			there = c.Used
		}
		bytes += max(h.copy.Used-there, 0)
	}
	return bytes + bytes/20
}

// has is how much of the app's volumes a node already holds.
func (a *appCase) has(n *state.Node) int64 {
	var bytes int64
	for i := range a.vols {
		if c := a.vols[i].on(n.ID); c != nil {
			bytes += c.Used + 1
		}
	}
	return bytes
}

// leaving names the apps that wait to leave a node: moving one of them first would make room.
func (a *appCase) leaving(n *state.Node) string {
	var ids []string
	for _, id := range a.leavers(n) {
		if id != a.app.ID {
			ids = append(ids, string(id))
		}
	}
	if len(ids) == 0 {
		return ""
	}
	return fmt.Sprintf("; %s waiting to leave it", areOrIs(ids))
}

// PlacementDigest identifies what the manifest says about an app's placement. A cancelled move stays cancelled for as long
// as it is the same.
func PlacementDigest(app state.App) string {
	h := sha256.New()
	for _, c := range app.Constraints {
		fmt.Fprintf(h, "%q %q %q\n", c.Field, c.Op, c.Value)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}
