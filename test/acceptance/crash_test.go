package acceptance

import (
	"testing"
	"time"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/lab/zfsim"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/test/cluster"
)

// point is a place in a controller's life: before a step, or after it.
type point struct {
	kind controller.EventKind
	step state.StepKind
}

// points are where a sweep ends controllers, each once.
type points map[point]bool

// new reports whether an event is a place where no controller has ended yet.
func (p points) new(kind controller.EventKind, step state.StepKind) bool {
	at := point{kind, step}
	if p[at] || kind != controller.EventStarted && kind != controller.EventDone {
		return false
	}
	p[at] = true
	return true
}

// wantAll fails if the sweep never came to the steps of a move.
func (p points) wantAll(t *testing.T) {
	t.Helper()
	for _, k := range []state.StepKind{state.Replicate, state.CatchUp, state.StopApp, state.Fence, state.LastIncrement, state.ReleaseVolume,
		state.Promote, state.StartApp} {
		if !p[point{controller.EventStarted, k}] {
			t.Errorf("no controller ended at %q", k)
		}
	}
}

// Controllers are cancelled before and after each step of a move, one after the other, and the move comes through.
func TestControllerCancelledAtEachStep(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes; `make faults` runs it")
	}
	t.Parallel()
	c, first := begin(t, cluster.Options{})
	first.Stop()
	c.Nodes["node1"].Fill("data", "big", 4<<20)
	c.Write("db.yaml", onSSD().YAML())
	ended := points{}
	for done := false; !done; {
		var l *cluster.Controller
		ready := make(chan struct{})
		term := c.Status().Term
		l = c.Lead(func(e controller.Event) {
			<-ready
			if ended.new(e.Kind, e.Step.Kind) {
				l.Cancel()
			}
		})
		close(ready)
		c.Await("it has ended, or all is done", func() bool {
			select {
			case <-l.Done:
				return true
			default:
				done = c.Settled(term)
				return done
			}
		})
		l.Stop()
	}
	ended.wantAll(t)
	c.Lead(nil)
	c.AwaitOn("data", "node2")
	written(c, "/db")
}

// Controllers in processes of their own are killed with SIGKILL before and after each step.
func TestControllerKilledAtEachStep(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes; `make faults` runs it")
	}
	t.Parallel()
	c, first := begin(t, cluster.Options{})
	first.Stop()
	c.Nodes["node1"].Fill("data", "big", 4<<20)
	c.Write("db.yaml", onSSD().YAML())
	ended := points{}
	for killNext(t, c, ended) {
	}
	ended.wantAll(t)
	c.Lead(nil)
	c.AwaitOn("data", "node2")
	written(c, "/db")
}

// killNext starts a controller and kills it where none was killed before. It returns false if the controller came through.
func killNext(t *testing.T, c *cluster.Cluster, ended points) bool {
	t.Helper()
	term := c.Status().Term
	p := c.LeadAlone()
	defer p.Kill()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	for {
		select {
		case e := <-p.Events:
			if ended.new(e.Kind, e.Step) {
				return true
			}
		case <-time.After(100 * time.Millisecond):
			if c.Settled(term) {
				return false
			}
		case <-deadline.C:
			t.Fatalf("the controller comes neither to a new point nor to an end: %+v", c.Status())
		}
	}
}

// A controller that is killed in the middle of a stream leaves it to the agents; the next one goes on from what it finds.
func TestControllerKilledInMidStream(t *testing.T) {
	t.Parallel()
	c, first := begin(t, soon)
	first.Stop()
	const size = 16 << 20
	c.Nodes["node1"].Fill("data", "big", size)
	c.Nodes["node1"].Faults(zfsim.Faults{BytesPerSecond: map[string]int64{"tank": 8 << 20}})
	c.Write("db.yaml", onSSD().YAML())
	p := c.LeadAlone()
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		for range p.Events { // it waits until each is read
		}
	}()
	c.Await("the stream flows", func() bool {
		cp := c.Nodes["node2"].Copy("data")
		return cp != nil && cp.Receiving
	})
	p.Kill()
	<-listening
	c.Nodes["node1"].Faults(zfsim.Faults{})
	written(c, "/db")
	c.Lead(nil)
	c.AwaitOn("data", "node2")
	if got := c.Nodes["node2"].Received(); got >= size*5/3 {
		t.Errorf("node2 received %d bytes for a volume of %d: the stream began anew", got, size)
	}
	written(c, "/db")
}
