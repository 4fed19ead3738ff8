package reconcile

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/drover-project/drover/state"
)

// memo keeps what is costly to work out and stays true through all looks of one plan: predictions change neither manifests
// nor Mesos's agents, and replace a definition rather than change it. It saves time and nothing else.
type memo struct {
	definitions map[*byte]def
	wanted      map[string]def
	fitting     map[string][]*state.Node
}

func newMemo() *memo {
	return &memo{definitions: map[*byte]def{}, wanted: map[string]def{}, fitting: map[string][]*state.Node{}}
}

// render returns an app's definition where it is pinned, for looking at.
func (m *memo) render(app state.App, at *pin) def {
	key := string(app.ID) + " " + string(at.host) + " " + strings.Join(at.mounts, " ")
	d, ok := m.wanted[key]
	if !ok {
		d = definition(app, at)
		m.wanted[key] = d
	}
	return d
}

// read parses a definition for looking at. What it returns is shared and never changed; parse makes one that may be.
func (m *memo) read(raw json.RawMessage) def {
	if len(raw) == 0 {
		return def{}
	}
	d, ok := m.definitions[&raw[0]]
	if !ok {
		d = parse(raw)
		m.definitions[&raw[0]] = d
	}
	return d
}

// candidates returns the nodes whose Mesos agents satisfy an app's constraints, in the order of all nodes.
func (a *appCase) candidates() []*state.Node {
	key := fmt.Sprintf("%q", a.app.Constraints)
	if found, ok := a.memo.fitting[key]; ok {
		return found
	}
	conditions := make([]condition, 0, len(a.app.Constraints))
	for _, c := range a.app.Constraints {
		conditions = append(conditions, newCondition(c))
	}
	var out []*state.Node
	for _, n := range a.nodes() {
		agent := a.agents[n.Hostname]
		if agent != nil && !slices.ContainsFunc(conditions, func(c condition) bool { return !c.met(agent, nil) }) {
			out = append(out, n)
		}
	}
	a.memo.fitting[key] = out
	return out
}

// mounting is an app's host path.
type mounting struct {
	path string
	app  state.AppID
}

// mountingsIn returns an app other than this one that mounts a folder or something in it; "" if there is none.
func (v *view) mountingsIn(folder string, except state.AppID) state.AppID {
	if v.mountings == nil {
		v.indexMountings()
	}
	from, _ := slices.BinarySearchFunc(v.mountings, folder, func(m mounting, p string) int { return strings.Compare(m.path, p) })
	for _, m := range v.mountings[from:] {
		switch {
		case !strings.HasPrefix(m.path, folder):
			return ""
		case m.app != except && inside(m.path, folder):
			return m.app
		}
	}
	return ""
}

func (v *view) indexMountings() {
	v.mountings = []mounting{}
	for id, app := range v.o.Marathon.Apps {
		for _, p := range hostPaths(v.memo.read(app.Definition)) {
			v.mountings = append(v.mountings, mounting{p, id})
		}
	}
	slices.SortFunc(v.mountings, func(x, y mounting) int {
		return cmp.Or(cmp.Compare(x.path, y.path), cmp.Compare(x.app, y.app))
	})
}

// leavers names the apps that are no longer wanted on the node that their data is on.
func (v *view) leavers(n *state.Node) []state.AppID {
	if v.leaving == nil {
		v.leaving = map[state.NodeID][]state.AppID{}
		for _, id := range sortedIDs(v.d.Apps) {
			a := v.caseOf(v.d.Apps[id])
			if len(a.vols) == 0 {
				continue
			}
			if h, ok := a.lead().holder(); ok && a.constraintsOn(h.node) != "" {
				v.leaving[h.node.ID] = append(v.leaving[h.node.ID], id)
			}
		}
	}
	return v.leaving[n.ID]
}

// routesOf returns what each node's gate has for an app.
func (v *view) routesOf(app state.AppID) map[state.NodeID][]state.Route {
	if v.routed == nil {
		v.routed = map[state.AppID]map[state.NodeID][]state.Route{}
		for _, n := range v.sorted {
			for _, r := range n.Gate.Routes {
				if v.routed[r.App] == nil {
					v.routed[r.App] = map[state.NodeID][]state.Route{}
				}
				v.routed[r.App][n.ID] = append(v.routed[r.App][n.ID], r)
			}
		}
	}
	return v.routed[app]
}
