package agent

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/drover-project/drover/agent/stream"
	"github.com/drover-project/drover/state"
)

// account is how far the stream of one dataset has come, and what it waits for.
type account struct {
	mu     sync.Mutex
	said   state.Stream // as it is told, but for what now works out
	total  int64        // as estimated
	kept   int64        // bytes of the legs that have arrived
	marked time.Time    // when the rate was last computed
	at     int64        // bytes then
	doing  activity
	since  time.Time // when that began
	spent  [activities]time.Duration
	full   float64 // how full the target's ring has been of late, 0 to 1
	pulse  stream.Pulse
	moved  time.Time // when something last moved at either end

	link *atomic.Int64 // counts what all streams to the same node have sent; nil if nobody counts
}

// activity is what the sending side of a stream does.
type activity int

const (
	reading  activity = iota // from zfs send
	writing                  // to the connection
	limited                  // waiting until a limit lets it go on
	answered                 // zfs send has ended; the target's answer is to come
	activities
)

func newAccount(s state.Step, path string) *account {
	now := time.Now()
	if path != "" {
		s.Bytes = 0 // it is about all datasets together
	}
	return &account{total: s.Bytes, marked: now, since: now, moved: now, said: state.Stream{
		Volume: s.Volume, Child: path, UUID: s.UUID, App: s.App, Move: s.Move, To: s.Peer, Snapshot: s.Snapshot, Started: now}}
}

// expect sets what a leg of the stream is estimated to carry, in bytes.
func (a *account) expect(total int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total = a.kept + total
}

// resumes says how many bytes of a leg the target has already.
func (a *account) resumes(n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.said.Resumed += n
}

// begin says that a leg of the stream begins, perhaps anew: what was sent of one that did not arrive does not count.
func (a *account) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.moved, a.pulse = time.Now(), stream.Pulse{}
	a.said.Bytes, a.at = a.kept, min(a.at, a.kept)
}

// arrived says that the target has the leg.
func (a *account) arrived() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept = a.said.Bytes
}

// enter says what the stream does from now on.
func (a *account) enter(what activity) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.book(time.Now())
	a.doing = what
}

// book adds the time since the last booking to what the stream does.
func (a *account) book(now time.Time) {
	a.spent[a.doing] += now.Sub(a.since)
	a.since = now
}

// ringIsFull reports that the target's pool is slower than what comes before it.
func (a *account) ringIsFull() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.full >= ringFull
}

// add counts bytes sent.
func (a *account) add(n int) {
	if n == 0 {
		return
	}
	if a.link != nil {
		a.link.Add(int64(n))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	a.said.Bytes += int64(n)
	a.moved = now
	a.conclude(now)
}

// told takes the target's pulse.
func (a *account) told(p stream.Pulse) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if p.Taken != a.pulse.Taken {
		a.moved = now
	}
	a.pulse = p
	if p.Size > 0 {
		a.full = (a.full + float64(p.Level)/float64(p.Size)) / 2
	}
	a.conclude(now)
}

// concludeEvery is over how long a rate and a bound are found out.
const concludeEvery = time.Second / 2

func (a *account) conclude(now time.Time) {
	since := now.Sub(a.marked)
	if since < concludeEvery {
		return
	}
	a.book(now)
	a.said.Rate = float64(a.said.Bytes-a.at) / since.Seconds()
	a.said.Bound = bound(a.full, a.spent)
	a.marked, a.at, a.spent = now, a.said.Bytes, [activities]time.Duration{}
}

// ringFull is how full a ring is, from 0 to 1, when its pool is the bound.
const ringFull = 0.5

// bound says what a stream waits for most. A ring that is half full of late fills faster than the pool takes from it. What
// empties it is slower than what fills it otherwise, and then it counts what the sender spent its time on.
func bound(full float64, spent [activities]time.Duration) state.Bound {
	switch {
	case full >= ringFull:
		return state.BoundTarget
	case spent[limited] > spent[reading]+spent[writing]:
		return state.BoundLimit
	case spent[reading] > spent[writing]:
		return state.BoundSource
	}
	return state.BoundNetwork
}

// quietFor is how long nothing must have moved for a stream to be called quiet.
const quietFor = 5 * time.Second

func (a *account) now() state.Stream {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.said
	s.Total, s.Waiting, s.Room = corrected(a.total, s.Bytes), a.pulse.Level, a.pulse.Size
	if now := time.Now(); now.Sub(a.moved) >= quietFor {
		s.Quiet, s.Rate = a.moved, 0
		if a.hangs() {
			s.Patience = stuckFor
		}
	}
	return s
}

// corrected returns what a stream is expected to carry in the end. zfs estimates a few percent off either way, and more if
// the pool compresses what it sends: a stream under way always has something left.
func corrected(estimate, sent int64) int64 {
	const least = 1 << 10
	if estimate == 0 && sent == 0 {
		return 0 // nothing is known yet
	}
	return max(estimate, sent+max(sent/64, least))
}
