package acceptance

import (
	"sync"
	"testing"
	"time"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/state"
)

// gate stops a controller once, right after a kind of step was done, until it is opened.
type gate struct {
	kind    state.StepKind
	once    sync.Once
	reached chan struct{}
	opened  chan struct{}
}

func newGate(after state.StepKind) *gate {
	return &gate{kind: after, reached: make(chan struct{}), opened: make(chan struct{})}
}

func (g *gate) event(e controller.Event) {
	if e.Kind == controller.EventDone && e.Step.Kind == g.kind {
		g.once.Do(func() { close(g.reached); <-g.opened })
	}
}

func (g *gate) wait(t *testing.T) {
	t.Helper()
	t.Cleanup(sync.OnceFunc(func() { // a test that gives up must not leave the controller standing
		select {
		case <-g.opened:
		default:
			close(g.opened)
		}
	}))
	select {
	case <-g.reached:
	case <-time.After(2 * time.Minute):
		t.Fatalf("never: %s is done", g.kind)
	}
}

func (g *gate) open() { close(g.opened) }
