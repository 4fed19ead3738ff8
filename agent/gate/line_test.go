package gate

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drover-project/drover/state"
)

var (
	held = state.Route{Backend: "b:1", Held: true, Hold: 5 * time.Second}
	free = state.Route{Backend: "b:1", Hold: 5 * time.Second}
	none = state.Route{Hold: 5 * time.Second}
)

// client waits in l as a connection does, and says how that ended and when.
type client struct {
	place   *place
	backend string
	err     error
	after   time.Duration
}

func (c *client) run(l *line) {
	start := time.Now()
	ctx, cancel := context.WithDeadlineCause(context.Background(), c.place.until, errHoldOver)
	defer cancel()
	c.backend, c.err = l.wait(ctx, c.place)
	c.after = time.Since(start)
}

func queue(l *line, n int, wg *sync.WaitGroup) []*client {
	cs := make([]*client, n)
	for i := range cs {
		cs[i] = &client{place: l.enter(time.Now())}
		wg.Go(func() { cs[i].run(l) })
	}
	return cs
}

func TestHoldEndsByItsOwnClock(t *testing.T) {
	for name, route := range map[string]state.Route{"held": held, "no backend": none} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var wg sync.WaitGroup
				l := &line{}
				l.set(route)
				early := queue(l, 1, &wg)
				time.Sleep(3 * time.Second)
				l.set(route) // the controller repeats itself: nobody's time begins anew
				late := queue(l, 1, &wg)
				wg.Wait()
				for _, c := range append(early, late...) {
					if !errors.Is(c.err, errHoldOver) || c.after != route.Hold {
						t.Errorf("ended after %s with %v; want %s and errHoldOver", c.after, c.err, route.Hold)
					}
				}
				if l.length() != 0 {
					t.Errorf("%d left in the line", l.length())
				}
			})
		})
	}
}

func TestLineReleasesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		l := &line{}
		l.set(held)
		var order []uint64
		for range 100 {
			p := l.enter(time.Now())
			wg.Go(func() {
				if _, err := l.wait(t.Context(), p); err != nil {
					t.Error(err)
				}
				order = append(order, p.seq) // one at a time: the next waits until this one leaves
				l.leave(p)
			})
		}
		synctest.Wait()
		if len(order) > 0 {
			t.Fatalf("%d got through while held", len(order))
		}
		l.set(free)
		wg.Wait()
		if len(order) != 100 || !slices.IsSorted(order) {
			t.Errorf("order %v", order)
		}
	})
}

func TestNewcomersWaitBehindTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		l := &line{}
		l.set(held)
		first := queue(l, 1, &wg)[0]
		synctest.Wait()
		l.set(free)
		synctest.Wait() // first is let through, connects, and has not left
		second := queue(l, 1, &wg)[0]
		synctest.Wait()
		if first.backend != "b:1" || second.backend != "" {
			t.Errorf("first to %q, second to %q; want only the first let through", first.backend, second.backend)
		}
		l.leave(first.place)
		wg.Wait()
		if second.backend != "b:1" || second.err != nil {
			t.Errorf("second: %q, %v", second.backend, second.err)
		}
	})
}

func TestRefusedTakesItsPlaceAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		l := &line{}
		l.set(free)
		first, second := queue(l, 1, &wg)[0], queue(l, 1, &wg)[0]
		wg.Wait() // both were let through at once
		second.place.failed = true
		wg.Go(func() { second.run(l) })
		synctest.Wait()
		first.place.failed, first.backend = true, ""
		wg.Go(func() { first.run(l) })
		synctest.Wait()
		if first.backend != "b:1" {
			t.Error("the first is not let through before the second")
		}
		third := queue(l, 1, &wg)[0]
		synctest.Wait()
		if third.backend != "" {
			t.Error("a newcomer tries a backend that refuses the others")
		}
		l.leave(first.place)
		l.leave(second.place)
		wg.Wait()
	})
}
