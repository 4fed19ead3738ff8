package agent

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/drover-project/drover/lab/zfsim"
	"github.com/drover-project/drover/state"
)

// awaitLine waits until the line that a fence opens is there at both ends, and the target's `zfs receive` waits.
func (h handover) awaitLine() {
	h.from.t.Helper()
	until(h.from.t, "the line is open", h.hasLine)
}

func (h handover) hasLine() bool {
	ls := &h.from.agent.lines
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.open[h.v.uuid]
	if l == nil {
		return false
	}
	select {
	case <-l.ready:
		return l.conn != nil && h.to.reads(h.v)
	default:
		return false
	}
}

// waits reports whether a line waits at a node.
func (n *node) waits(v volume) bool {
	n.agent.under.mu.Lock()
	defer n.agent.under.mu.Unlock()
	return n.agent.under.idle[v.uuid] != nil
}

// reads reports whether the zfs receive of a line waits at a node.
func (n *node) reads(v volume) bool {
	n.agent.under.mu.Lock()
	w := n.agent.under.idle[v.uuid]
	n.agent.under.mu.Unlock()
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open
}

// lined brings a volume to its fence, with the line of its last increment open.
func lined(t testing.TB) handover {
	t.Helper()
	h := upToFence(t)
	h.awaitLine()
	return h
}

// reached are the epoch and the roles of a handover that went through.
func (h handover) through() {
	h.from.t.Helper()
	h.from.do(h.lastStep())
	h.from.do(h.releaseStep())
	h.to.do(h.promoteStep())
	h.from.do(h.retireStep())
	h.from.want(h.v, state.Retired, "0.1")
	h.to.want(h.v, state.Primary, "0.2")
	if got := h.to.read(h.v, "last"); got != "two" {
		h.from.t.Errorf("what was written last is %q", got)
	}
	if h.hasLine() || h.to.waits(h.v) {
		h.from.t.Error("a line is left")
	}
}

// An increment comes by the line if there is one, and whatever became of the line it comes.
func TestLastIncrementWhateverBecameOfItsLine(t *testing.T) {
	for name, cut := range map[string]func(handover){
		"open":                     func(handover) {},
		"the target let it go":     func(h handover) { h.to.agent.under.letGo(h.v.uuid); h.to.idle(h.v) },
		"the target lets it go":    func(h handover) { h.to.agent.under.letGo(h.v.uuid) },
		"the target restarted":     func(h handover) { h.to.restart() },
		"the source restarted":     func(h handover) { h.from.restart() },
		"the source closed it":     func(h handover) { h.from.agent.lines.drop(h.v.uuid) },
		"it was open for too long": func(h handover) { l := h.from.agent.lines.open[h.v.uuid]; h.from.agent.lines.expire(l); <-l.gone },
		"the fence again":          func(h handover) { h.from.do(again(h.fenceStep())) },
		"asked at the target":      func(h handover) { h.to.copy(h.v) },
		"a half-received stream is dropped at the target": func(h handover) {
			h.to.do(h.to.step(state.AbortRecv, h.v, state.Standby, "0.1"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := lined(t)
			if h.to.copy(h.v).Receiving {
				t.Error("a line that waits looks like a receive")
			}
			cut(h)
			h.through()
		})
	}
}

// account is that of a volume's own dataset, which is on its way.
func (n *node) account(v volume) *account {
	n.agent.under.mu.Lock()
	o := n.agent.under.out[v.uuid]
	n.agent.under.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.parts[0]
}

// What went over a line that broke in mid-stream is not counted: it comes again, or the target had it before.
func TestBrokenLineCountsOnce(t *testing.T) {
	h := upToFence(t)
	h.from.do(h.backStep(state.Fenced, "0.2", nil))
	h.e, h.next = "0.2", "0.3"
	h.catchUp(0)
	const size = 8 << 20
	h.from.fill(h.v, "more", size)
	h.from.do(h.fenceStep())
	h.awaitLine()
	gate := filepath.Join(t.TempDir(), "hangs")
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.from.faults(zfsim.Faults{Rules: []zfsim.Rule{
		{Command: "send", Args: "-final", Action: zfsim.ActKillStream, Bytes: size / 2, Times: 1},
		{Command: "send", Args: "-t", Action: zfsim.ActHangBefore, Until: gate}, // by another connection
	}})
	done := h.from.begin(h.lastStep())
	until(t, "the line is broken", func() bool {
		hits, err := zfsim.ReachedFaults(h.from.machine.Dir)
		return err == nil && hits[1] > 0
	})
	account := h.from.account(h.v)
	if err := errors.Join(os.Remove(gate), <-done); err != nil {
		t.Fatal(err)
	}
	if s := account.now(); s.Resumed == 0 || s.Bytes+s.Resumed < size || s.Bytes+s.Resumed > size+size/8 {
		t.Errorf("counted %+v of %d bytes", s, size)
	}
}

// again makes a fence's step one for a copy that is fenced already.
func again(s state.Step) state.Step {
	s.Expect.Role = state.Fenced
	return s
}

func TestLineKeepsNobodyWaiting(t *testing.T) {
	t.Run("back before the release", func(t *testing.T) {
		h := lined(t)
		h.from.do(h.backStep(state.Fenced, "0.2", nil))
		h.from.want(h.v, state.Primary, "0.2")
		if h.hasLine() {
			t.Error("the source keeps its line")
		}
		h.to.idle(h.v)
	})
	t.Run("sworn off", func(t *testing.T) {
		h := lined(t)
		if r := h.to.do(h.swearStep()); r.Refused == nil {
			t.Errorf("%+v", r)
		}
		h.to.idle(h.v)
	})
	t.Run("nobody comes", func(t *testing.T) {
		h := upToFence(t)
		h.from.agent.lines.drop(h.v.uuid)
		h.to.agent.under.life = time.Millisecond
		h.from.do(again(h.fenceStep()))
		until(t, "the target has let go", func() bool { return !h.to.waits(h.v) })
		h.to.idle(h.v)
		h.through()
	})
	t.Run("the source forgets it", func(t *testing.T) {
		h := upToFence(t)
		h.from.agent.lines.drop(h.v.uuid)
		h.from.agent.lines.life = time.Millisecond
		h.from.do(again(h.fenceStep()))
		until(t, "the source has closed it", func() bool { return !h.hasLine() && !h.to.waits(h.v) })
		h.through()
	})
}
