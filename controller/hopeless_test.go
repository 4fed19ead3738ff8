package controller

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/drover-project/drover/agent"
	"github.com/drover-project/drover/state"
)

// A step that its node cannot do for lack of a feature stalls its app, and says why, instead of being tried again and again; other errors
// only wait. Another step is not kept waiting by it.
func TestWhatCannotBeHelpedStalls(t *testing.T) {
	step := state.Step{App: "/a", Kind: state.Replicate, Volume: "v", Node: "n", Peer: "old"}
	elsewhere := step
	elsewhere.Peer = "new"
	old := fmt.Errorf("it is too old: %w", agent.ErrUnsupported)
	for name, c := range map[string]struct {
		err              error
		next             state.Step
		waiting, stalled string
	}{
		"the same step":              {err: old, next: step, stalled: "it is too old: not supported by the node"},
		"another step":               {err: old, next: elsewhere},
		"what may go away by itself": {err: errors.New("busy"), next: step, waiting: "busy"},
		"that, before another step":  {err: errors.New("busy"), next: elsewhere, waiting: "busy"},
		"a step that went well":      {next: step},
	} {
		l := newLoop(&Controller{mem: newMemory(time.Minute)}, 1, nil)
		l.note([]state.Step{step}, c.err)
		dec := state.Decision{App: "/a", Step: &c.next}
		rests := l.retries["/a"].rests(&dec, time.Now())
		if dec.Waiting != c.waiting || dec.Stalled != c.stalled || rests != (c.waiting+c.stalled != "") {
			t.Errorf("%s: waits %q, stalls %q", name, dec.Waiting, dec.Stalled)
		}
	}
}
