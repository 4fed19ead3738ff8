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
	gap time.Duration // the longest time between two looks that counts

	mu       sync.Mutex
	ready    map[state.AppID]readiness
	down     map[state.AppID]time.Time // when the app was stopped for a cutover
	attempts map[state.AppID]state.Attempts
}

type readiness struct {
	seen  time.Time     // when the app was last seen ready
	at    place         // where that was
	total time.Duration // without a break, and not yet saved as grace
}

// place is one stay of an app's data on a node: no copy is primary twice at one epoch.
type place struct {
	node  state.NodeID
	epoch state.Epoch
}

// unseen is the longest time between two looks that still counts as seen. Whoever did not look for longer, because a source was
// silent or the machine slept, knows nothing of it.
func unseen(every time.Duration) time.Duration { return every + time.Minute }

func newMemory(every time.Duration) *memory {
	return &memory{gap: unseen(every), ready: map[state.AppID]readiness{}, down: map[state.AppID]time.Time{}, attempts: map[state.AppID]state.Attempts{}}
}

// look counts on from an observation: apps that were ready before and are ready now, with their data where it was, have been
// ready in between. Silence does not count, nor what was before a move.
func (m *memory) look(d *state.Desired, o *state.Observed, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ready := reconcile.AllReady(d, o, slices.Collect(maps.Keys(d.Apps)))
	primaries := primaryPlaces(o)
	for id, app := range d.Apps {
		if !ready[id] {
			delete(m.ready, id)
			continue
		}
		r := readiness{seen: now}
		if len(app.Volumes) > 0 {
			r.at = primaries[app.Volumes[0].Volume]
		}
		if was, counted := m.ready[id]; counted && was.at == r.at {
			r.total = was.total
			if gap := now.Sub(was.seen); gap <= m.gap {
				r.total += gap
			}
		}
		m.ready[id] = r
	}
}

// primaryPlaces are where the volumes are primary: the copy at the highest epoch, as the rules have it.
func primaryPlaces(o *state.Observed) map[state.VolumeName]place {
	out := map[state.VolumeName]place{}
	for id, n := range o.Nodes {
		for i := range n.Copies {
			c := &n.Copies[i]
			if c.Role == state.Primary && out[c.Volume].epoch.Less(c.Epoch) {
				out[c.Volume] = place{id, c.Epoch}
			}
		}
	}
	return out
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
	if r, ok := m.ready[id]; ok {
		r.total = 0
		m.ready[id] = r
	}
}

// stopped notes when an app went down, once.
func (m *memory) stopped(id state.AppID, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.ready, id)
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
	m.attempts[id] = state.Attempts{Missed: a.Missed + 1, Last: now, Users: a.Users}
}

// lingering notes who still uses a volume of an app that is given back, before its own processes are there again.
func (m *memory) lingering(id state.AppID, users []state.User) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.attempts[id]
	a.Users = users
	m.attempts[id] = a
}

func (m *memory) moved(id state.AppID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.attempts, id)
}
