package controller

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/drover-project/drover/state"
)

// EventKind says what an [Event] is about.
type EventKind string

// What happens during a term.
const (
	EventWaiting  EventKind = "waiting"  // to lead
	EventStarted  EventKind = "started"  // a step
	EventProgress EventKind = "progress" // of a stream
	EventDone     EventKind = "done"     // a step
	EventFailed   EventKind = "failed"   // a step; it is tried again
	EventMoved    EventKind = "moved"    // an app is up again after a cutover
)

// Event is something that happened, for people who watch.
type Event struct {
	At     time.Time
	Kind   EventKind
	Step   state.Step
	Took   time.Duration
	Err    error
	Stream *state.Stream // for EventProgress
	Move   *Move         // for EventMoved
	Text   string
}

// Move is the record of one cutover and what led to it.
type Move struct {
	ID      state.MoveID
	App     state.AppID
	From    state.Hostname `json:",omitempty"`
	To      state.Hostname `json:",omitempty"`
	Started time.Time
	Ended   time.Time                // zero while it runs
	Bytes   int64                    // planned to send, all rounds
	Outage  time.Duration            // measured by the controller: from the stop until the gates let connections through
	Parts   map[string]time.Duration // "stop", "last delta", "promote", "start"
	Back    bool                     // it went back

	promoted bool
}

// Status is what the leader publishes in the register after each look.
type Status struct {
	Leader  string
	Term    state.Term
	At      time.Time
	Digest  string // of the manifests in force; "" if there are none yet
	Refusal string // why the newest manifests are not in force; "" if they are
	Apps    []AppStatus
	Moves   []Move // newest last
	Settled bool   // nothing is to be done, nothing stalls
}

// AppStatus is one app's line in the status.
type AppStatus struct {
	App     state.AppID
	Step    state.StepKind `json:",omitempty"` // running now, or next
	Why     string         `json:",omitempty"`
	Node    state.NodeID   `json:",omitempty"`
	Waiting string         `json:",omitempty"`
	Stalled string         `json:",omitempty"`
	Notes   []string       `json:",omitempty"`
	Left    bool           `json:",omitempty"`
}

// keptMoves is how many past moves the status names.
const keptMoves = 50

// publish puts the state of this term into the register. It is for people; failing is logged, not fatal.
func (l *loop) publish(ctx context.Context, s set, decisions []state.Decision) {
	if ctx.Err() != nil {
		return
	}
	st := Status{Leader: l.c.o.Name, Term: l.term, At: time.Now().UTC(), Settled: s.refusal == nil}
	if s.desired != nil {
		st.Digest = s.desired.Digest
	}
	if s.refusal != nil {
		st.Refusal = s.refusal.Error()
	}
	for _, d := range decisions {
		st.Apps = append(st.Apps, appStatus(d))
		st.Settled = st.Settled && d.Step == nil && d.Waiting == "" && d.Stalled == ""
	}
	st.Moves = l.movesSoFar()
	b, err := json.Marshal(st)
	if err == nil {
		err = l.c.o.Cluster.Register.PublishStatus(ctx, b)
	}
	if err != nil && ctx.Err() == nil {
		l.c.o.Log.WarnContext(ctx, "status was not published", "err", err)
	}
}

// movesSoFar returns the moves as they are now: those under way go on changing.
func (l *loop) movesSoFar() []Move {
	l.mu.Lock()
	defer l.mu.Unlock()
	moves := slices.Clone(l.moves)
	for i := range moves {
		moves[i].Parts = maps.Clone(moves[i].Parts)
	}
	return moves
}

// silentEnds says which end of a step under way does not answer: that may be what the step waits for.
func silentEnds(o *state.Observed, s state.Step) []string {
	var notes []string
	for _, id := range []state.NodeID{s.Node, s.Peer} {
		if n := o.Nodes[id]; n != nil && !n.Answered() {
			notes = append(notes, fmt.Sprintf("%s does not answer: %s", n.Hostname, n.Err))
		}
	}
	return notes
}

func appStatus(d state.Decision) AppStatus {
	a := AppStatus{App: d.App, Waiting: d.Waiting, Stalled: d.Stalled, Notes: d.Notes, Left: d.Left}
	if d.Step != nil {
		a.Step, a.Why, a.Node = d.Step.Kind, d.Step.Why, d.Step.Node
	}
	return a
}

// moveOf returns the record of the move that a step belongs to, made at its first step. The caller holds l.mu.
func (l *loop) moveOf(s state.Step, now time.Time) *Move {
	for i := range l.moves {
		if m := &l.moves[i]; m.App == s.App && m.Ended.IsZero() {
			m.ID = cmp.Or(s.Move, m.ID) // a move whose target was changed goes on as another
			return m
		}
	}
	if s.Move == "" {
		return nil
	}
	l.moves = append(l.moves, Move{ID: s.Move, App: s.App, Started: now, Parts: map[string]time.Duration{}})
	if len(l.moves) > keptMoves {
		l.moves = l.moves[1:]
	}
	return &l.moves[len(l.moves)-1]
}

// add accounts for steps that were done side by side in a time.
func (m *Move) add(steps []state.Step, took time.Duration, now time.Time) {
	if m.Started.After(now.Add(-took)) {
		m.Started = now.Add(-took)
	}
	for _, s := range steps {
		switch s.Kind {
		case state.Replicate, state.Resume, state.CatchUp, state.LastIncrement:
			m.Bytes += s.Bytes
		case state.Promote:
			m.promoted = true
		default:
		}
	}
	switch steps[0].Kind {
	case state.LastIncrement:
		m.Parts["last delta"] += took
	case state.HoldConnections, state.StopApp:
		m.Parts["stop"] += took
	case state.Fence, state.ReleaseVolume, state.Promote:
		m.Parts["promote"] += took
	case state.StartApp, state.VerifyReady, state.SetRoutes:
		m.Parts["start"] += took
	default:
	}
}

// progress reports a stream's bytes while a step runs. The returned function ends it.
func (l *loop) progress(ctx context.Context, w *doer, s state.Step) (stop func()) {
	n := w.o.Nodes[s.Node]
	if n == nil || s.Kind != state.Replicate && s.Kind != state.Resume && s.Kind != state.CatchUp {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				l.report(ctx, n.Address, s)
			}
		}
	}()
	return func() { cancel(); <-done }
}

// report emits how far a step's stream has come. Not knowing is no reason to stop it.
func (l *loop) report(ctx context.Context, addr string, s state.Step) {
	streams, err := l.c.o.Cluster.Agents.Streams(ctx, addr)
	if err != nil {
		return
	}
	for i := range streams {
		if streams[i].UUID == s.UUID {
			l.emit(Event{Kind: EventProgress, Step: s, Stream: &streams[i]})
		}
	}
}
