package agent

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drover-project/drover/lab/zfsim"
	"github.com/drover-project/drover/state"
)

// retired is a tree that has moved, with its old copy and the step that deletes it.
func retired(t *testing.T) (handover, state.Step) {
	t.Helper()
	h := tree(t, "logs")
	h.replicate()
	h.giveOver()
	del := h.from.step(state.DeleteOld, h.v, state.Retired, "0.1")
	del.Peer, del.PeerAddress = h.to.id(), h.to.addr()
	return h, del
}

// Whatever speaks against it keeps an old copy from being deleted; when nothing does any more it goes as a whole.
func TestDeleteIsRefused(t *testing.T) {
	h, del := retired(t)
	logs, final := home+"/logs", home+"/logs@drover-0.2-final"
	for _, c := range []struct {
		name string
		make [][]string
		kind error
		says string
		undo [][]string
	}{
		{"somebody works with a clone", [][]string{{"clone", final, "tank/copy"}}, ErrRefused, "tank/copy is a clone of " + final, [][]string{{"destroy", "tank/copy"}}},
		{"somebody holds a snapshot", [][]string{{"hold", "keep", final}}, ErrRefused, "somebody holds " + final, [][]string{{"release", "keep", final}}},
		{"a dataset of its own", [][]string{{"create", "-u", logs + "/mine"}}, ErrRefused, logs + "/mine is not on the primary", [][]string{{"destroy", logs + "/mine"}}},
		{"a snapshot of its own", [][]string{{"snapshot", logs + "@mine"}}, ErrRefused, "the newest snapshot of " + logs + " is not on the primary", [][]string{{"destroy", logs + "@mine"}}},
	} {
		for _, args := range c.make {
			h.from.zfs(args...)
		}
		if _, err := h.from.try(del); !isKind(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
		for _, args := range c.undo {
			h.from.zfs(args...)
		}
	}
	h.deleteUnderUsers(del)
	h.deleteWritten(del)
	if c := h.from.want(h.v, state.Retired, "0.1"); c.Dataset != home || len(c.Children) != 1 {
		t.Errorf("a refused deletion left %+v", c)
	}
	if !h.from.do(del).Gone {
		t.Error("not gone")
	}
	if left := h.from.zfs("list", "-H", "-o", "name", "-r", "tank/drover"); left != "tank/drover\n" {
		t.Errorf("left: %q", left)
	}
	if got := h.to.readIn("logs", "f"); got != "logs" {
		t.Errorf("the primary has %q", got)
	}
}

// deleteUnderUsers: somebody looks at the old copy of a child.
func (h handover) deleteUnderUsers(del state.Step) {
	t := h.from.t
	t.Helper()
	h.from.zfs("mount", home)
	h.from.zfs("mount", home+"/logs")
	end := h.from.process(filepath.Join(h.from.copy(h.v).Mountpoint, "logs"), "")
	if _, err := h.from.try(del); !isKind(err, ErrBusy) || !strings.Contains(err.Error(), "it is used by") {
		t.Errorf("under a user: %v", err)
	}
	end()
	h.from.zfs("unmount", home)
}

// deleteWritten: somebody wrote to the old copy of a child.
func (h handover) deleteWritten(del state.Step) {
	t := h.from.t
	t.Helper()
	h.from.zfs("set", "readonly=off", home+"/logs")
	h.from.zfs("mount", home)
	h.from.zfs("mount", home+"/logs")
	h.from.writeIn("logs", "mine", "only here")
	h.from.zfs("unmount", home)
	if _, err := h.from.try(del); !isKind(err, ErrRefused) || !strings.Contains(err.Error(), "bytes were written to "+home+"/logs") {
		t.Errorf("written to: %v", err)
	}
	h.from.zfs("rollback", home+"/logs@drover-0.2-final")
	h.from.zfs("inherit", "readonly", home+"/logs")
}

// A deletion that was cut short goes on with what it left in the trash.
func TestDeleteGoesOn(t *testing.T) {
	h, del := retired(t)
	h.from.faults(zfsim.Faults{Rules: []zfsim.Rule{{Command: "destroy", Args: ".trash-0.1", Action: zfsim.ActKillBefore}}})
	if _, err := h.from.try(del); err == nil {
		t.Fatal("deleted though destroy failed")
	}
	if c := h.from.want(h.v, state.Retired, "0.1"); c.Dataset != home+".trash-0.1" || len(c.Children) != 1 {
		t.Errorf("it is in the trash as %+v", c)
	}
	h.from.faults(zfsim.Faults{})
	if !h.from.do(del).Gone {
		t.Error("not gone")
	}
}

// A volume that moves to and fro does not gather snapshots: the newest common one, the one before and the last one stay, and
// what people have made.
func TestSnapshotsDoNotGather(t *testing.T) {
	h := tree(t, "logs")
	h.from.zfs("snapshot", "-r", home+"@by-hand")
	h.replicate()
	for n := 2; ; n++ {
		h.sweep()
		h.giveOver()
		for _, at := range []*node{h.from, h.to} {
			for _, p := range at.copy(h.v).Parts() {
				if len(p.Snapshots) > 5 || p.Snapshots[0].Name != "by-hand" {
					t.Fatalf("after %d moves %s on %s has %d snapshots: %v", n-1, p.Dataset, at.name, len(p.Snapshots), p.Snapshots)
				}
			}
		}
		if n == 7 {
			return
		}
		h = h.turned(n)
	}
}

// sweep catches up as the controller has it done when it knows all copies.
func (h handover) sweep() {
	h.from.t.Helper()
	s := h.from.to(h.to, state.CatchUp, h.v, h.e, "drover-"+h.next+"-1")
	base := h.to.copy(h.v)
	s.Sweep, s.Base = true, base.Newest().GUID
	for _, p := range base.Parts() {
		s.Keep = append(s.Keep, p.Newest().GUID)
	}
	h.from.do(s)
}

// turned is the n-th move, back to where the last one came from.
func (h handover) turned(n int) handover {
	h.from.t.Helper()
	old := h.from.copy(h.v)
	rejoin := h.from.step(state.Rejoin, h.v, state.Retired, old.Epoch.String())
	rejoin.Peer, rejoin.PeerAddress, rejoin.Base = h.to.id(), h.to.addr(), old.Newest().GUID
	h.from.do(rejoin)
	return handover{v: h.v, from: h.to, to: h.from, e: h.next, next: fmt.Sprintf("0.%d", n+1)}
}
