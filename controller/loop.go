package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/drover-project/drover/agent"
	"github.com/drover-project/drover/marathon"
	"github.com/drover-project/drover/reconcile"
	"github.com/drover-project/drover/register"
	"github.com/drover-project/drover/state"
)

// workers bounds how many apps have a step running at once.
const workers = 16

// loop is one term of leadership.
type loop struct {
	c      *Controller
	term   state.Term
	cancel context.CancelCauseFunc // ends the term
	wake   chan struct{}           // a step has ended: look again
	kept   *state.Desired          // the last good manifests, as they are in the register

	mu      sync.Mutex
	busy    map[state.AppID]state.Step
	ended   map[state.AppID]time.Time // when an app's last script ended: what was observed before is stale for it
	retries map[state.AppID]*retry
	moves   []Move

	wg sync.WaitGroup
}

// retry is the back-off of an app whose last step went wrong, and its count of steps that changed nothing.
type retry struct {
	pause *backoff.ExponentialBackOff
	next  time.Time
	err   error
	since time.Time
	key   string // the last steps, without their estimates
	same  int    // how often it came in a row
}

func newLoop(c *Controller, term state.Term, cancel context.CancelCauseFunc) *loop {
	return &loop{c: c, term: term, cancel: cancel, wake: make(chan struct{}, 1),
		busy: map[state.AppID]state.Step{}, ended: map[state.AppID]time.Time{}, retries: map[state.AppID]*retry{}}
}

// follow keeps the cluster as the watched manifests want it until ctx ends.
func (l *loop) follow(ctx context.Context, m *manifests, hints <-chan struct{}) error {
	defer l.wg.Wait()
	for {
		set := l.inForce(ctx, m)
		pause := l.c.o.Every
		var decisions []state.Decision
		if set.desired != nil {
			decisions = l.pass(ctx, set.desired)
			pause = l.until(decisions)
		}
		l.publish(ctx, set, decisions)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.wake:
		case <-m.changed:
		case <-hints:
			l.settle(ctx, 20*time.Millisecond)
		case <-time.After(pause):
		}
	}
}

// inForce returns the set that is in force: the last good one that was read or, if none was since this controller started, the
// one that its predecessors kept in the register.
func (l *loop) inForce(ctx context.Context, m *manifests) set {
	s, reg := m.current(), l.c.o.Cluster.Register
	switch {
	case s.desired == nil && l.kept == nil:
		kept, err := reg.Desired(ctx)
		if err != nil && !errors.Is(err, register.ErrNotFound) {
			l.c.o.Log.WarnContext(ctx, "the last good manifests cannot be read", "err", err)
		}
		l.kept = kept
	case s.desired != nil && (l.kept == nil || l.kept.Digest != s.desired.Digest):
		if err := reg.KeepDesired(ctx, s.desired); err != nil {
			l.c.o.Log.WarnContext(ctx, "the manifests were not kept in the register", "err", err)
			break
		}
		l.kept = s.desired
	}
	if s.desired == nil {
		s.desired = l.kept
	}
	return s
}

// settle lets a burst of hints pass, a longer one while an app is down: looking at everything then would only slow the
// cutover that causes the hints.
func (l *loop) settle(ctx context.Context, d time.Duration) {
	if l.c.mem.anyDown() {
		d = time.Second
	}
	select {
	case <-ctx.Done():
	case <-l.wake:
		poke(l.wake)
	case <-time.After(d):
	}
}

// converge brings the cluster to d and returns.
func (l *loop) converge(ctx context.Context, d *state.Desired) error {
	defer l.wg.Wait()
	for {
		decisions := l.pass(ctx, d)
		l.publish(ctx, set{desired: d}, decisions)
		if err, done := l.outcome(decisions); done {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.wake:
		case <-time.After(min(l.until(decisions), time.Second)):
		}
	}
}

// outcome says whether nothing more can be done, and what is not as wanted.
func (l *loop) outcome(decisions []state.Decision) (error, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var stalled []string
	for _, d := range decisions {
		if d.Step != nil || d.Waiting != "" {
			return nil, false
		}
		if d.Stalled != "" {
			stalled = append(stalled, fmt.Sprintf("%s: %s", d.App, d.Stalled))
		}
	}
	if len(l.busy) > 0 {
		return nil, false
	}
	if len(stalled) > 0 {
		return errors.New(strings.Join(stalled, "\n")), true
	}
	return nil, true
}

// pass looks at everything once and starts a step for every app that has one and is not busy.
func (l *loop) pass(ctx context.Context, d *state.Desired) []state.Decision {
	asked := time.Now()
	o := l.c.o.Cluster.Observe(ctx, true)
	for _, n := range o.Nodes {
		if n.Answered() && n.At.Before(asked) {
			asked = n.At // its answer is to the question of an earlier look
		}
	}
	now := time.Now()
	l.c.mem.look(d, o, now)
	l.c.mem.fill(o, now)
	l.limit(ctx, d, o)
	decisions := reconcile.Next(d, o, now)
	for i := range decisions {
		l.start(ctx, d, o, &decisions[i], asked)
	}
	return decisions
}

// limit tells every agent what its streams may take, where that is not what it says. Streams under way obey at once.
func (l *loop) limit(ctx context.Context, d *state.Desired, o *state.Observed) {
	var wg sync.WaitGroup
	for _, n := range o.Nodes {
		limits := reconcile.Limits(d, o, n)
		if !n.Answered() || n.Limits.Equal(limits) {
			continue
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			if err := l.c.o.Cluster.Agents.SetLimits(ctx, n.Address, l.term, limits); err != nil {
				l.c.o.Log.WarnContext(ctx, "limits of streams were not set; tried again at the next look", "node", n.Hostname, "err", err)
			}
		})
	}
	wg.Wait()
}

// start begins an app's step, unless the app is busy, backing off, or going round in a circle. A decision on what was asked
// before the app's last step ended is stale and waits for the next look: Marathon would do what it is told.
func (l *loop) start(ctx context.Context, d *state.Desired, o *state.Observed, dec *state.Decision, asked time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if running, ok := l.busy[dec.App]; ok {
		dec.Step, dec.Beside, dec.Stalled, dec.Waiting = &running, nil, "", ""
		dec.Notes = append(dec.Notes, silentEnds(o, running)...)
		return
	}
	r := l.retries[dec.App]
	if dec.Step == nil || ctx.Err() != nil || len(l.busy) >= workers {
		return
	}
	if l.ended[dec.App].After(asked) {
		poke(l.wake)
		return
	}
	if r.rests(dec, now) {
		return
	}
	if r != nil && r.same >= circles && r.key == keyOf(dec.Steps()) && now.Before(r.next) {
		dec.Stalled = fmt.Sprintf("%s was done %d times and is needed again: something else keeps changing it back, or this is a defect of Drover", dec.Step.Kind, r.same)
		dec.Step, dec.Beside = nil, nil
		return
	}
	l.busy[dec.App] = *dec.Step
	w := &doer{c: l.c.o.Cluster, mem: l.c.mem, term: l.term, d: d, o: reconcile.Clone(o)}
	l.wg.Go(func() {
		defer poke(l.wake)
		l.script(ctx, w, *dec)
		l.mu.Lock()
		delete(l.busy, dec.App)
		l.ended[dec.App] = time.Now()
		l.mu.Unlock()
	})
}

// hopeless is the pause before what no further try can help is tried all the same: somebody may have upgraded the node.
const hopeless = 10 * time.Minute

// rests reports whether a step waits because one of its app's went wrong a moment ago. What no further try can help stalls the app; it
// does not keep another step waiting, as a changed manifest leads to.
func (r *retry) rests(dec *state.Decision, now time.Time) bool {
	switch {
	case r == nil || r.err == nil || !now.Before(r.next):
		return false
	case !errors.Is(r.err, agent.ErrUnsupported):
		dec.Waiting, dec.After = r.err.Error(), r.next.Sub(now)
	case r.key != keyOf(dec.Steps()):
		return false
	default:
		dec.Stalled, dec.After, dec.Step, dec.Beside = r.err.Error(), r.next.Sub(now), nil, nil
	}
	return true
}

// circles is how often the same step may come in a row before it counts as going in a circle.
const circles = 5

// script does what was decided about an app, and what follows from it without another whole observation: each step is decided by the same
// rules on what the steps before it reported, and each is guarded where it happens.
func (l *loop) script(ctx context.Context, w *doer, dec state.Decision) {
	var aside sync.WaitGroup
	defer aside.Wait()
	for dec.Step != nil {
		steps := dec.Steps()
		s := steps[0]
		l.begin(s)
		begun := time.Now()
		err := l.doOrBegin(ctx, w, steps, &aside)
		took := time.Since(begun)
		ours := errors.Is(err, marathon.ErrLocked) && !s.Force // maybe: the deployments were read again
		if err != nil && !ours || ctx.Err() != nil || !goesOn(s, took) {
			return
		}
		now := time.Now()
		w.mem.fill(w.o, now)
		dec = reconcile.NextFor(w.d, w.o, now, s.App)
		if dec.Step != nil && (!goesOn(*dec.Step, 0) || ours && !dec.Step.Force) {
			return
		}
		if dec.Step != nil && err == nil && !waits(s.Kind) && keyOf(dec.Steps()) == keyOf(steps) {
			return // it had no effect that is seen here: only a whole look can tell why
		}
	}
}

// doOrBegin does steps, or only begins them if nothing waits for them: a source is retired while the app starts on the target. If
// that fails the next look finds it released and retires it.
func (l *loop) doOrBegin(ctx context.Context, w *doer, steps []state.Step, aside *sync.WaitGroup) error {
	first := steps[0]
	n := w.o.Nodes[first.Node]
	if first.Kind != state.Retire || n == nil || !w.mem.isDown(first.App) {
		return l.doAll(ctx, w, steps)
	}
	alone := &doer{c: w.c, mem: w.mem, term: w.term, d: w.d,
		o: &state.Observed{Nodes: map[state.NodeID]*state.Node{n.ID: {ID: n.ID, Hostname: n.Hostname, Address: n.Address}}}}
	aside.Go(func() { _ = l.doAll(ctx, alone, steps) }) // it is noted
	for _, s := range steps {
		reconcile.Predict(w.o, s, time.Now())
	}
	return nil
}

// doAll does steps of one app side by side, each to its end, and notes how that went: the error is that of the first one that went wrong.
func (l *loop) doAll(ctx context.Context, w *doer, steps []state.Step) error {
	begun := time.Now()
	errs := make([]error, len(steps))
	var all sync.WaitGroup
	for i, s := range steps {
		all.Go(func() { errs[i] = l.doOne(ctx, w, s) })
	}
	all.Wait()
	err := cmp.Or(errs...)
	if err == nil {
		l.measure(ctx, w, steps, time.Since(begun))
	}
	l.note(steps, err)
	return err
}

// freshEnough is how old the rest of an observation may be for a cutover to begin on it.
const freshEnough = 2 * time.Second

// goesOn reports whether the rules may decide again right after a step without a whole new observation.
func goesOn(s state.Step, took time.Duration) bool {
	switch s.Kind {
	case state.Replicate, state.Resume, state.CatchUp:
		return took < freshEnough
	case state.HoldConnections, state.StopApp, state.Fence, state.LastIncrement, state.ReleaseVolume, state.Promote, state.Retire,
		state.StartApp, state.VerifyReady, state.SetRoutes, state.SwearOff, state.GoBack, state.MountVolume,
		state.ClaimVolume, state.CreateVolume, state.AdoptVolume, state.RecordBirth, state.DeployApp, state.Rejoin, state.KeepBase:
		return true
	default:
		return false
	}
}

func (l *loop) begin(s state.Step) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy[s.App] = s
}

// doOne does a step with its log lines, events and measurements. A step that waits in slices is logged once.
func (l *loop) doOne(ctx context.Context, w *doer, s state.Step) error {
	log := l.c.o.Log.With("app", s.App, "volume", s.Volume, "node", l.nodeName(w, s.Node), "step", s.Kind)
	l.mu.Lock()
	r := l.retries[s.App]
	again := r != nil && r.key == stepKey(s) && (s.Kind == state.VerifyReady || s.Kind == state.StopApp)
	l.mu.Unlock()
	if !again {
		log.InfoContext(ctx, "step starts", "why", s.Why, "epoch", s.Epoch, "snapshot", s.Snapshot)
		l.emit(Event{Kind: EventStarted, Step: s})
	}
	w.missed(s)
	begun := time.Now()
	stop := l.progress(ctx, w, s)
	err := w.do(ctx, s)
	stop()
	took := time.Since(begun)
	if err != nil {
		log.WarnContext(ctx, "step ends", "took", took, "err", err)
		l.emit(Event{Kind: EventFailed, Step: s, Took: took, Err: err})
		return err
	}
	if !again {
		log.InfoContext(ctx, "step ends", "took", took)
	}
	l.emit(Event{Kind: EventDone, Step: s, Took: took})
	return nil
}

func (l *loop) nodeName(w *doer, id state.NodeID) state.Hostname {
	if n := w.o.Nodes[id]; n != nil {
		return n.Hostname
	}
	return state.Hostname(id)
}

// note keeps the outcome of steps that were done side by side for their app's back-off.
func (l *loop) note(steps []state.Step, err error) {
	s := steps[0]
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.retries[s.App]
	if r == nil {
		r = &retry{}
		l.retries[s.App] = r
	}
	key := keyOf(steps)
	if r.key != key {
		r.key, r.same = key, 0
	}
	if err == nil {
		r.err, r.pause = nil, nil
		if !waits(s.Kind) {
			r.same++
			r.next = time.Now().Add(time.Minute)
		}
		return
	}
	if errors.Is(err, agent.ErrStaleTerm) {
		l.cancel(ErrLeadershipLost)
	}
	if r.pause == nil {
		r.pause = backoff.NewExponentialBackOff(backoff.WithInitialInterval(250*time.Millisecond), backoff.WithMaxInterval(time.Minute), backoff.WithMaxElapsedTime(0))
		r.since = time.Now()
	}
	pause := r.pause.NextBackOff()
	if errors.Is(err, agent.ErrUnsupported) {
		pause = hopeless
	}
	if l.c.mem.isDown(s.App) {
		pause = min(pause, time.Second) // the app is down: every second counts
	}
	r.err, r.next = err, time.Now().Add(pause)
}

// waits reports whether a step is done in slices of waiting.
func waits(k state.StepKind) bool { return k == state.VerifyReady || k == state.StopApp }

// stepKey identifies a step but for its estimates. More of the grace is another step: saving it again and again is no circle.
func stepKey(s state.Step) string {
	return strings.Join([]string{string(s.Kind), string(s.Volume), string(s.Node), string(s.Peer), s.Epoch.String(), s.Snapshot, s.Grace.String(), s.Why}, "|")
}

// keyOf identifies steps that are done side by side.
func keyOf(steps []state.Step) string {
	keys := make([]string, len(steps))
	for i, s := range steps {
		keys[i] = stepKey(s)
	}
	return strings.Join(keys, "\n")
}

// until returns how long the loop may sleep.
func (l *loop) until(decisions []state.Decision) time.Duration {
	pause := l.c.o.Every
	for _, d := range decisions {
		switch {
		case d.After > 0:
			pause = min(pause, max(d.After, 50*time.Millisecond))
		case d.Waiting != "" || d.Stalled != "":
			pause = min(pause, 2*time.Second)
		}
	}
	return pause
}

func (l *loop) emit(e Event) {
	e.At = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.c.o.OnEvent(e)
}

// measure keeps what the parts of a move took, for the next prediction and for people.
func (l *loop) measure(ctx context.Context, w *doer, steps []state.Step, took time.Duration) {
	s := steps[0]
	if s.Kind == state.Retire {
		return // it may end after its move, and would begin another record
	}
	now := time.Now()
	l.mu.Lock()
	m := l.moveOf(s, now)
	if m != nil {
		m.add(steps, took, now)
		if s.Peer != "" && (s.Kind == state.Replicate || s.Kind == state.Resume || s.Kind == state.CatchUp) {
			m.From, m.To = l.nodeName(w, s.Node), l.nodeName(w, s.Peer)
		}
	}
	l.mu.Unlock()
	if !reconcile.Ready(w.d, w.o, s.App) || s.Kind != state.VerifyReady && s.Kind != state.SetRoutes {
		return
	}
	routed := s.Kind == state.SetRoutes || len(w.d.Apps[s.App].Endpoints) == 0
	if !routed {
		return
	}
	if outage, ok := l.c.mem.up(s.App, now); ok {
		l.closeMove(ctx, s.App, outage)
	}
}

// closeMove closes an app's move with its outage.
func (l *loop) closeMove(ctx context.Context, app state.AppID, outage time.Duration) {
	l.mu.Lock()
	i := slices.IndexFunc(l.moves, func(m Move) bool { return m.App == app && m.Ended.IsZero() })
	if i < 0 {
		l.mu.Unlock()
		return
	}
	m := &l.moves[i]
	m.Ended, m.Outage, m.Back = time.Now(), outage, !m.promoted
	done := *m
	if done.Back {
		l.c.mem.missed(app, done.Ended)
	} else {
		l.c.mem.moved(app)
	}
	l.mu.Unlock()
	l.c.o.Log.InfoContext(ctx, "move ends", "app", app, "move", done.ID, "outage", outage, "bytes", done.Bytes, "back", done.Back)
	l.emit(Event{Kind: EventMoved, Step: state.Step{App: app}, Move: &done})
	if done.Back {
		return // one slow stop must not make the next attempt look hopeless; how often it is tried grows rarer by itself
	}
	if err := l.c.o.Cluster.Register.SetTiming(ctx, app, state.Timing{Stop: done.Parts["stop"], Start: done.Parts["start"]}); err != nil {
		l.c.o.Log.WarnContext(ctx, "timings were not saved", "app", app, "err", err)
	}
}
