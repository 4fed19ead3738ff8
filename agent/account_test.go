package agent

import (
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/drover-project/drover/agent/stream"
	"github.com/drover-project/drover/state"
)

func TestBound(t *testing.T) {
	for name, c := range map[string]struct {
		full                      float64
		reading, writing, limited time.Duration
		want                      state.Bound
	}{
		"a full ring":               {1, time.Second, time.Second, time.Second, state.BoundTarget},
		"waiting for zfs send":      {0.1, 9, 1, 0, state.BoundSource},
		"waiting for the network":   {0.1, 1, 9, 0, state.BoundNetwork},
		"waiting for a limit":       {0.1, 3, 3, 9, state.BoundLimit},
		"a limit that hardly bites": {0, 1, 9, 2, state.BoundNetwork},
	} {
		spent := [activities]time.Duration{reading: c.reading, writing: c.writing, limited: c.limited}
		if got := bound(c.full, spent); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// A stream is never said to be through before it is, nor to be smaller than what was sent.
func TestEstimateIsCorrected(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		estimate := rapid.Int64Range(1, 1<<50).Draw(t, "estimate")
		sent := rapid.Int64Range(0, 1<<50).Draw(t, "sent")
		more := rapid.Int64Range(0, 1<<30).Draw(t, "more")
		got := corrected(estimate, sent)
		if got <= sent || got < estimate || corrected(estimate, sent+more) < got {
			t.Fatalf("%d of %d: %d, later %d", sent, estimate, got, corrected(estimate, sent+more))
		}
		if got > estimate && got > sent+max(sent/50, 2048) {
			t.Fatalf("%d of %d: %d", sent, estimate, got)
		}
	})
	if got := corrected(0, 0); got != 0 {
		t.Errorf("%d bytes are expected of what nothing is known of", got)
	}
}

func TestAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(state.Step{Volume: "v", Bytes: 5}, "")
		if got := a.now(); got.Total != 1<<10 || got.Bound != "" {
			t.Errorf("at first: %+v", got)
		}
		a.expect(1000 << 10)
		a.resumes(300)
		for range 8 { // 100 KiB/s, most of the time spent on the connection
			a.enter(reading)
			time.Sleep(time.Second / 20)
			a.enter(writing)
			time.Sleep(time.Second / 5)
			a.add(25 << 10)
		}
		got := a.now()
		if got.Bytes != 200<<10 || got.Resumed != 300 || got.Total != 1000<<10 || got.Rate != 100<<10 || got.Bound != state.BoundNetwork || !got.Quiet.IsZero() {
			t.Errorf("on its way: %+v", got)
		}
		a.arrived()
		a.begin() // the next leg, which breaks
		a.add(50 << 10)
		a.expect(100 << 10)
		a.begin() // anew
		for taken := range int64(4) {
			time.Sleep(time.Second)
			a.told(stream.Pulse{Taken: taken, Level: 9, Size: 10})
		}
		if got := a.now(); got.Bound != state.BoundTarget || got.Waiting != 9 || got.Room != 10 || got.Bytes != 200<<10 || got.Total != 300<<10 || got.Rate != 0 {
			t.Errorf("while the pool is busy: %+v", got)
		}
		quiet := time.Now()
		for range 5 {
			time.Sleep(time.Second)
			a.told(stream.Pulse{Taken: 3, Level: 9, Size: 10})
		}
		if got := a.now(); !got.Quiet.Equal(quiet) || got.Patience != stuckFor {
			t.Errorf("while nothing moves since %v: %+v", quiet, got)
		}
		a.enter(limited)
		if got := a.now(); !got.Quiet.Equal(quiet) || got.Patience != 0 {
			t.Errorf("while a limit keeps it still: %+v", got)
		}
	})
}

// What a link carries is what all streams over it carry: one of several has only its part of it.
func TestLinkCountsAllStreams(t *testing.T) {
	r := newRates(filepath.Join(t.TempDir(), "rates"), slog.New(slog.DiscardHandler))
	a, b, other := newAccount(state.Step{}, ""), newAccount(state.Step{}, "logs"), newAccount(state.Step{}, "")
	a.link, b.link, other.link = r.link("n2"), r.link("n2"), r.link("n3")
	before := a.link.Load()
	a.add(enoughToMeasure)
	b.add(enoughToMeasure)
	other.add(enoughToMeasure)
	r.measured("n2", a.link.Load()-before, time.Second)
	if got := r.all(); len(got) != 1 || got["n2"] != 2*enoughToMeasure {
		t.Errorf("measured %v", got)
	}
}
