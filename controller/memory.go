package controller

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/drover-project/drover/reconcile"
	"github.com/drover-project/drover/state"
)

// memory is what the controller has counted itself. All of it may be lost.
type memory struct {
	mu       sync.Mutex
	ready    map[state.AppID]readiness
	down     map[state.AppID]time.Time // when the app was stopped for a cutover
	attempts map[state.AppID]state.Attempts
}

type readiness struct {
	seen  time.Time     // when the app was last seen ready
	total time.Duration // without a break, and not yet saved as grace
}

func newMemory() *memory {
	return &memory{ready: map[state.AppID]readiness{}, down: map[state.AppID]time.Time{}, attempts: map[state.AppID]state.Attempts{}}
}

// look counts on from an observation: apps that were ready before and are ready now have been ready in between. Silence does
// not count.
func (m *memory) look(d *state.Desired, o *state.Observed, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ready := reconcile.AllReady(d, o, slices.Collect(maps.Keys(d.Apps)))
	for id := range d.Apps {
		r := m.ready[id]
		switch {
		case !ready[id]:
			delete(m.ready, id)
			continue
		case !r.seen.IsZero():
			r.total += now.Sub(r.seen)
		}
		r.seen = now
		m.ready[id] = r
	}
}

// fill adds what was counted to an observation.
func (m *memory) fill(o *state.Observed, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o.ReadyFor, o.DownFor = map[state.AppID]time.Duration{}, map[state.AppID]time.Duration{}
	for id, r := range m.ready {
		o.ReadyFor[id] = r.total
	}
	for id, t := range m.down {
		o.DownFor[id] = now.Sub(t)
	}
	o.Attempts = maps.Clone(m.attempts)
}

// saved starts the count of an app's ready time anew.
func (m *memory) saved(id state.AppID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.ready[id]
	r.total = 0
	m.ready[id] = r
}

// stopped notes when an app went down, once.
func (m *memory) stopped(id state.AppID, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.down[id]; !ok {
		m.down[id] = now
	}
}

// isDown reports whether the app was stopped here and is not back yet.
func (m *memory) isDown(id state.AppID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.down[id]
	return ok
}

// anyDown reports whether any app was stopped here and is not back yet.
func (m *memory) anyDown() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.down) > 0
}

// up ends an outage and returns how long it was; ok is false if there was none.
func (m *memory) up(id state.AppID, now time.Time) (outage time.Duration, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.down[id]
	delete(m.down, id)
	return now.Sub(t), ok
}

// missed counts a cutover that went back; moved forgets them.
func (m *memory) missed(id state.AppID, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.attempts[id]
	m.attempts[id] = state.Attempts{Missed: a.Missed + 1, Last: now}
}

func (m *memory) moved(id state.AppID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.attempts, id)
}
