package reconcile

import (
	"time"

	"github.com/drover-project/drover/state"
)

// Ready reports whether an app answers where it should: a task of it runs, on the node of its data if it has any, and passes
// its health checks.
func Ready(d *state.Desired, o *state.Observed, id state.AppID) bool {
	return AllReady(d, o, []state.AppID{id})[id]
}

// AllReady tells which of the given apps are ready, in one look.
func AllReady(d *state.Desired, o *state.Observed, ids []state.AppID) map[state.AppID]bool {
	v := newView(d, o, time.Time{})
	out := make(map[state.AppID]bool, len(ids))
	for _, id := range ids {
		if app, ok := d.Apps[id]; ok && o.Marathon.Answered() {
			out[id] = v.caseOf(app).ready()
		}
	}
	return out
}

func (a *appCase) ready() bool {
	host := state.Hostname("")
	if len(a.vols) > 0 {
		h, ok := a.lead().holder()
		if !ok || h.copy.Role != state.Primary {
			return false
		}
		host = h.node.Hostname
	}
	_, ready := a.readyTask(host)
	return ready && !a.held()
}

// Held reports whether Marathon holds an app for a cutover: no instances, and a constraint that no agent satisfies.
func Held(o *state.Observed, id state.AppID) bool {
	a := appCase{live: o.Marathon.Apps[id]}
	return a.held()
}
