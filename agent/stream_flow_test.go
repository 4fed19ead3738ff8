package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/drover-project/drover/agent/stream"
	"github.com/drover-project/drover/certs"
	"github.com/drover-project/drover/lab/zfsim"
	"github.com/drover-project/drover/state"
)

// until waits for a condition that another process brings about.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		case <-tick.C:
		}
	}
}

func (n *node) faults(f zfsim.Faults) {
	n.t.Helper()
	if err := zfsim.WriteFaults(n.machine.Dir, f); err != nil {
		n.t.Fatal(err)
	}
}

// fill writes a file of random bytes, which do not compress.
func (n *node) fill(v volume, file string, size int) []byte {
	n.t.Helper()
	b := make([]byte, size)
	rand.Read(b) // it never fails
	n.write(v, file, string(b))
	return b
}

// pair is a volume with 8 MiB on one node that another does not have yet.
func pair(t testing.TB) handover {
	t.Helper()
	b := newBench(t)
	h := handover{v: todo, from: b.node("node1"), to: b.node("node2"), e: "0.1", next: "0.2"}
	h.from.create(h.v)
	h.from.fill(h.v, "big", 8<<20)
	return h
}

func (h handover) replicateStep() state.Step {
	return h.from.to(h.to, state.Replicate, h.v, h.e, "drover-"+h.next+"-0")
}

// resumed resumes the stream and fails if it began anew.
func (h handover) resumed() {
	t := h.from.t
	t.Helper()
	half := h.to.copy(h.v)
	if half.ResumeToken == "" || half.Role != state.Standby || len(half.Snapshots) != 0 {
		t.Fatalf("nothing to resume: %+v", half)
	}
	h.from.faults(zfsim.Faults{})
	h.to.faults(zfsim.Faults{Rules: []zfsim.Rule{{Command: "receive", Args: "-A", Action: zfsim.ActExit1}}})
	s := h.replicateStep()
	s.Kind, s.Token = state.Resume, half.ResumeToken
	r := h.from.do(s)
	if r.Peer.ResumeToken != "" || r.Peer.Newest().GUID != r.Copy.Newest().GUID {
		t.Errorf("after resuming: %+v", r.Peer)
	}
	if hits, err := zfsim.ReachedFaults(h.to.machine.Dir); err != nil || hits[0] != 0 {
		t.Errorf("the half-received stream was dropped: %v, %v", hits, err)
	}
}

func TestCutStreamResumes(t *testing.T) {
	for name, rule := range map[string]struct {
		at   func(handover) *node
		rule zfsim.Rule
	}{
		"zfs send is killed":    {func(h handover) *node { return h.from }, zfsim.Rule{Command: "send", Args: "drover-0.2-0", Action: zfsim.ActKillStream, Bytes: 4 << 20}},
		"zfs receive is killed": {func(h handover) *node { return h.to }, zfsim.Rule{Command: "receive", Action: zfsim.ActKillStream, Bytes: 4 << 20}},
	} {
		t.Run(name, func(t *testing.T) {
			h := pair(t)
			rule.at(h).faults(zfsim.Faults{Rules: []zfsim.Rule{rule.rule}})
			if _, err := h.from.try(h.replicateStep()); err == nil {
				t.Fatal("a cut stream looks like one that ended")
			}
			h.resumed()
		})
	}
}

// slow makes a node's streams slow enough to be met half-way.
func (n *node) slow() {
	n.faults(zfsim.Faults{BytesPerSecond: map[string]int64{"tank": 1 << 20}})
}

func (n *node) streams() []state.Stream {
	n.t.Helper()
	seen, err := n.client.Node(n.t.Context(), n.addr())
	if err != nil {
		n.t.Fatal(err)
	}
	return seen.Streams
}

func TestStreamBelongsToNobody(t *testing.T) {
	h := pair(t)
	h.from.slow()
	ctx, leave := context.WithCancelCause(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := h.from.client.Do(ctx, h.from.addr(), 1, h.replicateStep())
		left <- err
	}()
	until(t, "the stream is under way", func() bool { s := h.from.streams(); return len(s) == 1 && s[0].Bytes > 1<<20 })
	leave(errors.New("the controller was killed"))
	if err := <-left; !isKind(err, ErrUnknown) {
		t.Errorf("who left was told %v", err)
	}
	fence := h.fenceStep()
	if _, err := h.from.try(fence); !isKind(err, ErrBusy) {
		t.Errorf("a fence while the stream runs: %v", err)
	}
	if !h.to.copy(h.v).Receiving {
		t.Error("the target does not say that it receives")
	}
	another := h.replicateStep()
	another.Snapshot = "drover-0.2-1"
	if _, err := h.from.try(another); !isKind(err, ErrBusy) {
		t.Errorf("another stream of the volume: %v", err)
	}
	before := h.from.streams()
	h.from.faults(zfsim.Faults{})
	r := h.from.do(h.replicateStep()) // joins
	if len(before) != 1 || r.Peer.Newest().GUID != r.Copy.Newest().GUID {
		t.Errorf("joined %+v, ended with %+v", before, r.Peer)
	}
}

func TestTargetStopsInTheMiddle(t *testing.T) {
	h := pair(t)
	h.from.slow()
	step := h.replicateStep()
	failed := make(chan error, 1)
	go func() {
		_, err := h.from.client.Do(context.Background(), h.from.addr(), 1, step)
		failed <- err
	}()
	until(t, "half has arrived", func() bool { s := h.from.streams(); return len(s) == 1 && s[0].Bytes > 3<<20 })
	h.to.restart()
	if err := <-failed; err == nil {
		t.Fatal("a cut stream looks like one that ended")
	}
	h.resumed()
}

// A restarted agent does not touch a volume while a child of its predecessor lives.
func TestOrphanOfAnEarlierAgent(t *testing.T) {
	h := upToFence(t)
	gate := filepath.Join(t.TempDir(), "hangs")
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.to.stop()
	earlier := locks{dir: filepath.Join(h.to.options.Dir, "locks")}
	lock, err := earlier.take(t.Context(), h.v.uuid, "a receive")
	if err != nil {
		t.Fatal(err)
	}
	h.to.faults(zfsim.Faults{Rules: []zfsim.Rule{{Command: "set", Args: "drover:test", Action: zfsim.ActHangBefore, Until: gate}}})
	orphan := exec.Command(filepath.Join(h.to.machine.Bin, "zfs"), "set", "drover:test=1", "tank/drover/tododata")
	orphan.Env, orphan.ExtraFiles = h.to.machine.Env, []*os.File{lock.file} // as zfs.Holding passes it on
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the child hangs", func() bool {
		hits, err := zfsim.ReachedFaults(h.to.machine.Dir)
		return err == nil && hits[0] == 1
	})
	lock.release() // the earlier agent is dead, its child is not
	h.to.options.Listen = h.to.agent.Addr()
	h.to.start()
	if !h.to.copy(h.v).Receiving {
		t.Error("the orphan is not seen")
	}
	if _, err := h.from.try(h.lastStep()); !isKind(err, ErrBusy) {
		t.Errorf("while the orphan lives: %v", err)
	}
	h.to.orphaned(h.v, orphan.Process.Pid)
	if err := os.Remove(gate); err != nil {
		t.Fatal(err)
	}
	if err := orphan.Wait(); err != nil {
		t.Fatal(err)
	}
	h.from.do(h.lastStep())
}

// orphaned checks that the node says which command keeps a volume locked.
func (n *node) orphaned(v volume, pid int) {
	n.t.Helper()
	seen, err := n.client.Node(n.t.Context(), n.addr())
	if err != nil {
		n.t.Fatal(err)
	}
	if len(seen.Orphans) != 1 || seen.Orphans[0].UUID != v.uuid {
		n.t.Fatalf("orphans: %+v", seen.Orphans)
	}
	if runtime.GOOS != "linux" {
		return
	}
	o := seen.Orphans[0]
	if age := time.Since(o.Since); o.PID != pid || !strings.Contains(o.Command, "zfs set drover:test=1") || age < -time.Minute || age > time.Hour {
		n.t.Errorf("the orphan is %s, pid %d", o, pid)
	}
}

// sender offers streams by hand, with the certificate of an agent.
type sender struct {
	*Agent
	t testing.TB
}

func (b *bench) sender() sender {
	config, err := certs.ClientConfig(b.certificate(certs.Agent, "mallory"), certs.Agent)
	if err != nil {
		b.t.Fatal(err)
	}
	return sender{&Agent{streams: newStreamDialer(config), log: slog.New(slog.DiscardHandler)}, b.t}
}

// give offers a stream, writes what f writes, and returns the target's reply.
func (s sender) give(to *node, q receiveRequest, f func(io.WriteCloser)) error {
	s.t.Helper()
	conn, there, err := s.offer(s.t.Context(), to.addr(), q)
	if err != nil {
		return err
	}
	if there != nil {
		return errors.New("there already")
	}
	defer conn.Close() // some have closed it
	f(conn)
	if reply := readReply(conn, func(stream.Pulse) {}); reply.Error != nil {
		return reply.Error
	}
	return nil
}

// offered is a whole stream of the source's first snapshot, and how it is offered.
func (h handover) offered() (whole string, q receiveRequest) {
	t := h.from.t
	t.Helper()
	h.from.zfs("snapshot", "tank/drover/tododata@s")
	whole, err := h.from.machine.Run("zfs", "send", "-L", "-c", "-e", "tank/drover/tododata@s")
	if err != nil {
		t.Fatal(err)
	}
	c := h.from.copy(h.v)
	q = receiveRequest{Volume: h.v.name, UUID: h.v.uuid, Lead: h.v.lead, From: h.from.id(), Epoch: c.Epoch, To: c.Newest().GUID, SendFlags: sendFlags}
	return whole, q
}

func TestBadStreamsAreRefused(t *testing.T) {
	h := pair(t)
	s := h.from.sender()
	whole, good := h.offered()
	write := func(conn io.WriteCloser, b string) *stream.Writer {
		w := stream.NewWriter(conn)
		io.WriteString(w, b) // the target may have hung up
		return w
	}
	other := good
	other.To++
	for name, bad := range map[string]struct {
		q receiveRequest
		f func(io.WriteCloser)
	}{
		"cut":              {good, func(w io.WriteCloser) { write(w, whole[:len(whole)/2]); w.Close() }},
		"cut at the end":   {good, func(w io.WriteCloser) { write(w, whole); w.Close() }},
		"empty":            {good, func(w io.WriteCloser) { _ = write(w, "").End() }},
		"garbage":          {good, func(w io.WriteCloser) { _ = write(w, string(bytes.Repeat([]byte("x"), 4096))).End() }},
		"another volume":   {other, func(w io.WriteCloser) { _ = write(w, whole).End() }},
		"padded":           {good, func(w io.WriteCloser) { _ = write(w, whole+"padding").End() }},
		"the sender fails": {good, func(w io.WriteCloser) { _ = write(w, whole[:len(whole)/2]).Fail(errors.New("no")) }},
		"not frames":       {good, func(w io.WriteCloser) { io.WriteString(w, whole) }},
	} {
		err := s.give(h.to, bad.q, bad.f)
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		h.to.idle(h.v)
		cp, cerr := h.to.client.Copy(t.Context(), h.to.addr(), h.v.uuid)
		switch {
		case isKind(cerr, ErrNotFound):
		case cerr != nil:
			t.Fatal(cerr)
		case cp.Role != state.Standby || !cp.Readonly:
			t.Errorf("%s left %+v", name, cp)
		case cp.ResumeToken != "":
			abort := h.to.step(state.AbortRecv, h.v, state.Standby, "0.1")
			if r := h.to.do(abort); !r.Gone {
				t.Errorf("%s: after the abort: %+v", name, r)
			}
		}
		if cp != nil && cp.Newest() != nil { // all of it arrived: what counts is the guid, not the farewell
			h.to.zfs("destroy", "-r", "tank/drover/tododata")
		}
	}
	h.replicate() // nothing of it is in the way
}

// idle waits until no receive holds the volume's lock: a sender that hung up did not hear the end of it.
func (n *node) idle(v volume) {
	n.t.Helper()
	l := locks{dir: n.agent.locks.dir}
	until(n.t, "the receive has ended", func() bool { return !n.agent.under.receiving(v.uuid) && !l.orphaned(v.uuid) })
}

func TestReceiveIsGuarded(t *testing.T) {
	h := upToFence(t)
	s := h.from.sender()
	c := h.to.copy(h.v)
	good := receiveRequest{Volume: h.v.name, UUID: h.v.uuid, From: h.from.id(), Epoch: c.Epoch, To: 4711, Base: c.Newest().GUID}
	never := func(io.WriteCloser) { t.Error("the target takes a stream that it should refuse") }
	for name, c := range map[string]struct {
		q    receiveRequest
		kind error
	}{
		"onto a fenced copy": {good, ErrUnexpected},
		"full over a copy":   {receiveRequest{Volume: h.v.name, UUID: h.v.uuid, From: "x", Epoch: c.Epoch, To: 4711}, ErrUnexpected},
		"unknown base":       {receiveRequest{Volume: h.v.name, UUID: h.v.uuid, From: "x", Epoch: c.Epoch, To: 4711, Base: 1}, ErrUnexpected},
		"no base here":       {receiveRequest{Volume: "new", UUID: "0b0b", From: "x", Epoch: c.Epoch, To: 4711, Base: 1}, ErrUnexpected},
		"foreign token":      {receiveRequest{Volume: h.v.name, UUID: h.v.uuid, From: "x", Epoch: c.Epoch, To: 4711, Token: "1-a-b-c"}, ErrUnexpected},
		"too much":           {receiveRequest{Volume: "new", UUID: "0b0b", From: "x", Epoch: c.Epoch, To: 4711, Bytes: 1 << 40}, ErrNoSpace},
		"no guid":            {receiveRequest{Volume: "new", UUID: "0b0b", From: "x", Epoch: c.Epoch}, ErrBadRequest},
		"hostile flags":      {receiveRequest{Volume: "new", UUID: "0b0b", From: "x", Epoch: c.Epoch, To: 1, SendFlags: "-F"}, ErrBadRequest},
		"role by property":   {receiveRequest{Volume: "new", UUID: "0b0b", From: "x", Epoch: c.Epoch, To: 1, Properties: map[string]string{"drover:role": "primary"}}, ErrBadRequest},
	} {
		at := h.to
		if name == "onto a fenced copy" {
			at = h.from
		}
		if err := s.give(at, c.q, never); !isKind(err, c.kind) {
			t.Errorf("%s: %v, want %v", name, err, c.kind)
		}
	}
}

func TestDatasetInTheWay(t *testing.T) {
	h := pair(t)
	h.to.zfs("create", "-o", "canmount=noauto", "tank/drover/tododata")
	if _, err := h.from.try(h.replicateStep()); !isKind(err, ErrInTheWay) {
		t.Errorf("replicate onto a foreign dataset: %v", err)
	}
	aside := h.to.step(state.SetAside, h.v, state.Standby, "0.1")
	if _, err := h.to.try(aside); !isKind(err, ErrInTheWay) {
		t.Errorf("set a foreign dataset aside: %v", err)
	}
	h.to.zfs("rename", "tank/drover/tododata", "tank/drover/mine")
	h.replicate()
}

func TestDivergedStandbyIsSetAside(t *testing.T) {
	h := pair(t)
	h.replicate()
	h.to.zfs("set", "readonly=off", "tank/drover/tododata") // somebody meddles
	h.to.zfs("mount", "tank/drover/tododata")
	h.to.write(h.v, "meddled", "x")
	h.to.zfs("snapshot", "tank/drover/tododata@meddled")
	h.to.zfs("unmount", "tank/drover/tododata")
	h.to.zfs("set", "readonly=on", "tank/drover/tododata")
	h.from.write(h.v, "more", "y")
	s := h.from.to(h.to, state.CatchUp, h.v, h.e, "drover-0.2-1")
	if _, err := h.from.try(s); !isKind(err, ErrRefused) {
		t.Fatalf("a catch-up onto a changed copy: %v", err)
	}
	aside := h.to.step(state.SetAside, h.v, state.Standby, "0.1")
	if r := h.to.do(aside); !r.Gone {
		t.Fatalf("set aside: %+v", r)
	}
	if !h.to.do(aside).Gone {
		t.Error("the second time")
	}
	h.zfsHas("tank/drover/tododata.aside-1@meddled")
	h.replicate()
	h.catchUp(1)
}

func (h handover) zfsHas(name string) {
	h.from.t.Helper()
	h.to.zfs("list", "-t", "all", name)
}
