//go:build linux

package openzfs_test

import (
	"os"
	"sync"
	"testing"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/test/openzfs"
)

// A node loses its power in the middle of a move. When it is back, the move comes to its end without anybody's help: the database
// has all that it ever acknowledged, and one copy is writable. Two of the cases run always, all with DROVER_TEST_OPENZFS=all.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		always bool
		target bool // it is the target's power
		at     state.StepKind
		when   controller.EventKind
	}{
		{name: "source in the stream", always: true, at: state.Replicate, when: controller.EventProgress},
		{name: "target in the stream", target: true, at: state.Replicate, when: controller.EventProgress},
		{name: "source after the fence", at: state.Fence, when: controller.EventDone},
		{name: "target after the release", always: true, target: true, at: state.ReleaseVolume, when: controller.EventDone},
		{name: "source after the release", at: state.ReleaseVolume, when: controller.EventDone},
		{name: "target after the promotion", target: true, at: state.Promote, when: controller.EventDone},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !c.always && os.Getenv("DROVER_TEST_OPENZFS") != "all" {
				t.Skip("takes a minute; DROVER_TEST_OPENZFS=all runs it")
			}
			var m *moves
			var once sync.Once
			ready, cut := make(chan *openzfs.Node, 1), make(chan struct{})
			m = newMoves(t, func(e controller.Event) {
				if e.Step.Kind == c.at && e.Kind == c.when {
					once.Do(func() {
						n := m.from
						if c.target {
							n = m.to
						}
						n.Cut()
						ready <- n
						<-cut
					})
				}
			})
			m.from.Sh("head -c 48000000 /dev/urandom >/mnt/drover/tododata/data/big")
			sum := m.from.Sh("md5sum </mnt/drover/tododata/data/big")
			m.Write("db.yaml", todo("ssd"))
			var n *openzfs.Node
			m.Await("the moment of the power cut", func() bool {
				select {
				case n = <-ready:
				default:
				}
				return n != nil
			})
			if err := m.Marathon.PowerOffAgent(n.Name); err != nil {
				t.Error(err)
			}
			close(cut)
			m.PowerOn(n)
			m.Await("the database runs on node2", func() bool { return m.is(m.to, state.Primary) && m.serves() })
			m.check()
			m.oneWriter(m.to)
			if got := m.to.Sh("md5sum </mnt/drover/tododata/data/big"); got != sum {
				t.Errorf("the data is %s, was %s", got, sum)
			}
		})
	}
}
