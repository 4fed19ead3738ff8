package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/drover-project/drover/marathon"
	"github.com/drover-project/drover/register"
	"github.com/drover-project/drover/state"
)

// Options is what a controller needs.
type Options struct {
	Cluster *Cluster
	Name    string        // who leads, for people: host and process
	Every   time.Duration // how often everything is re-read though nothing seems to have changed; 0 for 30 s
	OnEvent func(Event)   // called for what happens, one call at a time; may be nil
	Log     *slog.Logger
}

// Controller leads a cluster to what its manifests want.
type Controller struct {
	o   Options
	mem *memory
}

// New returns a controller that does nothing yet.
func New(o Options) *Controller {
	if o.Every == 0 {
		o.Every = 30 * time.Second
	}
	if o.OnEvent == nil {
		o.OnEvent = func(Event) {}
	}
	return &Controller{o: o, mem: newMemory(o.Every)}
}

// ErrLeadershipLost says that another controller leads now.
var ErrLeadershipLost = errors.New("another controller leads now")

// Run waits to lead, then keeps the cluster as the manifests at paths say until ctx ends or the leadership is lost. The
// manifests are watched; a set that is not valid is refused whole and the last good one stays in force.
func (c *Controller) Run(ctx context.Context, paths []string) error {
	manifests, err := watch(ctx, paths, c.o.Log)
	if err != nil {
		return err
	}
	defer manifests.close()
	return c.lead(ctx, func(ctx context.Context, l *loop) error {
		hints := make(chan struct{}, 1)
		events, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.hear(events, hints)
		}()
		defer func() { stop(); <-done }()
		return l.follow(ctx, manifests, hints)
	})
}

// hear turns Marathon's events into hints to look again. Without events everything is still re-read now and then.
func (c *Controller) hear(ctx context.Context, hints chan<- struct{}) {
	w, ok := c.o.Cluster.Marathon.(interface {
		Watch(ctx context.Context, onEvent func(marathon.Event), types ...string) error
	})
	if !ok {
		return
	}
	err := w.Watch(ctx, func(marathon.Event) { poke(hints) })
	if ctx.Err() == nil {
		c.o.Log.WarnContext(ctx, "no events from Marathon", "err", err)
	}
}

func poke(hints chan<- struct{}) {
	select {
	case hints <- struct{}{}:
	default:
	}
}

// Apply waits to lead, brings the cluster to d once and returns when it has: nil if every app is as wanted, else an error that
// says which are not. What only waits for a grace counts as done.
func (c *Controller) Apply(ctx context.Context, d *state.Desired) error {
	return c.lead(ctx, func(ctx context.Context, l *loop) error { return l.converge(ctx, d) })
}

// lead campaigns and runs f as the leader. f's context ends when the leadership does.
func (c *Controller) lead(ctx context.Context, f func(context.Context, *loop) error) error {
	if holder, term, ok, err := c.o.Cluster.Register.Leader(ctx); err == nil && ok {
		c.o.Log.InfoContext(ctx, "waiting to lead", "leader", holder, "term", term)
		c.o.OnEvent(Event{Kind: EventWaiting, Text: fmt.Sprintf("%s leads (term %d); waiting until it stops", holder, term)})
	}
	leadership, err := c.o.Cluster.Register.Campaign(ctx, c.o.Name)
	if err != nil {
		return fmt.Errorf("campaign to lead: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-leadership.Lost():
			cancel(ErrLeadershipLost)
		case <-ctx.Done():
		}
	}()
	c.o.Log.InfoContext(ctx, "leading", "term", leadership.Term())
	err = f(ctx, newLoop(c, leadership.Term(), cancel))
	cancel(nil)
	<-watched
	c.o.Cluster.questions.running.Wait()
	if rerr := leadership.Resign(); rerr != nil && !errors.Is(rerr, register.ErrNotFound) {
		c.o.Log.WarnContext(ctx, "leadership was not resigned", "err", rerr)
	}
	return err
}
