package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/drover-project/drover/state"
)

func TestWholeHandover(t *testing.T) {
	b := newBench(t)
	h := handover{v: todo, from: b.node("node1"), to: b.node("node2"), e: "0.1", next: "0.2"}
	h.from.create(h.v)
	h.from.write(h.v, "first", "one")
	r := h.replicate()
	if r.Peer.Find(r.Copy.Newest().GUID) == nil || r.Peer.Role != state.Standby || !r.Peer.Readonly || r.Peer.Mounted {
		t.Fatalf("after the full stream the target is %+v", r.Peer)
	}
	if r.Peer.Properties["recordsize"] != "16384" || r.Peer.Quota != 0 {
		t.Errorf("what is set on the source is not there, or its quota came too early: %v", r.Peer.Properties)
	}
	for k := 1; k <= 3; k++ {
		h.from.write(h.v, "first", "more")
		h.catchUp(k)
	}
	h.from.write(h.v, "last", "two")
	fenced := h.from.do(h.fenceStep()).Copy
	if !fenced.Readonly || fenced.Mounted || fenced.Newest().Name != "drover-0.2-final" {
		t.Errorf("fenced: %+v", fenced)
	}
	last := h.from.do(h.lastStep())
	if last.Peer.Newest().GUID != fenced.Newest().GUID {
		t.Errorf("the last snapshot is not the target's newest: %+v", last.Peer.Snapshots)
	}
	h.from.do(h.releaseStep())
	promoted := h.to.do(h.promoteStep()).Copy
	if promoted.Readonly || !promoted.Mounted || promoted.Release != nil {
		t.Errorf("promoted: %+v", promoted)
	}
	h.from.do(h.retireStep())
	h.from.want(h.v, state.Retired, "0.1")
	c := h.to.want(h.v, state.Primary, "0.2")
	if got := h.to.read(h.v, "first") + h.to.read(h.v, "last"); got != "moretwo" {
		t.Errorf("the app finds %q", got)
	}
	if !c.Newest().Held || len(c.Users) != 0 {
		t.Errorf("the base of the way back is not held: %+v", c)
	}
}

// Everything may be sent twice; the second time changes nothing.
func TestEveryStepOfAHandoverTwice(t *testing.T) {
	b := newBench(t)
	h := handover{v: todo, from: b.node("node1"), to: b.node("node2"), e: "0.1", next: "0.2"}
	h.from.create(h.v)
	h.from.create(h.v)
	h.from.write(h.v, "f", "x")
	h.replicate()
	h.replicate()
	fence := h.fenceStep()
	h.from.do(fence)
	again := h.from.do(fence).Copy
	if n := len(again.Snapshots); n != 2 {
		t.Errorf("a second fence made snapshots: %d", n)
	}
	last := h.lastStep()
	h.from.do(last)
	h.from.do(last)
	release := h.releaseStep()
	h.from.do(release)
	h.from.do(release)
	promote := h.promoteStep()
	h.to.do(promote)
	h.to.do(promote)
	retire := h.retireStep()
	h.from.do(retire)
	h.from.do(retire)
	if got := h.to.read(h.v, "f"); got != "x" {
		t.Errorf("read %q", got)
	}
}

func TestMoveThereAndBack(t *testing.T) {
	h := upToRelease(t)
	h.to.do(h.promoteStep())
	h.from.do(h.retireStep())
	h.to.write(h.v, "there", "three")

	back := handover{v: h.v, from: h.to, to: h.from, e: "0.2", next: "0.3"}
	rejoin := h.from.step(state.Rejoin, h.v, state.Retired, "0.1")
	rejoin.Peer, rejoin.PeerAddress, rejoin.Base = h.to.id(), h.to.addr(), h.from.copy(h.v).Newest().GUID
	h.from.do(rejoin)
	h.from.do(rejoin)
	h.from.want(h.v, state.Standby, "0.1")
	r := back.catchUp(0)
	if r.Peer.Newest().GUID != r.Copy.Newest().GUID {
		t.Fatal("the way back is not a delta")
	}
	back.from.do(back.fenceStep())
	back.from.do(back.lastStep())
	back.from.do(back.releaseStep())
	back.to.do(back.promoteStep())
	back.from.do(back.retireStep())
	if got := back.to.read(h.v, "there"); got != "three" {
		t.Errorf("read %q", got)
	}
	if _, err := h.to.try(h.swearStep()); !isKind(err, ErrUnexpected) {
		t.Errorf("a late swear off, of an epoch at which the node was primary: %v", err)
	}
}

func TestGoBackBeforeTheRelease(t *testing.T) {
	h := upToFence(t)
	h.from.zfs("mount", "tank/drover/tododata")
	end := h.from.app(h.v) // whoever has got in keeps nobody down
	c := h.from.do(h.backStep(state.Fenced, "0.2", nil)).Copy
	end()
	if c.Readonly || !c.Mounted {
		t.Errorf("went back to %+v", c)
	}
	h.from.want(h.v, state.Primary, "0.2")
	if got := h.from.read(h.v, "last"); got != "two" {
		t.Errorf("read %q", got)
	}
	if _, err := h.from.try(h.fenceStep()); !isKind(err, ErrUnexpected) {
		t.Errorf("a late fence of the first attempt: %v", err)
	}
}

func TestGoBackAfterTheRelease(t *testing.T) {
	h := upToRelease(t)
	if _, err := h.from.try(h.backStep(state.Released, "0.3", nil)); !isKind(err, ErrRefused) {
		t.Errorf("without the target's refusal: %v", err)
	}
	promote := h.promoteStep()
	sworn := h.to.do(h.swearStep()).Refused
	if sworn == nil || sworn.Node != h.to.id() || sworn.Epoch.String() != "0.2" {
		t.Fatalf("refusal %+v", sworn)
	}
	h.from.do(h.backStep(state.Released, "0.3", sworn))
	h.from.want(h.v, state.Primary, "0.3")
	if _, err := h.to.try(promote); !isKind(err, ErrRefused) {
		t.Errorf("a late promotion after the refusal: %v", err)
	}
	h.to.want(h.v, state.Standby, "0.1")
}

func TestRefusalWithoutACopyOutlivesTheAgent(t *testing.T) {
	b := newBench(t)
	n := b.node("node1")
	s := n.step(state.SwearOff, todo, "", "")
	s.Epoch = epoch(t, "0.7")
	n.do(s)
	n.restart()
	seen, err := n.client.Node(t.Context(), n.addr())
	if err != nil || seen.Refused[todo.uuid].String() != "0.7" {
		t.Fatalf("%+v, %v", seen, err)
	}
	create := n.step(state.CreateVolume, todo, "", "")
	create.Epoch = epoch(t, "0.1")
	if _, err := n.try(create); !isKind(err, ErrRefused) {
		t.Errorf("created though its node has known it: %v", err)
	}
}

func TestDeleteOld(t *testing.T) {
	h := upToRelease(t)
	h.to.do(h.promoteStep())
	h.from.do(h.retireStep())
	del := h.from.step(state.DeleteOld, h.v, state.Retired, "0.1")
	del.Peer, del.PeerAddress, del.Grace = h.to.id(), h.to.addr(), time.Hour
	if _, err := h.from.try(del); !isKind(err, ErrRefused) {
		t.Fatalf("before its grace: %v", err)
	}
	grace := h.from.step(state.SaveGrace, h.v, state.Retired, "0.1")
	for _, g := range []time.Duration{time.Hour, time.Minute} {
		grace.Grace = g
		h.from.do(grace)
	}
	if got := h.from.copy(h.v).GraceServed; got != time.Hour {
		t.Errorf("grace %s shrank", got)
	}
	h.to.stop()
	if _, err := h.from.try(del); !isKind(err, ErrUnreachable) {
		t.Fatalf("while the primary is silent: %v", err)
	}
	h.to.options.Listen = h.to.agent.Addr()
	h.to.start()
	h.from.zfs("hold", "keep", "tank/drover/tododata@drover-0.2-final")
	if _, err := h.from.try(del); !isKind(err, ErrRefused) {
		t.Fatalf("with a foreign hold: %v", err)
	}
	h.from.zfs("release", "keep", "tank/drover/tododata@drover-0.2-final")
	for range 2 { // doing it twice is harmless
		if !h.from.do(del).Gone {
			t.Error("not gone")
		}
	}
	if _, err := h.from.client.Copy(t.Context(), h.from.addr(), h.v.uuid); !isKind(err, ErrNotFound) {
		t.Errorf("still found: %v", err)
	}
	if _, err := h.from.try(handover{v: h.v, to: h.from, next: "0.1"}.swearStep()); !isKind(err, ErrUnexpected) {
		t.Errorf("a node swears off what it has been: %v", err)
	}
	if got := h.to.read(h.v, "last"); got != "two" {
		t.Errorf("the primary has %q", got)
	}
}

// Two volumes of one app: the second follows the first.
func TestFollower(t *testing.T) {
	b := newBench(t)
	a := handover{v: todo, from: b.node("node1"), to: b.node("node2"), e: "0.1", next: "0.2"}
	f := a
	f.v = volume{name: "journal", lead: todo.name, uuid: "0b0b0b0b-1111"}
	for _, h := range []handover{a, f} {
		h.from.create(h.v)
		h.from.write(h.v, "f", string(h.v.name))
		h.replicate()
		h.from.do(h.fenceStep())
		h.from.do(h.lastStep())
	}
	if _, err := f.from.try(f.releaseStep()); !isKind(err, ErrRefused) {
		t.Errorf("the follower is released before its lead: %v", err)
	}
	a.from.do(a.releaseStep())
	f.from.do(f.releaseStep())
	promoteFollower := f.promoteStep()
	if _, err := f.to.try(promoteFollower); !isKind(err, ErrRefused) {
		t.Errorf("the follower is promoted before its lead: %v", err)
	}
	if _, err := f.from.try(f.backStep(state.Released, "0.3", nil)); !isKind(err, ErrRefused) {
		t.Errorf("the follower goes back before its lead: %v", err)
	}
	sworn := a.to.do(a.swearStep()).Refused
	a.from.do(a.backStep(state.Released, "0.3", sworn))
	f.from.do(f.backStep(state.Released, "0.3", nil)) // on the lead's word
	f.from.want(f.v, state.Primary, "0.3")
	if _, err := f.to.try(promoteFollower); !isKind(err, ErrRefused) {
		t.Errorf("a late promotion of the follower: %v", err)
	}
	if got := f.from.read(f.v, "f"); got != "journal" {
		t.Errorf("read %q", got)
	}
}

// Snapshots of other tools travel too, and older ones of the same move go on both sides.
func TestSnapshotsOfOthersTravel(t *testing.T) {
	h := pair(t)
	h.from.zfs("snapshot", "tank/drover/tododata@hourly-1")
	h.replicate()
	h.from.write(h.v, "f", "1")
	h.from.zfs("snapshot", "tank/drover/tododata@hourly-2")
	h.catchUp(1)
	h.from.write(h.v, "f", "2")
	r := h.catchUp(2)
	for _, c := range []*state.Copy{r.Copy, r.Peer} {
		var names []string
		for _, s := range c.Snapshots {
			names = append(names, s.Name)
		}
		if got, want := strings.Join(names, " "), "hourly-1 hourly-2 drover-0.2-1 drover-0.2-2"; got != want {
			t.Errorf("snapshots %q, want %q", got, want)
		}
		if !c.Newest().Held {
			t.Errorf("the common snapshot is not held: %+v", c.Snapshots)
		}
	}
}
