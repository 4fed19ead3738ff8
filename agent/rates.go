package agent

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drover-project/drover/state"
)

// enoughToMeasure is the size from which a stream's rate says something, in bytes: below it the fixed costs are measured.
const enoughToMeasure = 4 << 20

// rates keeps the rate last measured to each node, in a file: predictions start from it. A file that is lost or cannot be
// read only makes the first prediction worse.
type rates struct {
	mu   sync.Mutex
	file string
	log  *slog.Logger
	last map[state.NodeID]float64 // bytes/s
	sent map[state.NodeID]*atomic.Int64
}

func newRates(file string, log *slog.Logger) *rates {
	r := &rates{file: file, log: log, last: map[state.NodeID]float64{}}
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &r.last)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("measured rates are lost", "err", err)
	}
	if r.last == nil {
		r.last = map[state.NodeID]float64{}
	}
	return r
}

// link returns the count of bytes that all streams to a node have sent: what one of them does alone says little while others go beside it.
func (r *rates) link(to state.NodeID) *atomic.Int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sent == nil {
		r.sent = map[state.NodeID]*atomic.Int64{}
	}
	if r.sent[to] == nil {
		r.sent[to] = &atomic.Int64{}
	}
	return r.sent[to]
}

// all returns a copy of what was measured.
func (r *rates) all() map[state.NodeID]float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.last)
}

// measured records that n bytes went to a node.
func (r *rates) measured(to state.NodeID, n int64, took time.Duration) {
	if n < enoughToMeasure || took <= 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last[to] = float64(n) / took.Seconds()
	if err := r.save(); err != nil {
		r.log.Warn("measured rates are not saved", "err", err)
	}
}

func (r *rates) save() error {
	b, err := json.Marshal(r.last)
	if err != nil {
		return err
	}
	if err := os.WriteFile(r.file+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(r.file+".new", r.file)
}
