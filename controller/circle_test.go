package controller

import (
	"testing"
	"time"

	"github.com/drover-project/drover/state"
)

// A step that comes again as it was counts as going in a circle, one that goes further each time does not: while the grace of an old
// copy is served nothing else is done for an app, and its served part is saved again and again.
func TestGrowingGraceIsNoCircle(t *testing.T) {
	for name, c := range map[string]struct {
		grows time.Duration
		want  int
	}{"the same": {0, circles}, "more each time": {30 * time.Second, 1}} {
		l := newLoop(&Controller{}, 1, nil)
		for i := range circles {
			l.note([]state.Step{{App: "/a", Kind: state.SaveGrace, Volume: "v", Node: "n", Grace: time.Minute + time.Duration(i)*c.grows}}, nil)
		}
		if got := l.retries["/a"].same; got != c.want {
			t.Errorf("%s: counted %d times, want %d", name, got, c.want)
		}
	}
}
