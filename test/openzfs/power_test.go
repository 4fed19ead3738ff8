//go:build linux

package openzfs_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/test/openzfs"
)

// phases are the steps of a move in the middle of which power is cut; all of them are reached in a full run.
var phases = []state.StepKind{state.DeleteOld, state.Replicate, state.CatchUp, state.HoldConnections, state.StopApp, state.Fence,
	state.LastIncrement, state.ReleaseVolume, state.Promote, state.StartApp, state.Retire, state.VerifyReady, state.SetRoutes, state.Rejoin}

// cutCount is how many power cuts there are: 2, or 100 with DROVER_TEST_OPENZFS=all, or as many as DROVER_TEST_OPENZFS_CUTS says.
func cutCount(t *testing.T) int {
	n := os.Getenv("DROVER_TEST_OPENZFS_CUTS")
	switch count, err := strconv.Atoi(n); {
	case n != "" && err != nil:
		t.Fatal(err)
	case n != "":
		return count
	case everything():
		return 100
	}
	return 2
}

// seed is DROVER_TEST_OPENZFS_SEED, or another one each time. What is done to whom follows from it; when exactly does not.
func seed(t *testing.T) uint64 {
	text := os.Getenv("DROVER_TEST_OPENZFS_SEED")
	if text == "" {
		return rand.Uint64() >> 1
	}
	s, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Any node loses its power at any moment of a move, again and again. Each time it comes back, the move ends by itself where the
// manifest wants the database: with all that it ever acknowledged, one writable copy at every look, and epochs that only grow.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	s, n := seed(t), cutCount(t)
	t.Logf("%d power cuts; again with DROVER_TEST_OPENZFS_SEED=%d", n, s)
	w := newWorld(t, openzfs.Options{})
	c := &cuts{todos: w.todo(), rand: rand.New(rand.NewPCG(s, s)), at: "node1", hit: map[string]int{}}
	c.sum = c.fill("node1", "big", 12<<20)
	looking, cancel := context.WithCancel(t.Context())
	var looks sync.WaitGroup
	looks.Go(func() { c.watch(looking) })
	defer looks.Wait()
	defer cancel()
	begin := time.Now()
	for i := range n {
		c.cut(i)
		if t.Failed() {
			break
		}
	}
	t.Logf("%d power cuts in %v, %d looks; where they hit: %s", n, time.Since(begin).Round(time.Second), c.looks, c.histogram())
	if everything() {
		c.everywhere()
	}
}

// cuts is a database that moves from node to node while their power is cut.
type cuts struct {
	*todos
	rand  *rand.Rand
	at    string // node of the database
	sum   string // of its file
	hit   map[string]int
	queue []state.StepKind // phases that are still to come in this round

	mu      sync.Mutex
	looks   int
	epochs  map[string]state.Epoch // of the copies that were there at the last look, by node
	highest state.Epoch            // of a primary
}

// plan is what is done in one move.
type plan struct {
	phase  state.StepKind
	to     string
	victim *openzfs.Node
	delay  time.Duration // after the phase's begin
	grace  string
}

// next makes a plan. Each phase has its turn, as far as the copies that there are allow.
func (c *cuts) next() plan {
	if len(c.queue) == 0 {
		c.queue = slices.Clone(phases)
		tail := c.queue[2:] // a deletion first, so that there is something to copy whole
		c.rand.Shuffle(len(tail), func(i, j int) { tail[i], tail[j] = tail[j], tail[i] })
	}
	p := plan{phase: c.queue[0], grace: "1h", victim: c.Nodes[c.rand.IntN(len(c.Nodes))], delay: c.delay()}
	c.queue = c.queue[1:]
	c.mu.Lock()
	defer c.mu.Unlock()
	others := slices.DeleteFunc([]string{"node1", "node2", "node3"}, func(n string) bool { return n == c.at })
	p.to = others[c.rand.IntN(2)]
	for _, n := range others {
		if _, has := c.epochs[n]; p.phase == state.Replicate && !has || p.phase == state.Rejoin && has {
			p.to = n
		}
	}
	if p.phase == state.DeleteOld {
		p.grace = "1s"
	}
	return p
}

// delay is short more often than long: so are steps.
func (c *cuts) delay() time.Duration {
	r := c.rand.Float64()
	return time.Duration(r * r * float64(1500*time.Millisecond))
}

// cut does one move with a power cut in it.
func (c *cuts) cut(i int) {
	p, begin := c.next(), time.Now()
	c.Write("cluster.yaml", "apiVersion: drover/v1\nkind: Cluster\nmetadata: {name: test}\nspec: {grace: "+p.grace+"}\n")
	reached := make(chan struct{})
	var once sync.Once
	off := c.on(c.id(), func(e controller.Event) {
		if e.Step.Kind == p.phase && e.Kind == controller.EventStarted {
			once.Do(func() { close(reached) })
		}
	})
	c.want(p.to)
	c.Await("the phase, or the end of the move", func() bool { return isClosed(reached) || c.isSettled() })
	off()
	if isClosed(reached) {
		rest, stop := context.WithTimeout(c.Context(), p.delay)
		<-rest.Done()
		stop()
	}
	during := c.underWay()
	c.hit[during]++
	c.PowerOff(p.victim)
	c.reroute()
	c.PowerOn(p.victim)
	c.at = p.to
	c.since = time.Now()
	c.settled()
	c.reroute()
	c.answered()
	c.complete()
	if got := c.node(p.to).Sh("sha256sum <" + c.dir() + "/big"); got != c.sum {
		c.Errorf("the data is %s, was %s", got, c.sum)
	}
	c.only(p.to)
	c.Logf("cut %d: %s lost its power: %s (planned: %v into %q) of a move to %s; %v", i, p.victim.Name, during, p.delay.Round(time.Millisecond), p.phase,
		p.to, time.Since(begin).Round(100*time.Millisecond))
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// underWay names the step that has begun and not ended, or the last one that has.
func (c *cuts) underWay() string {
	var open, last string
	for _, e := range c.said(c.id()) {
		switch e.Kind {
		case controller.EventStarted:
			open, last = string(e.Step.Kind), "after "+string(e.Step.Kind)
		case controller.EventDone, controller.EventFailed:
			if open == string(e.Step.Kind) {
				open = ""
			}
		default:
		}
	}
	return cmp.Or(open, last)
}

// reroute sends the load to a node that is there.
func (c *cuts) reroute() {
	for _, n := range c.Nodes {
		if n.Alive() {
			c.Via(n)
			return
		}
	}
}

func (c *cuts) histogram() string {
	var words []string
	for _, k := range slices.Sorted(maps.Keys(c.hit)) {
		words = append(words, fmt.Sprintf("%s %d", k, c.hit[k]))
	}
	return strings.Join(words, ", ")
}

// everywhere fails if a phase was never hit.
func (c *cuts) everywhere() {
	for _, p := range phases {
		if c.hit[string(p)]+c.hit["after "+string(p)] == 0 {
			c.Errorf("no power was cut during or right after %q", p)
		}
	}
}

// watch looks at all nodes again and again, past Drover.
func (c *cuts) watch(ctx context.Context) {
	for ctx.Err() == nil {
		c.look(ctx)
		rest, stop := context.WithTimeout(ctx, 4*time.Second) // a look costs a node half a second
		<-rest.Done()
		stop()
	}
}

// seen is a copy as OpenZFS tells it.
type seen struct {
	role     state.Role
	epoch    state.Epoch
	writable bool
}

// look checks the invariants. Nodes are read one after the other, so two writers count only if both are seen again, unchanged.
func (c *cuts) look(ctx context.Context) {
	first := c.read(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looks++
	for name, s := range first {
		if s.writable && s.role != state.Primary {
			c.Errorf("the copy on %s is %s and writable", name, s.role)
		}
		if s.epoch.Less(c.epochs[name]) {
			c.Errorf("the copy on %s is at epoch %s after %s", name, s.epoch, c.epochs[name])
		}
	}
	if e := primaryEpoch(first); e != (state.Epoch{}) && e.Less(c.highest) {
		c.Errorf("the highest primary is at %s after %s: %v", e, c.highest, first)
	} else {
		c.highest = state.MaxEpoch(c.highest, e)
	}
	if writers := writers(first); len(writers) > 1 && slices.Equal(writers, c.writersAgain(ctx)) {
		c.Errorf("two writers: %v", writers)
	}
	c.epochs = map[string]state.Epoch{}
	for name, s := range first {
		c.epochs[name] = s.epoch
	}
}

func (c *cuts) writersAgain(ctx context.Context) []string { return writers(c.read(ctx)) }

func writers(all map[string]seen) []string {
	var names []string
	for name, s := range all {
		if s.writable {
			names = append(names, name+" at "+s.epoch.String())
		}
	}
	slices.Sort(names)
	return names
}

func primaryEpoch(all map[string]seen) (e state.Epoch) {
	for _, s := range all {
		if s.role == state.Primary {
			e = state.MaxEpoch(e, s.epoch)
		}
	}
	return e
}

// read reads the copy of each node that answers.
func (c *cuts) read(ctx context.Context) map[string]seen {
	all := map[string]seen{}
	for _, n := range c.Nodes {
		if !n.Alive() {
			continue
		}
		r := n.Try(ctx, "zfs get -Hp -o value drover:role,drover:epoch,readonly "+c.dataset())
		words := strings.Fields(r.Out)
		if r.Code != 0 || len(words) != 3 {
			continue
		}
		epoch, err := state.ParseEpoch(words[1])
		if err != nil {
			c.Errorf("the epoch of %s: %v", n.Name, err)
		}
		all[n.Name] = seen{state.Role(words[0]), epoch, words[2] == "off"}
	}
	return all
}
