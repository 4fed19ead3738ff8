package agent

import (
	"flag"
	"fmt"
	"math/bits"
	"testing"

	"github.com/drover-project/drover/state"
)

// This is a bounded model of the handover table: some nodes, few epochs, few writes, and requests that are delayed, doubled
// and reordered for ever. It runs the table's own functions. Whatever was once true may be carried by a request at any later
// time; a request whose pair does not match is refused, so only matching ones are tried. It is no proof beyond its bounds.

// The bounds. Larger ones take longer: epochs 4 and writes 2 are some millions of states.
var (
	maxEpoch  = flag.Int("model.epochs", 3, "epochs of the model, at most 4")
	maxWrites = flag.Int("model.writes", 1, "writes of the model, at most 2")
	maxStates = flag.Int("model.states", 6_000, "states of three nodes to look at")
)

const (
	maxNodes = 3
	epochs   = 5 // one more than the most of -model.epochs
)

// set is a set of small numbers.
type set uint64

func (s set) has(i int) bool { return s>>i&1 == 1 }
func (s set) add(i int) set  { return s | 1<<i }
func (s set) newest() int    { return bits.Len64(uint64(s)) - 1 }

// modelCopy is a copy: which data it has, by the number of the last write, and which states of it are snapshots.
type modelCopy struct {
	role         uint8 // index into everyRole, plus 1; 0 is no copy
	epoch        uint8
	to, at, guid uint8 // release: target plus 1 (0 none), epoch, snapshot plus 1
	data         uint8
	snaps        set
}

// world is one state of everything that may matter, the requests that may still arrive included.
type world struct {
	copies         [maxNodes]modelCopy
	refused, taken [maxNodes]uint8
	refusals       [maxNodes]set           // evidence of going back: epochs that a node has sworn off
	acked          uint8                   // the last write that an app was told is safe
	releases       [maxNodes][maxNodes]set // evidence of promotions: epoch*4 + snapshot, by source and target
	takens         [maxNodes]set           // evidence of retirings: epochs at which a node was primary
	primaries      set                     // evidence of rejoining and deleting: epoch*4 + snapshot seen on a primary
	streams        [epochs]set             // on their way: (base+1)*4 + snapshot, by the sender's epoch
}

var ids = [maxNodes]state.NodeID{"a", "b", "c"}

func (m modelCopy) copy() *state.Copy {
	if m.role == 0 {
		return nil
	}
	c := &state.Copy{UUID: "u", Volume: "v", Role: everyRole[m.role-1], Epoch: ep(0, uint64(m.epoch))}
	c.Readonly = c.Role != state.Primary
	if m.to > 0 {
		c.Release = &state.Release{To: ids[m.to-1], Epoch: ep(0, uint64(m.at)), GUID: state.GUID(m.guid)}
	}
	for g := range 4 {
		if m.snaps.has(g) {
			c.Snapshots = append(c.Snapshots, state.Snapshot{Name: fmt.Sprint(g), GUID: state.GUID(g + 1), Written: 1})
		}
	}
	if len(c.Snapshots) > 0 && int(m.data) != m.snaps.newest() {
		c.Written = 1
	}
	return c
}

func (m modelCopy) changed(ch *change) modelCopy {
	for i, r := range everyRole {
		if r == ch.role {
			m.role = uint8(i + 1)
		}
	}
	m.epoch, m.to, m.at, m.guid = uint8(ch.epoch.N), 0, 0, 0
	if ch.release != nil {
		m.to, m.at, m.guid = number(ch.release.To), uint8(ch.release.Epoch.N), uint8(ch.release.GUID)
	}
	return m
}

func number(id state.NodeID) uint8 { return id[0] - 'a' + 1 }

func (m modelCopy) is(r state.Role) bool { return m.role > 0 && everyRole[m.role-1] == r }

// model explores.
type model struct {
	nodes int
	most  int // states to look at
	seen  map[world]bool
	todo  []world
	reach map[string]int // how often each row had its effect: a model that never gets anywhere proves nothing
	blind func(*facts)   // forgets something that the table rests on, to see that the model notices
}

func (m *model) run(start world) error {
	m.seen, m.reach = map[world]bool{start: true}, map[string]int{}
	m.todo = []world{start}
	for len(m.todo) > 0 && len(m.seen) < m.most {
		w := m.todo[0]
		m.todo = m.todo[1:]
		if err := m.check(w); err != nil {
			return fmt.Errorf("%w: %+v", err, w)
		}
		m.expand(w)
	}
	return nil
}

func (m *model) check(w world) error {
	writers := 0
	for _, c := range w.copies[:m.nodes] {
		if c.is(state.Primary) {
			writers++
			if c.data != w.acked {
				return fmt.Errorf("a write is lost: primary has %d of %d", c.data, w.acked)
			}
		}
	}
	if writers > 1 {
		return fmt.Errorf("%d writers", writers)
	}
	return nil
}

func (m *model) next(name string, w world) {
	m.reach[name]++
	if !m.seen[w] {
		m.seen[w] = true
		m.todo = append(m.todo, w)
	}
}

// observe adds what can be seen in w to the evidence that requests may carry from now on.
func (m *model) observe(w world) world {
	for i, c := range w.copies[:m.nodes] {
		if c.is(state.Primary) {
			w.takens[i] = w.takens[i].add(int(c.epoch))
			for g := range *maxWrites + 1 {
				if c.snaps.has(g) {
					w.primaries = w.primaries.add(int(c.epoch)*4 + g)
				}
			}
		}
		w.streams[c.epoch] |= c.sent()
		if c.is(state.Released) {
			w.releases[i][c.to-1] = w.releases[i][c.to-1].add(int(c.at)*4 + int(c.guid) - 1)
		}
	}
	return w
}

func (m *model) expand(w world) {
	w = m.observe(w)
	for i := range m.nodes {
		m.use(w, i)
		m.receive(w, i)
		m.rows(w, i)
	}
}

// use is what apps and catch-up rounds do with a copy that may be written.
func (m *model) use(w world, i int) {
	c := w.copies[i]
	if c.is(state.Primary) && int(w.acked) < *maxWrites {
		n := w
		n.acked++
		n.copies[i].data = n.acked
		m.next("write", n)
	}
	if c.is(state.Primary) && !c.snaps.has(int(c.data)) {
		n := w
		n.copies[i].snaps = c.snaps.add(int(c.data))
		m.next("snapshot", n)
	}
}

// sent returns the streams that a copy may send: its newest snapshot, full or from any older one.
func (m modelCopy) sent() (all set) {
	if m.snaps == 0 || !m.is(state.Primary) && !m.is(state.Fenced) {
		return 0
	}
	to := m.snaps.newest()
	for base := -1; base < to; base++ {
		if base < 0 || m.snaps.has(base) {
			all = all.add((base+1)*4 + to)
		}
	}
	return all
}

// receive delivers any stream that was ever sent.
func (m *model) receive(w world, i int) {
	for e := 1; e <= *maxEpoch; e++ {
		for k := range 16 {
			if !w.streams[e].has(k) {
				continue
			}
			base, to := k/4-1, k%4
			c := w.copies[i]
			q := receiveRequest{UUID: "u", Volume: "v", Epoch: ep(0, uint64(e)), To: state.GUID(to + 1), Base: state.GUID(base + 1)}
			there, refused := receivable(c.copy(), q, ep(0, uint64(w.taken[i])))
			if refused != nil || there || c.role > 0 && (int(c.data) != c.snaps.newest() || c.snaps.newest() != base) {
				continue // zfs itself refuses a copy that has changed since the base
			}
			n := w
			if c.role == 0 {
				n.copies[i] = modelCopy{role: 5, epoch: uint8(e)}
			}
			n.copies[i].data, n.copies[i].snaps = uint8(to), n.copies[i].snaps.add(to)
			m.next("receive", n)
		}
	}
}

// rows sends node i every request that it could accept, with all evidence that ever was.
func (m *model) rows(w world, i int) {
	c := w.copies[i].copy()
	f := facts{node: ids[i], refused: ep(0, uint64(w.refused[i])), taken: ep(0, uint64(w.taken[i]))}
	m.blind(&f)
	m.swearOff(w, i, c, f)
	if c == nil {
		return
	}
	s := state.Step{UUID: "u", Volume: "v", Lead: "v", Expect: state.Expect{Role: c.Role, Epoch: c.Epoch}, Snapshot: "final"}
	apply := func(name string, ch *change, err *Error) {
		if err == nil && ch != nil {
			n := w
			n.copies[i] = n.copies[i].changed(ch)
			if name == "fence" {
				n.copies[i].snaps = n.copies[i].snaps.add(int(n.copies[i].data))
			}
			m.next(name, n)
		}
	}
	switch c.Role {
	case state.Primary:
		ch, err := fence(c, s, f)
		apply("fence", ch, err)
	case state.Fenced, state.Released:
		for n := uint64(1); n <= uint64(*maxEpoch); n++ {
			s.Epoch = ep(0, n)
			m.release(w, i, c, s, f, apply)
			m.back(w, c, s, f, apply)
		}
		m.retire(w, c, s, apply)
	case state.Retired:
		m.old(w, i, c, s, f, apply)
	case state.Standby:
		m.promote(w, i, c, s, f, apply)
	}
}

type applyFunc func(string, *change, *Error)

func (m *model) release(w world, i int, c *state.Copy, s state.Step, f facts, apply applyFunc) {
	if c.Newest() == nil {
		return
	}
	for j := range m.nodes {
		s.Peer, s.Release = ids[j], &state.Release{GUID: c.Newest().GUID}
		ch, err := release(c, s, f)
		apply("release", ch, err)
	}
}

func (m *model) back(w world, c *state.Copy, s state.Step, f facts, apply applyFunc) {
	ch, err := goBack(c, s, f)
	apply("back", ch, err)
	for j := range m.nodes {
		for e := range epochs {
			if w.refusals[j].has(e) {
				s.Refusal = &state.Refusal{Node: ids[j], Epoch: ep(0, uint64(e))}
				ch, err := goBack(c, s, f)
				apply("back with refusal", ch, err)
			}
		}
	}
}

func (m *model) retire(w world, c *state.Copy, s state.Step, apply applyFunc) {
	for j := range m.nodes {
		for e := 1; e <= *maxEpoch; e++ {
			if w.takens[j].has(e) {
				s.Taken = &state.Taken{Node: ids[j], Epoch: ep(0, uint64(e))}
				ch, err := retire(c, s)
				apply("retire", ch, err)
			}
		}
	}
}

// old tries to rejoin and to delete on the word of any primary that ever was.
func (m *model) old(w world, i int, c *state.Copy, s state.Step, f facts, apply applyFunc) {
	if c.Newest() == nil {
		return
	}
	for e := 1; e <= *maxEpoch; e++ {
		peer := &state.Copy{UUID: "u", Role: state.Primary, Epoch: ep(0, uint64(e))}
		for g := range *maxWrites + 1 {
			if w.primaries.has(e*4 + g) {
				peer.Snapshots = append(peer.Snapshots, state.Snapshot{GUID: state.GUID(g + 1)})
			}
		}
		s.Base = c.Newest().GUID
		ch, err := rejoin(c, s, peer)
		apply("rejoin", ch, err)
		if deletable(c, s, f, peer) == nil {
			n := w
			n.taken[i], n.copies[i] = max(n.taken[i], n.copies[i].epoch), modelCopy{}
			m.next("delete", n)
		}
	}
}

func (m *model) promote(w world, i int, c *state.Copy, s state.Step, f facts, apply applyFunc) {
	for from := range m.nodes {
		for to := range m.nodes {
			for k := range epochs * 4 {
				if !w.releases[from][to].has(k) {
					continue
				}
				s.Epoch = ep(0, uint64(k/4))
				s.Release = &state.Release{From: ids[from], To: ids[to], Epoch: s.Epoch, GUID: state.GUID(k%4 + 1)}
				ch, err := promote(c, s, f)
				apply("promote", ch, err)
			}
		}
	}
}

func (m *model) swearOff(w world, i int, c *state.Copy, f facts) {
	for e := uint64(1); e <= uint64(*maxEpoch); e++ {
		got, err := swearOff(c, state.Step{UUID: "u", Volume: "v", Epoch: ep(0, e)}, f)
		if err == nil {
			n := w
			n.refusals[i] = n.refusals[i].add(int(e))
			n.refused[i] = max(n.refused[i], uint8(got.N))
			m.next("swear off", n)
		}
	}
}

// young is a volume that was just created on a, out of two nodes.
func young() world {
	var w world
	w.copies[0] = modelCopy{role: 1, epoch: 1}
	return w
}

// moved is a volume that has moved from a to b, of which a has not heard yet, with a third node ready to take it.
func moved() world {
	var w world
	w.copies[0] = modelCopy{role: 3, epoch: 1, to: 2, at: 2, guid: 1, snaps: 1}
	w.copies[1] = modelCopy{role: 1, epoch: 2, snaps: 1}
	w.copies[2] = modelCopy{role: 5, epoch: 1, snaps: 1}
	return w
}

func nothing(*facts) {}

func TestModelFindsNoTwoWritersAndNoLoss(t *testing.T) {
	m := &model{nodes: 2, most: 1 << 24, blind: nothing}
	if err := m.run(young()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d states: %v", len(m.seen), m.reach)
	for _, row := range []string{"fence", "release", "promote", "retire", "back", "back with refusal", "rejoin", "delete", "swear off", "receive"} {
		if m.reach[row] == 0 {
			t.Errorf("row %q was never reached", row)
		}
	}
	m = &model{nodes: 3, most: *maxStates, blind: nothing}
	if err := m.run(moved()); err != nil {
		t.Fatal(err)
	}
}

// A model that cannot find anything proves nothing.
func TestModelFindsWhatATableWithoutItsMemoryDoes(t *testing.T) {
	for name, c := range map[string]struct {
		nodes int
		start world
		blind func(*facts)
	}{
		"what was sworn off": {2, young(), func(f *facts) { f.refused = state.Epoch{} }},
		"what is gone":       {3, moved(), func(f *facts) { f.taken = state.Epoch{} }},
	} {
		m := &model{nodes: c.nodes, most: 1 << 20, blind: c.blind}
		err := m.run(c.start)
		if err == nil {
			t.Errorf("a table that forgets %s is thought safe", name)
		}
		t.Logf("%s: %v after %d states", name, err, len(m.seen))
	}
}
