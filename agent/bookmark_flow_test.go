package agent

import (
	"fmt"
	"testing"

	"github.com/drover-project/drover/lab/zfsim"
	"github.com/drover-project/drover/state"
)

// destroyNewest destroys the newest snapshot of a copy and of what is below it, as a person would.
func (n *node) destroyNewest(v volume) state.GUID {
	n.t.Helper()
	c := n.copy(v)
	for _, p := range c.Parts() {
		name := p.Dataset + "@" + p.Newest().Name
		if p.Newest().Held {
			n.zfs("release", "drover", name)
		}
		n.zfs("destroy", name)
	}
	return c.Newest().GUID
}

// sweeping is a catch-up of a controller that knows what all other copies rest on.
func (h handover) sweeping(k int) Result {
	h.from.t.Helper()
	s := h.from.to(h.to, state.CatchUp, h.v, h.e, roundName(h, k))
	s.Base, s.Sweep = h.to.copy(h.v).Newest().GUID, true
	return h.from.do(s)
}

func roundName(h handover, k int) string { return fmt.Sprintf("drover-%s-%d", h.next, k) }

// marked fails unless each part of a copy has one bookmark, of its newest snapshot.
func marked(t *testing.T, c *state.Copy) {
	t.Helper()
	for _, p := range c.Parts() {
		if len(p.Bookmarks) != 1 || p.Newest() == nil || !p.Marked(p.Newest().GUID) {
			t.Errorf("%s has the bookmarks %v and the snapshots %v", p.Dataset, p.Bookmarks, p.Snapshots)
		}
	}
}

// Whoever destroys the snapshots that both sides have at the source, what follows is an increment: in a round, in the window, and on the way
// back.
func TestBookmarksOutliveTheirSnapshots(t *testing.T) {
	for name, children := range map[string][]string{"alone": nil, "with what is below": {"a", "a/b"}} {
		t.Run(name, func(t *testing.T) {
			h := tree(t, children...)
			h.from.fill(h.v, "big", 8<<20)
			marked(t, h.replicate().Copy)
			h.from.destroyNewest(h.v)
			h.from.write(h.v, "round", "one")
			marked(t, h.sweeping(1).Copy) // the older bookmark has gone
			h.from.destroyNewest(h.v)
			h.from.write(h.v, "last", "two")
			promoted := h.giveOver().Copy
			if promoted.Bookmarks != nil || h.to.read(h.v, "round") != "one" || h.to.read(h.v, "last") != "two" {
				t.Errorf("got %v", promoted.Bookmarks)
			}

			keep := h.to.step(state.KeepBase, h.v, state.Primary, h.next)
			for _, p := range promoted.Parts() {
				keep.Keep = append(keep.Keep, p.Newest().GUID)
			}
			for range 2 {
				marked(t, h.to.do(keep).Copy)
			}
			base := h.to.destroyNewest(h.v)
			h.to.write(h.v, "there", "three")
			rejoin := h.from.step(state.Rejoin, h.v, state.Retired, "0.1")
			rejoin.Peer, rejoin.PeerAddress, rejoin.Base = h.to.id(), h.to.addr(), base
			h.from.do(rejoin)
			back := handover{v: h.v, from: h.to, to: h.from, e: "0.2", next: "0.3"}
			back.sweeping(1)
			back.giveOver()
			if got := h.from.read(h.v, "there"); got != "three" {
				t.Errorf("came back with %q", got)
			}
		})
	}
}

// An increment from a bookmark that is cut goes on where it was.
func TestStreamFromABookmarkResumes(t *testing.T) {
	h := pair(t)
	h.replicate()
	h.from.destroyNewest(h.v)
	h.from.fill(h.v, "more", 4<<20)
	h.from.faults(zfsim.Faults{Rules: []zfsim.Rule{{Command: "send", Args: "#drover-", Action: zfsim.ActKillStream, Bytes: 2 << 20}}})
	s := h.from.to(h.to, state.CatchUp, h.v, h.e, "drover-0.2-1")
	if _, err := h.from.try(s); err == nil {
		t.Fatal("a cut stream looks like one that ended")
	}
	if h.to.copy(h.v).ResumeToken == "" {
		t.Fatal("nothing to resume")
	}
	h.to.faults(zfsim.Faults{Rules: []zfsim.Rule{{Command: "receive", Args: "-A", Action: zfsim.ActExit1}}})
	if r := h.from.do(s); !r.Peer.Complete(r.Copy) {
		t.Errorf("the target has %+v", r.Peer)
	}
	if hits, err := zfsim.ReachedFaults(h.to.machine.Dir); err != nil || hits[0] != 0 {
		t.Errorf("the half-received stream was dropped: %v, %v", hits, err)
	}
}
