package controller

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drover-project/drover/register"
	"github.com/drover-project/drover/state"
)

// sluggish is an agent that takes its time for an answer.
type sluggish struct {
	Agents
	takes time.Duration
	asked atomic.Int64
	left  atomic.Int64
}

func (s *sluggish) Node(ctx context.Context, _ string) (*state.Node, error) {
	s.asked.Add(1)
	select {
	case <-time.After(s.takes):
		return &state.Node{ID: "a", Hostname: "a", Source: state.Source{At: time.Now()}}, nil
	case <-ctx.Done():
		s.left.Add(1)
		return nil, context.Cause(ctx)
	}
}

// quietMarathon is a Marathon without apps.
type quietMarathon struct{ Marathon }

func (quietMarathon) Observe(context.Context) (state.Marathon, state.Mesos) {
	now := state.Source{At: time.Now()}
	return state.Marathon{Source: now}, state.Mesos{Source: now}
}

// An agent that takes longer than a look waits for it is silent in that look and seen in a later one, as of when it was asked. It is not
// asked again meanwhile: on a busy node each question would only make the others slower, and none would ever be answered.
func TestSlowAgentsAreHeardInTheEnd(t *testing.T) {
	for takes, looks := range map[time.Duration]int{5 * time.Second: 1, 25 * time.Second: 3, 95 * time.Second: 10} {
		reg, err := register.OpenFile(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			slow := &sluggish{takes: takes}
			c := &Cluster{Marathon: quietMarathon{}, Agents: slow, Register: register.New(reg), Addresses: map[state.Hostname]string{"a": "a:1"},
				Log: slog.New(slog.DiscardHandler)}
			if err := c.Register.PutMember(t.Context(), state.Member{ID: "a", Hostname: "a", Address: "a:1"}); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			for k := 1; ; k++ {
				n := c.Observe(t.Context(), false).Nodes["a"]
				if !n.Answered() && k < looks {
					if want := "has not answered yet"; !strings.Contains(n.Err, want) {
						t.Errorf("look %d says %q, without %q", k, n.Err, want)
					}
					continue
				}
				if !n.Answered() || k != looks || !n.At.Equal(began) || slow.asked.Load() != 1 {
					t.Errorf("%s: seen %t in look %d, want %d; as of %s after it was asked; asked %d times", takes, n.Answered(), k, looks, n.At.Sub(began), slow.asked.Load())
				}
				break
			}
			c.questions.running.Wait()
		})
	}
}

// A late answer counts in the next look only if that comes soon, and a question ends with who has asked.
func TestLateAnswersGrowOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		slow := &sluggish{takes: 20 * time.Second}
		c := &Cluster{Agents: slow}
		if a := c.ask(ctx, "a:1"); a.err == nil {
			t.Error("it answered at once")
		}
		time.Sleep(10*time.Second + lateFor) // of the bubble's clock
		if a := c.ask(ctx, "a:1"); a.err == nil || slow.asked.Load() != 2 {
			t.Errorf("%v after it was asked %d times", a.err, slow.asked.Load())
		}
		cancel()
		c.questions.running.Wait()
		if slow.left.Load() != 1 {
			t.Errorf("%d questions ended", slow.left.Load())
		}
	})
}
