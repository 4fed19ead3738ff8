package controller

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/drover-project/drover/agent"
	"github.com/drover-project/drover/state"
)

// meeting is an agent that does a step only when all of them have come.
type meeting struct {
	Agents
	fails state.VolumeName // the step of this volume

	mu   sync.Mutex
	wait int // for so many more
	met  chan struct{}
}

func newMeeting(of int, fails state.VolumeName) *meeting {
	return &meeting{fails: fails, wait: of, met: make(chan struct{})}
}

func (m *meeting) Do(_ context.Context, _ string, _ state.Term, s state.Step) (agent.Result, error) {
	m.mu.Lock()
	if m.wait--; m.wait == 0 {
		close(m.met)
	}
	m.mu.Unlock()
	if err := until(m.met); err != nil {
		return agent.Result{}, err
	}
	if s.Volume == m.fails {
		return agent.Result{}, errors.New("it is used")
	}
	return agent.Result{Copy: &state.Copy{Volume: s.Volume, UUID: s.UUID, Role: state.Fenced, Epoch: s.Expect.Epoch}}, nil
}

// fences are those of three volumes of one app, and what is observed before.
func fences() (*state.Observed, []state.Step) {
	o := &state.Observed{Nodes: map[state.NodeID]*state.Node{"n": {ID: "n", Hostname: "n"}}}
	var steps []state.Step
	for i, v := range []state.VolumeName{"a", "b", "c"} {
		s := state.Step{Kind: state.Fence, App: "/db", Volume: v, UUID: state.UUID(v), Lead: "a", Move: "db-0.2", Node: "n", Snapshot: "drover-0.2-final", Beside: i > 0,
			Expect: state.Expect{Role: state.Primary, Epoch: state.Epoch{N: 1}}}
		o.Nodes["n"].Copies = append(o.Nodes["n"].Copies, state.Copy{Volume: v, UUID: s.UUID, Role: state.Primary, Epoch: s.Expect.Epoch})
		steps = append(steps, s)
	}
	return o, steps
}

// Steps for several volumes run at the same time, each to its end; one that goes wrong is what the app backs off for.
func TestStepsRunSideBySide(t *testing.T) {
	for _, fails := range []state.VolumeName{"", "a", "b"} {
		o, steps := fences()
		quiet := slog.New(slog.DiscardHandler)
		done := map[state.VolumeName]bool{}
		c := New(Options{Cluster: &Cluster{Agents: newMeeting(len(steps), fails), Log: quiet}, Log: quiet, OnEvent: func(e Event) {
			if e.Kind == EventDone {
				done[e.Step.Volume] = true
			}
		}})
		l := newLoop(c, 1, func(error) {})
		w := &doer{c: c.o.Cluster, mem: c.mem, term: 1, d: &state.Desired{}, o: o}
		err := l.doAll(t.Context(), w, steps)
		if (err == nil) != (fails == "") || !errors.Is(l.retries["/db"].err, err) || l.retries["/db"].key != keyOf(steps) {
			t.Errorf("%q fails: %v, and noted is %+v", fails, err, l.retries["/db"])
		}
		for _, cp := range o.Nodes["n"].Copies {
			if fenced := cp.Role == state.Fenced; fenced != (cp.Volume != fails) || done[cp.Volume] != fenced {
				t.Errorf("%q fails: %s is %s", fails, cp.Volume, cp.Role)
			}
		}
		if moves := len(l.moves); (moves == 1) != (fails == "") {
			t.Errorf("%q fails: %d moves are measured", fails, moves)
		}
	}
}

// What takes place side by side is counted once, what is sent for each.
func TestMoveCountsTimeOnce(t *testing.T) {
	_, steps := fences()
	for i := range steps {
		steps[i].Kind, steps[i].Bytes = state.LastIncrement, 100
	}
	m := &Move{Parts: map[string]time.Duration{}}
	m.add(steps, time.Second, time.Now())
	if m.Bytes != 300 || m.Parts["last delta"] != time.Second {
		t.Errorf("got %+v", m)
	}
	if slices.ContainsFunc(steps, func(s state.Step) bool { return stepKey(s) == keyOf(steps) }) {
		t.Error("one step looks like all of them")
	}
}
