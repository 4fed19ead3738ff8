package agent

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"testing"

	"github.com/drover-project/drover/state"
)

// commands counts the commands that agents start, passing everything on.
type commands struct {
	slog.Handler
	*tally
}

type tally struct {
	mu sync.Mutex
	n  int
}

func (c commands) Enabled(context.Context, slog.Level) bool { return true }

func (c commands) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "zfs command" || r.Message == "zfs stream begins" {
		c.mu.Lock()
		c.n++
		c.mu.Unlock()
	}
	return c.Handler.Handle(ctx, r)
}

// WithAttrs keeps the counting.
func (c commands) WithAttrs(a []slog.Attr) slog.Handler {
	return commands{c.Handler.WithAttrs(a), c.tally}
}

// count has a node's commands counted from now on.
func (n *node) count(c *tally) {
	n.options.Log = slog.New(commands{n.options.Log.Handler(), c})
	n.restart()
}

func (c *tally) take() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.n
	c.n = 0
	return n
}

// Each command costs some milliseconds of the outage, the more so on a busy node. Who adds one finds it here, and weighs it.
func TestCommandsOfACutover(t *testing.T) {
	h := pair(t)
	h.replicate()
	h.from.write(h.v, "first", "more")
	h.catchUp(1)
	counted := &tally{}
	h.from.count(counted)
	h.to.count(counted)
	h.from.copy(h.v) // a restarted agent has to find it again
	h.to.copy(h.v)
	h.to.do(h.to.step(state.SetRoutes, volume{}, "", "")) // the first step of a term has it recorded
	got := map[state.StepKind]int{}
	for _, s := range []struct {
		at   *node
		step func() state.Step
	}{{h.from, h.fenceStep}, {h.from, h.lastStep}, {h.from, h.releaseStep}, {h.to, h.promoteStep}, {h.from, h.retireStep}} {
		step := s.step()
		counted.take()
		s.at.do(step)
		if step.Kind == state.Fence {
			h.awaitLine()
		}
		got[step.Kind] = counted.take()
	}
	want := map[state.StepKind]int{ // those in brackets run side by side
		state.Fence:         9, // (get, list); set; (snapshot, unmount); list; meanwhile the target's line: (get, list); receive
		state.LastIncrement: 5, // (hold, sync, send); at the target (get, list)
		state.ReleaseVolume: 3, // (get, list); set
		state.Promote:       7, // (sync; (get, list), the root); set; (mount, hold)
		state.Retire:        3, // (get, list); set
	}
	if !maps.Equal(got, want) {
		t.Errorf("commands %v, want %v", got, want)
	}
}

// A release rests on a sync since the fence: that of the last increment if it was this fence's, else one of its own.
func TestReleaseSyncsUnlessTheLastIncrementDid(t *testing.T) {
	for name, c := range map[string]struct {
		between func(handover)
		want    int
	}{
		"at once":                   {func(handover) {}, 3},
		"after the agent restarted": {func(h handover) { h.from.restart(); h.from.copy(h.v) }, 4},
		"a second time": {func(h handover) {
			h.from.do(h.releaseStep())
			h.from.do(h.backStep(state.Released, "0.3", h.to.do(h.swearStep()).Refused))
		}, 3}, // sync, and a refusal before any set
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := upToFence(t)
			counted := &tally{}
			h.from.count(counted)
			h.from.do(h.lastStep())
			release := h.releaseStep()
			c.between(h)
			counted.take()
			_, err := h.from.try(release)
			if got := counted.take(); got != c.want {
				t.Errorf("%d commands (%v), want %d", got, err, c.want)
			}
		})
	}
}
