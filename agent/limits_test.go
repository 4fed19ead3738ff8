package agent

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drover-project/drover/certs"
	"github.com/drover-project/drover/state"
)

const mib = 1 << 20

// flow lets a stream run as fast as its throttle allows until ctx ends, and counts its bytes.
func flow(ctx context.Context, th *throttle) *atomic.Int64 {
	var sent atomic.Int64
	go func() {
		for {
			n := th.most()
			if th.wait(ctx, n) != nil || ctx.Err() != nil {
				return
			}
			sent.Add(int64(n))
			if all, _, _ := th.bounds(); len(all) == 0 {
				time.Sleep(time.Millisecond) // a link has an end, too
			}
		}
	}()
	return &sent
}

// about fails unless got is want, up to a burst of a fiftieth of a second or so.
func about(t *testing.T, what string, got, want int64) {
	t.Helper()
	if got < want*95/100 || got > want*103/100 {
		t.Errorf("%s: %d bytes, want about %d", what, got, want)
	}
}

func TestLimitsAreShared(t *testing.T) {
	set := state.Limits{Node: 100 * mib, Links: map[state.NodeID]int64{"b": 10 * mib}, Apps: map[state.AppID]int64{"/slow": 2 * mib}}
	for name, c := range map[string]struct {
		streams []func(*limits) *throttle
		want    []int64 // MiB/s
	}{
		"one over a link":          {[]func(*limits) *throttle{to("/a", "b")}, []int64{10}},
		"two over a link":          {[]func(*limits) *throttle{to("/a", "b"), to("/c", "b")}, []int64{5, 5}},
		"an app over two links":    {[]func(*limits) *throttle{to("/slow", "b"), to("/slow", "c")}, []int64{1, 1}},
		"what another node allows": {[]func(*limits) *throttle{to("/a", "c")}, []int64{100}},
		"in and out are apart":     {[]func(*limits) *throttle{to("/a", "c"), (*limits).receiving}, []int64{100, 100}},
		"two arrive":               {[]func(*limits) *throttle{(*limits).receiving, (*limits).receiving}, []int64{50, 50}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLimits()
				l.change(set)
				ctx, end := context.WithTimeout(t.Context(), 10*time.Second)
				defer end()
				var sent []*atomic.Int64
				for _, s := range c.streams {
					sent = append(sent, flow(ctx, s(l)))
				}
				<-ctx.Done()
				synctest.Wait()
				for i, want := range c.want {
					about(t, name, sent[i].Load(), 10*want*mib)
				}
			})
		})
	}
}

func to(app state.AppID, node state.NodeID) func(*limits) *throttle {
	return func(l *limits) *throttle { return l.sending(app, node) }
}

// No tenth of a second takes more than its share and a piece: others on the link notice no bursts.
func TestLimitsAreSmooth(t *testing.T) {
	for _, perSecond := range []int64{64 << 10, mib, 100 * mib} {
		synctest.Test(t, func(t *testing.T) {
			l := newLimits()
			l.change(state.Limits{Node: perSecond})
			ctx, end := context.WithTimeout(t.Context(), 3*time.Second)
			defer end()
			sent, before := flow(ctx, l.sending("/a", "b")), int64(0)
			for range 29 {
				time.Sleep(time.Second / 10)
				synctest.Wait()
				now := sent.Load()
				if got, most := now-before, perSecond/10+2*int64(piece(perSecond)); got > most || got < perSecond/10-2*int64(piece(perSecond)) {
					t.Errorf("at %d bytes/s: %d in a tenth of a second, want at most %d", perSecond, got, most)
				}
				before = now
			}
		})
	}
}

// A change reaches a stream that waits under the old limit, however long that would be.
func TestLimitsChangeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits()
		ctx, end := context.WithCancel(t.Context())
		defer end()
		sent := flow(ctx, l.sending("/a", "b"))
		during := func(set state.Limits, d time.Duration) int64 {
			l.change(set)
			synctest.Wait()
			before := sent.Load()
			time.Sleep(d)
			synctest.Wait()
			return sent.Load() - before
		}
		about(t, "one byte a second", during(state.Limits{Node: 1}, 2*time.Second)+100, 100)
		about(t, "lifted to 8 MiB/s", during(state.Limits{Node: 8 * mib}, 10*time.Second), 80*mib)
		about(t, "tightened by a link", during(state.Limits{Node: 8 * mib, Links: map[state.NodeID]int64{"b": mib}}, 10*time.Second), 10*mib)
		about(t, "of another app", during(state.Limits{Apps: map[state.AppID]int64{"/b": 1}}, time.Second), 1000*512<<10)
		end()
		time.Sleep(time.Second) // of the bubble's clock: flow ends
	})
}

func TestLimitedWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits()
		l.change(state.Limits{Node: 1})
		why := errors.New("the receiver is gone")
		ctx, end := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { end(why) })
		if err := l.receiving().wait(ctx, 4096); !errors.Is(err, why) {
			t.Errorf("got %v", err)
		}
	})
}

func TestSetLimits(t *testing.T) {
	b := newBench(t)
	n := b.node("node1")
	want := state.Limits{Node: 5, Links: map[state.NodeID]int64{"0b": 6}, Apps: map[state.AppID]int64{"/todo/db": 7}}
	if err := n.client.SetLimits(t.Context(), n.addr(), 3, want); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		term   state.Term
		limits state.Limits
		client *Client
		kind   error
	}{
		"an earlier leader": {2, state.Limits{}, n.client, ErrStaleTerm},
		"below nothing":     {3, state.Limits{Apps: map[state.AppID]int64{"/a": -1}}, n.client, ErrBadRequest},
		"a hostile node":    {3, state.Limits{Links: map[state.NodeID]int64{"../x": 1}}, n.client, ErrBadRequest},
		"another agent":     {3, state.Limits{}, b.clientOf(certs.Agent), ErrForbidden},
	} {
		if err := c.client.SetLimits(t.Context(), n.addr(), c.term, c.limits); !isKind(err, c.kind) {
			t.Errorf("%s: %v, want %v", name, err, c.kind)
		}
	}
	seen, err := n.client.Node(t.Context(), n.addr())
	if err != nil || !seen.Limits.Equal(want) || seen.Term != 3 {
		t.Errorf("%+v, %v", seen, err)
	}
}

// A limit slows a stream that runs, and lifting it lets the stream go on.
func TestLimitOfARunningStream(t *testing.T) {
	h := pair(t)
	limit := func(l state.Limits) {
		if err := h.from.client.SetLimits(t.Context(), h.from.addr(), 1, l); err != nil {
			t.Fatal(err)
		}
	}
	limit(state.Limits{Links: map[state.NodeID]int64{h.to.id(): 50 << 10}})
	done := make(chan error, 1)
	go func() {
		_, err := h.from.try(h.replicateStep())
		done <- err
	}()
	until(t, "the limit is the bound", func() bool { s := h.from.streams(); return len(s) == 1 && s[0].Bound == state.BoundLimit })
	limit(state.Limits{})
	if err := <-done; err != nil {
		t.Error(err)
	}
}
