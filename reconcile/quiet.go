package reconcile

import (
	"fmt"
	"time"

	"github.com/drover-project/drover/state"
)

// longQuiet is from when on an app's line speaks of a stream in which nothing moves. A pool that writes a transaction group is quiet for
// seconds.
const longQuiet = 20 * time.Second

// Quiet says for how long nothing has moved in a stream from a node, for what it waits, and what comes of it; "" if something moves.
func Quiet(o *state.Observed, from *state.Node, s state.Stream) string {
	if s.Quiet.IsZero() {
		return ""
	}
	text := fmt.Sprintf("nothing has moved for %s: %s", Seconds(from.At.Sub(s.Quiet)), quietWhy(o, from, s))
	if s.Patience > 0 {
		text += "; it is cut and resumed after " + whole(s.Patience)
	}
	return text
}

func quietWhy(o *state.Observed, from *state.Node, s state.Stream) string {
	to := state.Hostname("node " + s.To)
	if n := o.Nodes[s.To]; n != nil {
		to = n.Hostname
	}
	switch {
	case s.Waiting > 0:
		return fmt.Sprintf("the pool of %s does not take the %s that have arrived", to, Bytes(s.Waiting))
	case s.Bound == state.BoundLimit:
		return "a bandwidth limit"
	case s.Patience == 0:
		return fmt.Sprintf("%s has all of it, and has not said so yet", to)
	case s.Bound == state.BoundSource:
		return fmt.Sprintf("the pool of %s gives nothing", from.Hostname)
	}
	return fmt.Sprintf("%s takes nothing from the network", to)
}

// whole writes whole minutes as such.
func whole(d time.Duration) string {
	if d%time.Minute == 0 {
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return Seconds(d)
}

// beFlowing says which of the app's streams have been quiet for long. It never decides.
func (a *appCase) beFlowing() (state.Decision, bool) {
	return state.Decision{Notes: a.quietStreams()[a.app.ID]}, false
}

// quietStreams says of each app which of its streams have been quiet for long.
func (v *view) quietStreams() map[state.AppID][]string {
	if v.quiet != nil {
		return v.quiet
	}
	v.quiet = map[state.AppID][]string{}
	for _, n := range v.nodes() {
		for _, s := range n.Streams {
			if !s.Quiet.IsZero() && n.Answered() && n.At.Sub(s.Quiet) >= longQuiet {
				v.quiet[s.App] = append(v.quiet[s.App], fmt.Sprintf("stream of %s from %s to %s: %s", s.Name(), n.Hostname, v.name(s.To), Quiet(v.o, n, s)))
			}
		}
	}
	return v.quiet
}
