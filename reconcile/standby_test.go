package reconcile

import (
	"testing"

	"github.com/drover-project/drover/state"
)

// snapped is a copy with snapshots of these guids, named after rounds of the move to 0.2 or, from 100 on, by somebody else.
func snapped(guids ...state.GUID) *state.Copy {
	c := &state.Copy{}
	for _, g := range guids {
		name := "autosnap_" + g.String()
		if g < 100 {
			name = roundName(state.Epoch{N: 2}, int(g))
		}
		add(&c.Filesystem, state.Snapshot{Name: name, GUID: g})
	}
	return c
}

// A standby that others took snapshots of takes increments as long as nothing was written to it.
func TestDiverged(t *testing.T) {
	src := snapped(1, 2, 101, 3)
	written := snapped(1, 2, 102)
	written.Snapshots[2].Written = 1
	dirty := snapped(1, 2)
	dirty.Written = 1
	raw := snapped(1, 2, 101, 3)
	raw.Encrypted = true
	for name, c := range map[string]struct {
		src, dst *state.Copy
		want     bool
	}{
		"behind":                 {src, snapped(1, 2), false},
		"foreign and empty":      {src, snapped(1, 2, 102, 103), false},
		"foreign with data":      {src, written, true},
		"written to":             {src, dirty, true},
		"nothing in common":      {src, snapped(102), true},
		"no snapshot":            {src, snapped(), true},
		"foreign, encrypted":     {raw, snapped(1, 2, 102), true},
		"not foreign, encrypted": {raw, snapped(1, 2), false},
	} {
		if got := diverged(c.src, c.dst); got != c.want {
			t.Errorf("%s: diverged is %v", name, got)
		}
	}
}

// A round that is older than what the target has is not sent again, though somebody else's hold keeps it on the source.
func TestUnsentRoundIsNewer(t *testing.T) {
	e := state.Epoch{N: 2}
	for name, c := range map[string]struct {
		src, dst *state.Copy
		want     string
	}{
		"older is held":    {snapped(0, 1), snapped(1), ""},
		"newer":            {snapped(0, 1, 2), snapped(1), roundName(e, 2)},
		"others between":   {snapped(0, 101, 1, 102), snapped(0, 103), roundName(e, 1)},
		"nothing is there": {snapped(0, 1), nil, roundName(e, 1)},
	} {
		if got := unsentRound(c.src, c.dst, e); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
