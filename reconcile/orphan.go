package reconcile

import (
	"cmp"
	"fmt"

	"github.com/drover-project/drover/state"
)

// A command that has outlived its step keeps its volume locked on its node, where every step about the volume would be refused. So
// none is asked for: what the command is and since when it runs is said instead, and things go on when it has ended.

// unlessLocked takes out the steps that would be refused because of such a command. The rest is done, if there is any.
func (v *view) unlessLocked(d state.Decision) state.Decision {
	var free []state.Step
	locked := ""
	for _, s := range d.Steps() {
		if why := v.lockedFor(s); why != "" {
			locked = cmp.Or(locked, why)
			continue
		}
		s.Beside = len(free) > 0
		free = append(free, s)
	}
	switch {
	case locked == "":
	case len(free) == 0:
		d.Step, d.Beside, d.Waiting = nil, nil, locked
	default:
		d.Step, d.Beside = &free[0], free[1:]
	}
	return d
}

// lockedFor says which command keeps a step's volume locked where it is done. Streams take the lock at both ends.
func (v *view) lockedFor(s state.Step) string {
	why := lockedOn(v.o.Nodes[s.Node], s.Volume, s.UUID)
	if why == "" && streams(s.Kind) {
		why = lockedOn(v.o.Nodes[s.Peer], s.Volume, s.UUID)
	}
	return why
}

// lockedOn says which command keeps a volume locked on a node; "" if none does.
func lockedOn(n *state.Node, volume state.VolumeName, uuid state.UUID) string {
	if n == nil || !n.Answered() {
		return ""
	}
	for _, o := range n.Orphans {
		if o.UUID == uuid {
			return fmt.Sprintf("volume %s is locked on %s by %s: it goes on when that has ended; if it hangs, look at the pool there, or end it", volume, n.Hostname, o)
		}
	}
	return ""
}

// lockedAtEither says which command keeps one of the app's volumes locked at either end of a move: the app is not stopped for one that
// could not go on.
func (a *appCase) lockedAtEither(from, to *state.Node) string {
	for i := range a.vols {
		for _, n := range []*state.Node{from, to} {
			if why := lockedOn(n, a.vols[i].want.Name, a.vols[i].birth.UUID); why != "" {
				return why
			}
		}
	}
	return ""
}
