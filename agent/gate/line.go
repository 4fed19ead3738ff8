package gate

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/drover-project/drover/state"
)

// errHoldOver is the end of a connection's time: nobody let it through.
var errHoldOver = errors.New("held as long as it may be")

// line keeps the connections of one endpoint that wait, in the order in which they came, and says whose turn it is. It knows
// no sockets. Who is at the head tries the backend for all: while it is refused, the others do not try.
type line struct {
	mu      sync.Mutex
	route   state.Route
	seq     uint64
	waiting []*place // by seq
}

// place is one connection's place in a line.
type place struct {
	seq    uint64
	until  time.Time // monotonic; nobody waits longer
	turn   chan struct{}
	failed bool // it was passed on once and did not get there
	waited bool // it was in the line
}

// enter gives a new connection its place. It does not wait yet.
func (l *line) enter(now time.Time) *place {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	return &place{seq: l.seq, until: now.Add(l.route.Hold), turn: make(chan struct{}, 1)}
}

// set puts a route in force; it decides about those that wait and those that come. Their time does not begin anew.
func (l *line) set(r state.Route) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.route = r
	l.wake()
}

// wait returns the backend when it is p's turn, or the cause of ctx. One that was let through from the line stays at its head
// until it leaves.
func (l *line) wait(ctx context.Context, p *place) (string, error) {
	for {
		if backend, ok := l.try(p); ok {
			return backend, nil
		}
		select {
		case <-p.turn:
		case <-ctx.Done():
			l.leave(p)
			return "", context.Cause(ctx)
		}
	}
}

func (l *line) try(p *place) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.failed || !l.open() || len(l.waiting) > 0 {
		l.join(p)
	}
	first := len(l.waiting) == 0 || l.waiting[0] == p
	return l.route.Backend, l.open() && first
}

// leave takes p out of the line, if it is there, and lets the next one try.
func (l *line) leave(p *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i, ok := l.find(p); ok {
		l.waiting = slices.Delete(l.waiting, i, i+1)
		l.wake()
	}
}

func (l *line) join(p *place) {
	p.waited = true
	if i, ok := l.find(p); !ok {
		l.waiting = slices.Insert(l.waiting, i, p)
	}
}

func (l *line) find(p *place) (int, bool) {
	return slices.BinarySearchFunc(l.waiting, p, func(a, b *place) int { return cmp.Compare(a.seq, b.seq) })
}

// wake tells the head to look again. Its channel holds one token, so none is lost while it is not looking.
func (l *line) wake() {
	if !l.open() || len(l.waiting) == 0 {
		return
	}
	select {
	case l.waiting[0].turn <- struct{}{}:
	default:
	}
}

func (l *line) open() bool { return l.route.Backend != "" && !l.route.Held }

// leads reports whether the route leads to backend still. While it is held without a backend, nothing else took its place.
func (l *line) leads(backend string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.route.Backend == backend || l.route.Backend == ""
}

func (l *line) length() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}
