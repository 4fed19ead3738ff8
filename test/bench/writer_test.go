package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/drover-project/drover/lab/todo"
)

// writer adds to-dos one after the other without end, each until it is acknowledged. What it sees is the outage.
type writer struct {
	r    *rig
	list *todo.Client
	stop context.CancelFunc
	done chan struct{}

	mu   sync.Mutex
	acks []ack
	sent []todo.Entry
}

// ack is one acknowledgement.
type ack struct {
	at   time.Time
	node string
}

// pace is the pause between an acknowledgement and the next to-do, and between two attempts: with what precision an outage is measured.
const pace = 2 * time.Millisecond

// write starts a writer of the database at an address. It ends with the benchmark, and then everything that was acknowledged
// must be there.
func (r *rig) writeTo(addr, name string) *writer {
	ctx, stop := context.WithCancel(context.Background())
	w := &writer{r: r, list: todo.NewClient("http://"+addr, 0, 30*time.Second), stop: stop, done: make(chan struct{})}
	go w.run(ctx, name)
	r.b.Cleanup(w.end)
	w.another()
	return w
}

func (w *writer) run(ctx context.Context, name string) {
	defer close(w.done)
	for n := 1; ctx.Err() == nil; n++ {
		t := todo.Todo{ID: fmt.Sprintf("%s-%d", name, n), Title: fmt.Sprintf("no. %d of %s", n, name)}
		for ctx.Err() == nil {
			_, a, err := w.list.Add(ctx, t)
			if err == nil {
				w.acknowledged(t, a.Node)
				break
			}
			rest(ctx)
		}
		rest(ctx)
	}
}

func rest(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(pace):
	}
}

func (w *writer) acknowledged(t todo.Todo, node string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.acks = append(w.acks, ack{now, node})
	w.sent = append(w.sent, todo.Entry{ID: t.ID, Title: t.Title, At: now})
}

func (w *writer) seen() []ack {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.acks)
}

// another waits for one more acknowledgement.
func (w *writer) another() {
	w.r.b.Helper()
	before := len(w.seen())
	w.r.await("one more acknowledged write", func() bool { return len(w.seen()) > before }, func() string { return fmt.Sprint(before) })
}

// during does f and returns the acknowledgements from the last before it to one after it.
func (w *writer) during(f func()) []ack {
	w.r.b.Helper()
	begin := len(w.seen()) - 1
	f()
	w.another()
	return w.seen()[begin:]
}

// longestGap is the longest time without an acknowledgement.
func longestGap(acks []ack) (gap time.Duration) {
	for i := 1; i < len(acks); i++ {
		gap = max(gap, acks[i].at.Sub(acks[i-1].at))
	}
	return gap
}

// outage is the time from the last acknowledgement on one node to the first on the other; 0 unless there is just one such change.
func outage(acks []ack, from, to string) (gap time.Duration) {
	for i := 1; i < len(acks); i++ {
		switch a, b := acks[i-1], acks[i]; {
		case a.node == b.node:
		case a.node == from && b.node == to && gap == 0:
			gap = b.at.Sub(a.at)
		default:
			return 0
		}
	}
	return gap
}

// end stops the writer and compares what was acknowledged with what is there.
func (w *writer) end() {
	w.stop()
	<-w.done
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	there, _, err := w.list.List(ctx, todo.Query{})
	if err != nil {
		w.r.b.Errorf("read the list: %v", err)
		return
	}
	if lost := todo.Compare(w.sent, there); len(lost) > 0 {
		w.r.b.Errorf("%d of %d acknowledged to-dos are missing, the first is %+v", len(lost), len(w.sent), lost[0])
	}
}
