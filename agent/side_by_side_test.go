package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/drover-project/drover/agent/stream"
	"github.com/drover-project/drover/lab/zfsim"
	"github.com/drover-project/drover/state"
)

// Streams of different volumes run side by side, each on a connection of its own: neither waits for the other's lock.
func TestStreamsOfTwoVolumesRunSideBySide(t *testing.T) {
	h := pair(t)
	other := handover{v: volume{name: "other", lead: "other", uuid: "0b0b0b0b-1111-2222-3333-444444444444"}, from: h.from, to: h.to, e: h.e, next: h.next}
	other.from.create(other.v)
	other.from.fill(other.v, "big", 8<<20)
	h.from.slow()
	var both sync.WaitGroup
	for _, one := range []handover{h, other} {
		step := one.replicateStep()
		both.Go(func() {
			if _, err := one.from.try(step); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, "both are under way", func() bool {
		s := h.from.streams()
		return len(s) == 2 && underWay(s[0]) && underWay(s[1])
	})
	h.from.faults(zfsim.Faults{})
	both.Wait()
	for _, one := range []handover{h, other} {
		if got, want := one.to.copy(one.v).Newest(), one.from.copy(one.v).Newest(); got == nil || got.GUID != want.GUID {
			t.Errorf("%s: %v arrived, want %v", one.v.name, got, want)
		}
	}
}

func underWay(s state.Stream) bool { return s.Bytes > 0 && s.Bytes < s.Total }

// wide is a volume with three children, of 4 MiB each, that another node does not have yet.
func wide(t testing.TB) handover {
	t.Helper()
	h := tree(t, "a", "b", "c")
	for _, child := range []string{"a", "b", "c"} {
		h.from.grow(child)
	}
	return h
}

// grow writes 4 MiB, which do not compress, to a child.
func (n *node) grow(child string) {
	n.t.Helper()
	b := make([]byte, 4<<20)
	rand.Read(b) // it never fails
	n.writeIn(child, "big", string(b))
}

// begin has the node do a step and returns where its outcome will be said.
func (n *node) begin(s state.Step) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := n.client.Do(context.Background(), n.addr(), n.term, s)
		done <- err
	}()
	return done
}

func (n *node) awaitChildrenUnderWay(want int) {
	n.t.Helper()
	until(n.t, "children are under way", func() bool {
		var children int
		for _, s := range n.streams() {
			if s.Child != "" && s.Bytes > 256<<10 {
				children++
			}
		}
		return children == want
	})
}

// The datasets of one volume travel side by side, and everything that would change the volume waits for all of them.
func TestChildrenTravelSideBySide(t *testing.T) {
	h := wide(t)
	h.from.faults(zfsim.Faults{BytesPerSecond: map[string]int64{"tank": 256 << 10}})
	done := h.from.begin(h.replicateStep())
	h.from.awaitChildrenUnderWay(3)
	if !h.to.copy(h.v).Receiving {
		t.Error("the target does not say that it receives")
	}
	aside := h.to.step(state.SetAside, h.v, state.Standby, "0.1")
	if _, err := h.to.try(aside); !isKind(err, ErrBusy) {
		t.Errorf("set aside while three streams arrive: %v", err)
	}
	_, q := h.offered()
	q.Child, q.Base, q.Transfer = "a", 1, "another"
	if err := h.from.sender().give(h.to, q, func(io.WriteCloser) {}); !isKind(err, ErrBusy) {
		t.Errorf("a stream of another transfer: %v", err)
	}
	h.from.faults(zfsim.Faults{})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, child := range []string{"a", "b", "c"} {
		h.from.grow(child)
	}
	if r := h.catchUp(1); !r.Peer.Complete(r.Copy) {
		t.Errorf("the target has %+v", contents(r.Peer))
	}
	promoted := h.giveOver().Copy
	if got := h.to.copy(h.v); !got.Complete(promoted) || h.to.readIn("c", "f") != "c" {
		t.Errorf("after the move: %+v", contents(got))
	}
}

// All streams that a stopped target has cut go on where they were.
func TestChildrenResumeSideBySide(t *testing.T) {
	h := wide(t)
	h.from.faults(zfsim.Faults{BytesPerSecond: map[string]int64{"tank": 256 << 10}})
	done := h.from.begin(h.replicateStep())
	h.from.awaitChildrenUnderWay(3)
	h.to.restart()
	if err := <-done; err == nil {
		t.Fatal("cut streams look like some that ended")
	}
	h.to.idle(h.v)
	for _, child := range []string{"a", "b", "c"} {
		if h.to.copy(h.v).Child(child).ResumeToken == "" {
			t.Fatalf("of %s there is nothing to resume", child)
		}
	}
	h.from.faults(zfsim.Faults{})
	h.to.faults(zfsim.Faults{Rules: []zfsim.Rule{{Command: "receive", Args: "-A", Action: zfsim.ActExit1}}})
	if r := h.from.do(h.replicateStep()); !r.Peer.Complete(r.Copy) {
		t.Errorf("the target has %+v", contents(r.Peer))
	}
	if hits, err := zfsim.ReachedFaults(h.to.machine.Dir); err != nil || hits[0] != 0 {
		t.Errorf("a half-received stream was dropped: %v, %v", hits, err)
	}
}

// One dataset that does not get through does not cut the others.
func TestChildrenDoNotCutEachOther(t *testing.T) {
	h := wide(t)
	h.from.faults(zfsim.Faults{Rules: []zfsim.Rule{{Command: "send", Args: "/b@", Action: zfsim.ActKillStream, Bytes: 1 << 20}}})
	if _, err := h.from.try(h.replicateStep()); err == nil {
		t.Fatal("a cut stream looks like one that ended")
	}
	c := h.to.copy(h.v)
	if c.Child("a").Newest() == nil || c.Child("c").Newest() == nil || c.Child("b").ResumeToken == "" {
		t.Errorf("the target has %+v", contents(c))
	}
}

// The streams of one transfer have the volume's lock together: others wait for the last of them, and for the last child of any.
func TestLockOfATransfer(t *testing.T) {
	l := locks{dir: t.TempDir()}
	share := func(transfer string) (*volumeLock, error) { return l.share(t.Context(), "u", transfer, "a receive") }
	busy := func(when string) {
		t.Helper()
		for _, other := range []string{"", "t2"} {
			if _, err := l.try("u", other, "another"); !errors.Is(err, errLocked) {
				t.Errorf("%s: transfer %q: %v", when, other, err)
			}
		}
	}
	first, err := share("t1")
	if err != nil {
		t.Fatal(err)
	}
	second, err := share("t1")
	if err != nil {
		t.Fatal(err)
	}
	busy("two streams")
	orphan := exec.Command("sleep", "600")
	orphan.ExtraFiles = []*os.File{second.file} // as zfs.Holding passes it on
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	first.release()
	busy("one stream")
	if l.orphaned("u") {
		t.Error("a stream looks like an orphan")
	}
	second.release()
	busy("a child of an ended stream")
	if _, err := l.try("u", "t1", "a receive"); !errors.Is(err, errLocked) || !l.orphaned("u") {
		t.Errorf("a transfer that was left does not wait for its child: %v", err)
	}
	if err := orphan.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = orphan.Wait() // it was killed
	alone, err := l.take(t.Context(), "u", "a step")
	if err != nil || alone.turn != 2 {
		t.Errorf("got %+v, %v", alone, err)
	}
	busy("a step")
}

// What is yet to come of other streams has its room in the pool.
func TestRoomForStreamsUnderWay(t *testing.T) {
	var u underway
	ring, err := stream.NewRing(stream.MinRing)
	if err != nil {
		t.Fatal(err)
	}
	none := &receiver{}
	a, b := &receiver{q: receiveRequest{UUID: "u", Bytes: 100}}, &receiver{q: receiveRequest{UUID: "u", Bytes: 50}}
	over := u.receive(a)
	defer u.receive(b)()
	if got := u.toCome(none); got != 150 || u.toCome(a) != 50 {
		t.Errorf("%d bytes are to come", got)
	}
	a.ring = ring
	u.flows(a)
	if _, err := ring.Carry(io.Discard, strings.NewReader(strings.Repeat("x", 70)).Read, func() {}); err != nil {
		t.Fatal(err)
	}
	if got := u.toCome(none); got != 80 {
		t.Errorf("%d bytes are to come when 70 are there", got)
	}
	over()
	if got := u.toCome(none); got != 50 || !u.receiving("u") {
		t.Errorf("%d bytes are to come when one has ended", got)
	}
}
