package reconcile

import (
	"maps"
	"slices"
	"time"

	"github.com/drover-project/drover/state"
)

// Next decides, for every app that is desired or that Drover has deployed before, what to do now: at most one step each.
// The result is in the order of the apps' ids.
func Next(d *state.Desired, o *state.Observed, now time.Time) []state.Decision {
	return newView(d, o, now).decideAll()
}

func (v *view) decideAll() []state.Decision {
	out := make([]state.Decision, 0, len(v.d.Apps))
	for _, id := range sortedIDs(v.d.Apps) {
		out = append(out, v.decide(v.d.Apps[id]))
	}
	return append(out, v.left()...)
}

// NextFor decides for one app of the desired set.
func NextFor(d *state.Desired, o *state.Observed, now time.Time, id state.AppID) state.Decision {
	return newView(d, o, now).decide(d.Apps[id])
}

// rule looks at one app's case and decides, or leaves it to the next rule.
type rule func(*appCase) (state.Decision, bool)

// The life of an app with volumes, most urgent first. A rule that decides nothing says that its part is as it should be.
var statefulRules = []rule{
	(*appCase).beFlowing,  // its streams move; only says so
	(*appCase).beBorn,     // every volume exists, once
	(*appCase).settle,     // no handover is half-done
	(*appCase).finishHold, // no cutover is half-begun
	(*appCase).beMounted,  // its volumes are there to be used
	(*appCase).beUp,       // Marathon runs it where its data is
	(*appCase).retire,     // old copies know that they are old
	(*appCase).beReady,    // it answers, and the gates lead to it
	(*appCase).keep,       // its volumes have the properties that are wanted
	(*appCase).beSafe,     // nothing about its volumes voids what Drover promises; only says so
	(*appCase).move,       // it is where the manifest wants it
	(*appCase).update,     // it is defined as the manifest says
	(*appCase).clearOld,   // old copies go after their grace
	(*appCase).keepBases,  // going back stays an increment
}

var statelessRules = []rule{
	(*appCase).bePlaceable,
	(*appCase).deploy,
	(*appCase).beRouted,
}

func (v *view) decide(app state.App) state.Decision {
	a := v.caseOf(app)
	if why := v.blind(len(app.Volumes) > 0); why != "" {
		d, _ := a.wait("%s", why)
		return d
	}
	rules := statelessRules
	if len(app.Volumes) > 0 {
		rules = statefulRules
	}
	var notes []string
	for _, r := range rules {
		d, decided := r(a)
		notes = append(notes, d.Notes...)
		if decided {
			d.App, d.Notes = app.ID, notes
			return v.unlessLocked(d)
		}
	}
	return state.Decision{App: app.ID, Notes: notes}
}

// blind says which source must answer before anything can be decided at all.
func (v *view) blind(volumes bool) string {
	switch {
	case !v.o.Marathon.Answered():
		return "Marathon does not answer (" + reason(v.o.Marathon.Source) + "); nothing is changed until it does"
	case !v.o.Mesos.Answered():
		return "the Mesos master does not answer (" + reason(v.o.Mesos.Source) + "); nothing is changed until it does"
	case volumes && !v.o.Register.Answered():
		return "the register does not answer (" + reason(v.o.Register.Source) + "); nothing new is decided until it does"
	}
	return ""
}

func reason(s state.Source) string {
	if s.Err == "" {
		return "it was not asked yet"
	}
	return s.Err
}

// left decides about apps that Drover deployed and that the manifests no longer have.
func (v *view) left() []state.Decision {
	if !v.o.Marathon.Answered() {
		return nil
	}
	var gone []state.AppID
	for id, app := range v.o.Marathon.Apps {
		if _, wanted := v.d.Apps[id]; !wanted && v.memo.read(app.Definition).deployedDigest() != "" {
			gone = append(gone, id)
		}
	}
	slices.Sort(gone)
	out := make([]state.Decision, 0, len(gone))
	for _, id := range gone {
		out = append(out, v.leftOne(id, len(gone)))
	}
	return out
}

func (v *view) leftOne(id state.AppID, of int) state.Decision {
	d := state.Decision{App: id, Left: true}
	switch {
	case !v.d.Cluster.Prune && Held(v.o, id):
		d.Stalled = "it left the manifests while it was stopped for a move: put it back, then its move is ended one way or the other; or remove it with --prune"
	case !v.d.Cluster.Prune:
		d.Notes = []string{"is no longer in the manifests; it is left running (remove it with --prune; its volumes stay)"}
	case of > v.d.Cluster.PruneLimit:
		d.Stalled = plural(of, "app") + " left the manifests at once, more than pruneLimit allows: nothing is removed; raise pruneLimit if this is meant"
	case len(v.locks[id]) > 0:
		d.Waiting = "deployment " + v.locks[id][0].ID + " is at work on it; it is removed when that has ended"
	default:
		d.Step = &state.Step{Kind: state.RemoveApp, App: id, Why: "it is no longer in the manifests; its volumes stay"}
	}
	return d
}

func sortedIDs[T any](apps map[state.AppID]T) []state.AppID {
	return slices.Sorted(maps.Keys(apps))
}
