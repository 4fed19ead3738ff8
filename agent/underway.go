package agent

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/drover-project/drover/agent/stream"
	"github.com/drover-project/drover/state"
)

// underway knows the streams that run in this process.
type underway struct {
	mu      sync.Mutex
	out     map[state.UUID]*outgoing
	in      map[*receiver]*stream.Ring // the ring is nil before the data comes
	idle    map[state.UUID]*waiting
	life    time.Duration // of an idle line; 0 for lineLife
	running sync.WaitGroup
}

// outgoing is a stream that this node sends. It belongs to nobody: who asks for the same one joins it.
type outgoing struct {
	step   state.Step
	done   chan struct{}
	result Result // valid when done is closed
	err    error

	mu    sync.Mutex
	parts []*account // of the datasets that are on their way now
}

// depart says that a dataset of the stream is on its way, until the returned function is called.
func (o *outgoing) depart(path string) (*account, func()) {
	a := newAccount(o.step, path)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.parts = append(o.parts, a)
	return a, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.parts = slices.DeleteFunc(o.parts, func(p *account) bool { return p == a })
	}
}

// now returns how far the datasets are that are on their way.
func (o *outgoing) now() []state.Stream {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []state.Stream
	for _, a := range o.parts {
		all = append(all, a.now())
	}
	return all
}

// begin returns the stream of a step and whether it runs already. A stream of another kind for the same volume is ErrBusy.
func (u *underway) begin(s state.Step) (o *outgoing, runs bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if o := u.out[s.UUID]; o != nil {
		if !sameStream(o.step, s) {
			return nil, false, errorf(CodeBusy, "%s of snapshot %s to node %s is under way; ask again", o.step.Kind, o.step.Snapshot, o.step.Peer)
		}
		return o, true, nil
	}
	if u.out == nil {
		u.out = map[state.UUID]*outgoing{}
	}
	o = &outgoing{step: s, done: make(chan struct{})}
	u.out[s.UUID] = o
	u.running.Add(1)
	return o, false, nil
}

// sameStream reports whether two steps lead to the same snapshot on the same node. What has arrived by the time of the
// second one decides whether it is called replicate, resume or catch-up.
func sameStream(a, b state.Step) bool {
	return a.Peer == b.Peer && a.Snapshot == b.Snapshot && a.Expect == b.Expect &&
		(a.Kind == state.LastIncrement) == (b.Kind == state.LastIncrement)
}

// end publishes a stream's outcome.
func (u *underway) end(o *outgoing, r Result, err error) {
	u.mu.Lock()
	delete(u.out, o.step.UUID)
	u.mu.Unlock()
	o.result, o.err = r, err
	close(o.done)
	u.running.Done()
}

// await returns a stream's outcome, or ErrUnknown when who asks goes away; the stream goes on.
func (o *outgoing) await(ctx context.Context) (Result, error) {
	select {
	case <-o.done:
		return o.result, o.err
	case <-ctx.Done():
		return Result{}, errorf(CodeUnknown, "nobody waits any more; the stream goes on: %w", context.Cause(ctx))
	}
}

// streams returns what this node is sending, by volume and path.
func (u *underway) streams() []state.Stream {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all []state.Stream
	for _, o := range u.out {
		all = append(all, o.now()...)
	}
	slices.SortFunc(all, func(a, b state.Stream) int { return strings.Compare(a.Name(), b.Name()) })
	return all
}

// receive notes a receive, until the returned function is called.
func (u *underway) receive(v *receiver) func() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.in == nil {
		u.in = map[*receiver]*stream.Ring{}
	}
	u.in[v] = v.ring
	u.running.Add(1)
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.in, v)
		u.running.Done()
	}
}

// flows notes that a receive that is noted has a ring now.
func (u *underway) flows(v *receiver) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.in[v]; ok {
		u.in[v] = v.ring
	}
}

func (u *underway) receiving(uuid state.UUID) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for v := range u.in {
		if v.q.UUID == uuid {
			return true
		}
	}
	return false
}

// toCome returns how many bytes the receives, but for one, are yet to bring to the pool.
func (u *underway) toCome(but *receiver) (bytes int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for v, ring := range u.in {
		switch {
		case v == but:
		case ring == nil:
			bytes += v.q.Bytes
		default:
			bytes += max(v.q.Bytes-ring.Pulse().Taken, 0)
		}
	}
	return bytes
}

// wait waits until nothing runs.
func (u *underway) wait() { u.running.Wait() }
