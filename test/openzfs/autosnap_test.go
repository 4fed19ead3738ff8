//go:build linux

package openzfs_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/test/openzfs"
)

// sanoid takes recursive snapshots of whole pools, as a tool does that knows nothing of Drover.
type sanoid struct {
	*app
	mu    sync.Mutex
	taken []string
}

// snap takes one on each of some nodes. It may fail as a whole: OpenZFS refuses one of a dataset that is received for the first time.
func (s *sanoid) snap(nodes ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := fmt.Sprintf("autosnap_2026-11-22_20:%02d:%02d_frequently", len(s.taken)/60, len(s.taken)%60)
	s.taken = append(s.taken, name)
	for _, node := range nodes {
		r := s.node(node).Try(s.Context(), "zfs snapshot -r "+openzfs.Pool+"@"+name)
		if r.Err != nil {
			s.Logf("%s on %s: %s", name, node, strings.TrimSpace(r.Stderr))
		}
	}
}

// everyStep has one taken on both nodes when a step of a move begins, until the returned function is called.
func (s *sanoid) everyStep() (off func()) {
	return s.on(s.id(), func(e controller.Event) {
		if e.Kind == controller.EventStarted && slices.Contains(phases, e.Step.Kind) {
			s.snap("node1", "node2")
		}
	})
}

// Snapshots that others take of everything at any time, on the old copy, on the standby and on the primary, before each step of a move
// and after a restart, do not stop it, and the way back stays an increment.
func TestAutosnapshots(t *testing.T) {
	if !everything() {
		t.Skip("takes minutes; DROVER_TEST_OPENZFS=all runs it")
	}
	t.Parallel()
	w := newWorld(t, openzfs.Options{})
	s := &sanoid{app: w.scribe("autosnap", "log", "  bandwidth: 4Mi", "")}
	const size = 24 << 20
	s.settled()
	sum := s.fill("node1", "big", size)
	s.pause()
	off := s.everyStep()
	s.want("node2")
	s.says("paused, caught up")
	s.snap("node1", "node2")
	s.resume()
	s.settled()
	s.only("node2")
	off()

	s.snap("node1", "node2") // of the old copy
	s.PowerOff(s.node("node1"))
	s.PowerOn(s.node("node1"))
	s.snap("node1", "node2") // of what an import has claimed
	for _, to := range []string{"node1", "node2"} {
		whole, aside := s.begun(state.Replicate), s.begun(state.SetAside)
		off := s.everyStep()
		s.want(to)
		s.settled()
		off()
		s.only(to)
		last := s.moves()[len(s.moves())-1]
		if s.begun(state.Replicate) != whole || s.begun(state.SetAside) != aside || last.Bytes > size/2 {
			t.Errorf("the move to %s was no increment: %d bytes", to, last.Bytes)
		}
		if got := s.sum(to, "big"); got != sum {
			t.Errorf("on %s the file is %s, was %s", to, got, sum)
		}
		s.snap("node1", "node2")
	}
	s.inMidst("node1")
	s.handedOn()
	t.Logf("%d snapshots of others, %d cutovers went back", len(s.taken), s.backs())
}

// inMidst has a snapshot of the target taken while an increment arrives there. OpenZFS refuses the increment for it in the end; it is sent
// again, and the move goes on.
func (s *sanoid) inMidst(to string) {
	s.Helper()
	sum, whole := s.fill("node2", "more", 16<<20), s.begun(state.Replicate)
	var once sync.Once
	taken := make(chan struct{})
	off := s.on(s.id(), func(e controller.Event) {
		if e.Kind == controller.EventProgress && e.Step.Kind == state.CatchUp && e.Stream.Bytes > 1<<20 {
			once.Do(func() { s.snap(to); close(taken) })
		}
	})
	defer off()
	s.want(to)
	s.Await("an increment is on its way", func() bool { return isClosed(taken) })
	s.settled()
	s.only(to)
	if s.begun(state.Replicate) != whole {
		s.Error("the move was no increment")
	}
	if got := s.sum(to, "more"); got != sum {
		s.Errorf("on %s the file is %s, was %s", to, got, sum)
	}
	s.Logf("with a snapshot in the midst of its stream the increment was refused: %q %q", s.failed(state.CatchUp), s.failed(state.Resume))
}
