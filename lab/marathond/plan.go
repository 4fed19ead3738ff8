package marathond

import (
	"errors"
	"maps"
	"reflect"
	"slices"
)

// Action types of a deployment.
const (
	startApplication   = "StartApplication"
	stopApplication    = "StopApplication"
	scaleApplication   = "ScaleApplication"
	restartApplication = "RestartApplication"
)

// change is what a deployment does to one app. From is nil for a new app, To for a removed one.
type change struct {
	From    *app `json:"from,omitempty"`
	To      *app `json:"to,omitempty"`
	Restart bool `json:"restart,omitempty"`
}

type deployStep struct {
	Actions []*action `json:"actions"`
}

type action struct {
	Type    string   `json:"action"`
	App     string   `json:"app"`
	Restart *restart `json:"restart,omitempty"` // set when a RestartApplication has begun
}

var errCycle = errors.New("Dependency graph has cyclic dependencies.") //nolint:staticcheck // Marathon's own text

// real tells whether a change changes anything.
func (c change) real() bool {
	switch {
	case c.Restart:
		return true
	case c.From == nil || c.To == nil:
		return c.From != c.To
	}
	return !reflect.DeepEqual(c.From.Def, c.To.Def)
}

// scaleOnly tells whether nothing but the number of instances differs.
func (c change) scaleOnly() bool {
	if c.Restart || c.From == nil || c.To == nil {
		return false
	}
	a, b := maps.Clone(c.From.Def), maps.Clone(c.To.Def)
	delete(a, "instances")
	delete(b, "instances")
	return reflect.DeepEqual(a, b)
}

// actionType is what one changed app needs in its dependency layer, empty for a removed one.
func (c change) actionType() string {
	switch {
	case c.To == nil:
		return ""
	case c.From == nil, c.scaleOnly(), c.To.spec.Instances == 0:
		return scaleApplication
	}
	return restartApplication
}

// planSteps computes a deployment: removed apps stop, new apps start, then the dependency layers scale or restart,
// dependencies first. Empty steps are dropped. layer gives each app's depth in the target tree.
func planSteps(changes map[string]change, layer map[string]int) []deployStep {
	var stop, start deployStep
	byLayer := map[int]*deployStep{}
	for _, id := range slices.Sorted(maps.Keys(changes)) {
		c := changes[id]
		if c.To == nil {
			stop.add(stopApplication, id)
			continue
		}
		if c.From == nil {
			start.add(startApplication, id)
		}
		if byLayer[layer[id]] == nil {
			byLayer[layer[id]] = &deployStep{}
		}
		byLayer[layer[id]].add(c.actionType(), id)
	}
	steps := []deployStep{stop, start}
	for _, n := range slices.Sorted(maps.Keys(byLayer)) {
		steps = append(steps, *byLayer[n])
	}
	return slices.DeleteFunc(steps, func(s deployStep) bool { return len(s.Actions) == 0 })
}

func (s *deployStep) add(kind, id string) {
	s.Actions = append(s.Actions, &action{Type: kind, App: id})
}

// layers gives every app's depth: 0 without dependencies. A dependency on a group means all its apps.
func layers(apps map[string]*app) (map[string]int, error) {
	depth, walking := map[string]int{}, map[string]bool{}
	var walk func(id string) (int, error)
	walk = func(id string) (int, error) {
		if d, done := depth[id]; done {
			return d, nil
		}
		if walking[id] {
			return 0, errCycle
		}
		walking[id] = true
		deepest := 0
		for _, dep := range dependencies(apps, id) {
			d, err := walk(dep)
			if err != nil {
				return 0, err
			}
			deepest = max(deepest, d+1)
		}
		depth[id] = deepest
		return deepest, nil
	}
	for id := range apps {
		if _, err := walk(id); err != nil {
			return nil, err
		}
	}
	return depth, nil
}

func dependencies(apps map[string]*app, id string) []string {
	var out []string
	for _, dep := range apps[id].spec.Dependencies {
		for other := range apps {
			if other == dep || within(other, dep) && other != id {
				out = append(out, other)
			}
		}
	}
	return out
}
