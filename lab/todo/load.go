package todo

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Load is a writer that never stops: it adds numbered to-dos one after the other, each until it is
// acknowledged, and notes when that was.
type Load struct {
	// List is where to add. Its patience should be 0: Load asks again by itself, and counts.
	List *Client
	// Ledger, unless nil, gets every acknowledged to-do.
	Ledger *Ledger
	// Count and For end the load; 0 means no end.
	Count int
	For   time.Duration
	// Pause is left between an acknowledgement and the next to-do.
	Pause time.Duration
	// Run names this load in ids and titles, so that two loads never add the same to-do.
	Run string
}

// Report is what a load measured.
type Report struct {
	Acknowledged int `json:"acknowledged"`
	// Errors counts attempts without an acknowledgement; each of them was repeated.
	Errors    int    `json:"errors"`
	LastError string `json:"last_error,omitempty"`
	// LongestGapMS is the longest time between two acknowledgements, or since the last when GapOpen.
	LongestGapMS float64    `json:"longest_gap_ms"`
	GapFrom      *time.Time `json:"gap_from,omitempty"`
	GapTo        *time.Time `json:"gap_to,omitempty"`
	GapOpen      bool       `json:"gap_open,omitempty"`
	// Moves are the changes of the node that acknowledged, each with its outage.
	Moves []Move  `json:"moves,omitempty"`
	First *Stamp  `json:"first,omitempty"`
	Last  *Stamp  `json:"last,omitempty"`
	Took  float64 `json:"took_s"`
}

// Stamp is one acknowledgement.
type Stamp struct {
	At   time.Time `json:"at"`
	Node string    `json:"node,omitempty"`
}

// Move is a change of the node that acknowledges. Its outage is the time from the last acknowledgement of
// the one to the first of the other.
type Move struct {
	From     Stamp   `json:"from"`
	To       Stamp   `json:"to"`
	OutageMS float64 `json:"outage_ms"`
}

// retryPause is short: it is the resolution with which an outage is measured.
const retryPause = 2 * time.Millisecond

// Do adds to-dos until ctx ends or the load's own end is reached, which is no error. An error means that the
// load itself could not go on: its ledger cannot be written, or the list holds another to-do under its id.
func (l *Load) Do(ctx context.Context) (r Report, err error) {
	if l.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.For)
		defer cancel()
	}
	began := time.Now()
	defer func() { r.finish(began, time.Now()) }()
	for n := 1; l.Count == 0 || n <= l.Count; n++ {
		t := Todo{ID: fmt.Sprintf("%s-%d", l.Run, n), Title: fmt.Sprintf("no. %d of load %s", n, l.Run)}
		stamp, err := l.addUntilDone(ctx, t, &r)
		if errors.Is(err, errEnded) {
			return r, nil
		}
		if err != nil {
			return r, err
		}
		r.note(stamp)
		if err := l.record(t, stamp); err != nil {
			return r, err
		}
		if !pause(ctx, l.Pause) {
			return r, nil
		}
	}
	return r, nil
}

// errEnded says that the load was told to stop.
var errEnded = errors.New("load ended")

// addUntilDone adds t, again and again, and returns errEnded when ctx ends before the acknowledgement.
func (l *Load) addUntilDone(ctx context.Context, t Todo, r *Report) (Stamp, error) {
	for {
		stored, a, err := l.List.Add(ctx, t)
		var refused *Refusal
		switch {
		case err == nil && stored.Title != t.Title:
			return Stamp{}, fmt.Errorf("add %s: the list answers with another to-do: %q", t.ID, stored.Title)
		case err == nil:
			return Stamp{At: time.Now(), Node: a.Node}, nil
		case ctx.Err() != nil:
			return Stamp{}, errEnded
		case errors.As(err, &refused) && refused.Status < 500:
			return Stamp{}, fmt.Errorf("add %s: %w", t.ID, err)
		}
		r.Errors++
		r.LastError = err.Error()
		if !pause(ctx, retryPause) {
			return Stamp{}, errEnded
		}
	}
}

func (l *Load) record(t Todo, s Stamp) error {
	if l.Ledger == nil {
		return nil
	}
	return l.Ledger.Add(Entry{ID: t.ID, Title: t.Title, At: s.At})
}

// note adds one acknowledgement to the report.
func (r *Report) note(s Stamp) {
	r.Acknowledged++
	if r.Last == nil {
		r.First, r.Last = &s, &s
		return
	}
	r.gap(r.Last.At, s.At, false)
	if s.Node != r.Last.Node {
		r.Moves = append(r.Moves, Move{From: *r.Last, To: s, OutageMS: millis(s.At.Sub(r.Last.At))})
	}
	r.Last = &s
}

func (r *Report) gap(from, to time.Time, open bool) {
	if ms := millis(to.Sub(from)); ms > r.LongestGapMS {
		r.LongestGapMS, r.GapFrom, r.GapTo, r.GapOpen = ms, &from, &to, open
	}
}

// finish counts the time since the last acknowledgement too: a list that never came back is the longest gap
// of all.
func (r *Report) finish(began, ended time.Time) {
	r.Took = ended.Sub(began).Seconds()
	if r.Last != nil {
		r.gap(r.Last.At, ended, true)
	}
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// pause waits for d and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
