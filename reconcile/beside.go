package reconcile

import (
	"slices"
	"time"

	"github.com/drover-project/drover/state"
)

// The volumes of an app wait for each other only where one leads: at the release, and at the promotion. What else there is to do for
// several of them is done side by side.

// abreast is how many volumes of an app travel side by side at most. More streams make neither a pool nor a network faster.
const abreast = 4

// each asks about each volume in turn. The first for which there is something to do, or to wait for, decides. What is to be done for others
// is done beside it if it is of its kind: such steps do not depend on each other, and come out the same one after the other.
func (a *appCase) each(ask func(*volumeCase) (state.Decision, bool)) (state.Decision, bool) {
	var first state.Decision
	decided := false
	for i := range a.vols {
		d, ok := ask(&a.vols[i])
		switch {
		case !ok:
		case !decided:
			first, decided = d, true
		case d.Step != nil && goesBeside(*d.Step, first.Steps()):
			d.Step.Beside = true
			first.Beside = append(first.Beside, *d.Step)
		}
		if decided && first.Step == nil {
			return first, true
		}
	}
	a.shareLink(&first)
	return first, decided
}

// goesBeside reports whether a step is of the kind of others that are done already side by side, and of another volume.
func goesBeside(s state.Step, others []state.Step) bool {
	if len(others) == 0 || slices.ContainsFunc(others, func(o state.Step) bool { return o.Volume == s.Volume }) {
		return false
	}
	if streams(s.Kind) && streams(others[0].Kind) {
		return len(others) < abreast
	}
	return s.Kind == others[0].Kind
}

// streams reports whether a step sends data from node to node.
func streams(k state.StepKind) bool {
	return k == state.Replicate || k == state.Resume || k == state.CatchUp || k == state.LastIncrement
}

// shareLink estimates anew what streams take that go side by side: each has its part of what the link carries until it ends.
func (a *appCase) shareLink(d *state.Decision) {
	if len(d.Beside) == 0 || !streams(d.Step.Kind) {
		return
	}
	rate, all := a.rate(a.o.Nodes[d.Step.Node], a.o.Nodes[d.Step.Peer]), d.Steps()
	took := func(s state.Step) time.Duration {
		var bytes int64
		for _, other := range all {
			bytes += min(other.Bytes, s.Bytes)
		}
		return streamTime(bytes, rate)
	}
	d.Step.Took = took(*d.Step)
	for i := range d.Beside {
		d.Beside[i].Took = took(d.Beside[i])
	}
}

// streamTime estimates what a stream takes.
func streamTime(bytes int64, rate float64) time.Duration {
	return streamCost + time.Duration(float64(bytes)/rate*float64(time.Second))
}

// timer adds up what steps take, in their order.
type timer struct {
	longest time.Duration // of the steps that run beside each other
}

// adds returns by how much a step makes longer what came before it: one that runs beside others only by what it outlasts them.
func (t *timer) adds(s state.Step) time.Duration {
	if !s.Beside {
		t.longest = 0
	}
	more := max(s.Took-t.longest, 0)
	t.longest += more
	return more
}
