package agent

import (
	"context"
	"maps"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/drover-project/drover/agent/stream"
	"github.com/drover-project/drover/state"
)

// limits are the bandwidth limits of a node's streams. Streams to which the same one applies share it. They live in memory
// only: an agent that has just started has none and runs no stream, and its controller sees that.
type limits struct {
	mu      sync.Mutex
	set     state.Limits
	out, in *rate.Limiter // of the node; nil for none
	links   map[state.NodeID]*rate.Limiter
	apps    map[state.AppID]*rate.Limiter
	changed chan struct{} // closed by the next change
}

func newLimits() *limits { return &limits{changed: make(chan struct{})} }

// now returns what was last set.
func (l *limits) now() state.Limits {
	l.mu.Lock()
	defer l.mu.Unlock()
	return state.Limits{Node: l.set.Node, Links: maps.Clone(l.set.Links), Apps: maps.Clone(l.set.Apps)}
}

// change sets other limits, which apply to running streams at once.
func (l *limits) change(to state.Limits) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if to.Equal(l.set) {
		return
	}
	l.set = to
	l.out, l.in = limiter(l.out, to.Node), limiter(l.in, to.Node)
	l.links, l.apps = limiters(l.links, to.Links), limiters(l.apps, to.Apps)
	close(l.changed)
	l.changed = make(chan struct{})
}

func limiters[K comparable](have map[K]*rate.Limiter, want map[K]int64) map[K]*rate.Limiter {
	next := map[K]*rate.Limiter{}
	for key, perSecond := range want {
		if is := limiter(have[key], perSecond); is != nil {
			next[key] = is
		}
	}
	return next
}

// limiter makes have, if there is one, a limiter of so many bytes per second. What streams have taken of it stays taken.
func limiter(have *rate.Limiter, perSecond int64) *rate.Limiter {
	if perSecond <= 0 {
		return nil
	}
	burst := piece(perSecond)
	if have == nil {
		have = rate.NewLimiter(rate.Limit(perSecond), burst)
		have.AllowN(time.Now(), burst) // it begins smoothly, too
		return have
	}
	have.SetLimit(rate.Limit(perSecond))
	have.SetBurst(burst)
	return have
}

// piece is how many bytes go at once under a limit: what it allows in a fiftieth of a second, so that a link's other users
// notice no bursts.
func piece(perSecond int64) int { return int(min(max(perSecond/50, 1<<10), stream.ChunkSize)) }

// throttle is one stream under its node's limits.
type throttle struct {
	l   *limits
	app state.AppID
	to  state.NodeID // "" at the receiver
}

// sending returns the throttle of a stream of an app to another node, receiving that of one from elsewhere.
func (l *limits) sending(app state.AppID, to state.NodeID) *throttle {
	return &throttle{l: l, app: app, to: to}
}

func (l *limits) receiving() *throttle { return &throttle{l: l} }

// bounds returns the limiters that apply now, how many bytes may go at once, and what is closed when that changes.
func (t *throttle) bounds() (all []*rate.Limiter, most int, changed <-chan struct{}) {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	candidates := []*rate.Limiter{t.l.in}
	if t.to != "" {
		candidates = []*rate.Limiter{t.l.out, t.l.links[t.to], t.l.apps[t.app]}
	}
	most = stream.ChunkSize
	for _, c := range candidates {
		if c != nil {
			all, most = append(all, c), min(most, c.Burst())
		}
	}
	return all, most, t.l.changed
}

// most returns how many bytes may go at once.
func (t *throttle) most() int {
	_, most, _ := t.bounds()
	return most
}

// wait returns when n bytes may go. Its error is why ctx ended.
func (t *throttle) wait(ctx context.Context, n int) error {
	for n > 0 {
		all, most, changed := t.bounds()
		if len(all) == 0 {
			return nil
		}
		now := min(n, most)
		again, err := pass(ctx, all, now, changed)
		if err != nil {
			return err
		}
		if !again {
			n -= now
		}
	}
	return nil
}

// pass waits for n bytes at every limiter. It reports true, and nothing is taken, if the limits changed meanwhile.
func pass(ctx context.Context, all []*rate.Limiter, n int, changed <-chan struct{}) (again bool, err error) {
	now := time.Now()
	var longest time.Duration
	taken := make([]*rate.Reservation, 0, len(all))
	giveBack := func() {
		for _, r := range taken {
			r.Cancel()
		}
	}
	for _, l := range all {
		r := l.ReserveN(now, n)
		if !r.OK() { // a change has made its pieces smaller meanwhile
			giveBack()
			return true, nil
		}
		taken, longest = append(taken, r), max(longest, r.DelayFrom(now))
	}
	if longest == 0 {
		return false, nil
	}
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case <-timer.C:
		return false, nil
	case <-changed:
		giveBack()
		return true, nil
	case <-ctx.Done():
		giveBack()
		return false, context.Cause(ctx)
	}
}

// setLimits serves a request for other limits. It is fenced by the term as a step is.
func (a *Agent) setLimits(work context.Context, r *http.Request) (any, error) {
	var q limitsRequest
	if err := decode(r.Body, &q); err != nil {
		return nil, err
	}
	if err := checkLimits(q.Limits); err != nil {
		return nil, err
	}
	if err := a.admit(work, q.Term); err != nil {
		return nil, a.phrase(state.Step{Kind: "set limits"}, err)
	}
	if !q.Limits.Equal(a.limits.now()) {
		a.log.Info("limits change", "node", a.o.Hostname, "limits", q.Limits)
	}
	a.limits.change(q.Limits)
	return a.limits.now(), nil
}

func checkLimits(l state.Limits) error {
	least := l.Node
	for id, perSecond := range l.Links {
		if !nodeForm.MatchString(string(id)) {
			return errorf(CodeBadRequest, "bad node %.100q", id)
		}
		least = min(least, perSecond)
	}
	for _, perSecond := range l.Apps {
		least = min(least, perSecond)
	}
	if least < 0 {
		return errorf(CodeBadRequest, "a limit of %d bytes per second", least)
	}
	return nil
}
