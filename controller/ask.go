package controller

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/drover-project/drover/state"
)

const (
	// askTimeout is how long one look waits for one agent. An agent that is slower counts as silent in this look.
	askTimeout = 10 * time.Second
	// answerTimeout is how long an agent may take for an answer at all. A pool with many snapshots that is busy or cold takes
	// minutes; asked anew at each look it would never come to an end.
	answerTimeout = 5 * time.Minute
	// lateFor is how long an answer that came after its look counts in the next.
	lateFor = time.Minute
)

// questions are those to agents that are under way, or were answered after the look that had asked. An agent is asked one at a
// time.
type questions struct {
	mu      sync.Mutex
	open    map[string]*question // by address
	running sync.WaitGroup
}

// question is one to one agent.
type question struct {
	asked    time.Time
	done     chan struct{} // closed when it is answered
	answered time.Time
	node     *state.Node
	err      error
}

// ask asks an agent, or joins the question that is under way. It returns within askTimeout, and what it returns was true when it
// was asked or later.
func (c *Cluster) ask(ctx context.Context, addr string) answer {
	q := c.questions.begin(ctx, addr, c.Agents.Node)
	wait := time.NewTimer(askTimeout)
	defer wait.Stop()
	select {
	case <-q.done:
		c.questions.end(addr, q)
		return answer{address: addr, asked: q.asked, node: q.node, err: q.err}
	case <-wait.C:
		return answer{address: addr, asked: q.asked, err: fmt.Errorf("it was asked %s ago and has not answered yet; its pool or the node itself is slow", time.Since(q.asked).Round(time.Second))}
	case <-ctx.Done():
		return answer{address: addr, asked: q.asked, err: context.Cause(ctx)}
	}
}

// begin returns the question that an agent has not answered yet, or whose answer came late; else it asks anew. It ends with ctx.
func (qs *questions) begin(ctx context.Context, addr string, do func(context.Context, string) (*state.Node, error)) *question {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	if q := qs.open[addr]; q != nil && q.counts() {
		return q
	}
	q := &question{asked: time.Now(), done: make(chan struct{})}
	if qs.open == nil {
		qs.open = map[string]*question{}
	}
	qs.open[addr] = q
	qs.running.Go(func() {
		defer close(q.done)
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		q.node, q.err = do(ctx, addr)
		q.answered = time.Now()
	})
	return q
}

// counts reports whether a question may be joined: it is under way, or was answered not long ago.
func (q *question) counts() bool {
	select {
	case <-q.done:
		return q.err == nil && time.Since(q.answered) < lateFor
	default:
		return true
	}
}

// end forgets a question whose answer was heard.
func (qs *questions) end(addr string, q *question) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	if qs.open[addr] == q {
		delete(qs.open, addr)
	}
}
