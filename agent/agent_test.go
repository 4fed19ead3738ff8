package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/drover-project/drover/certs"
	"github.com/drover-project/drover/lab/zfsim"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// bench is a set of nodes with agents, real TLS between them, and the stand-in for ZFS under them.
type bench struct {
	t      testing.TB
	ca     *certs.Authority
	client *Client
	term   state.Term
}

// node is one node of a bench.
type node struct {
	*bench
	name    string
	machine *zfsim.Machine
	options Options
	agent   *Agent
	stop    func()
}

// testWriter logs to the test, and only if it fails.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}

func newBench(t testing.TB) *bench {
	t.Helper()
	ca, err := certs.NewAuthority(filepath.Join(t.TempDir(), "ca"))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, ca: ca, term: 1}
	b.client = b.clientOf(certs.Controller)
	return b
}

func (b *bench) clientOf(role certs.Role) *Client {
	b.t.Helper()
	c := NewClient(b.tls(role), slog.New(slog.DiscardHandler))
	b.t.Cleanup(c.Close)
	return c
}

// tls is the configuration of a client with a certificate of its own.
func (b *bench) tls(role certs.Role) *tls.Config {
	b.t.Helper()
	config, err := certs.ClientConfig(b.certificate(role, string(role)), certs.Agent)
	if err != nil {
		b.t.Fatal(err)
	}
	return config
}

func (b *bench) certificate(role certs.Role, name string) string {
	b.t.Helper()
	dir := filepath.Join(b.t.TempDir(), "tls")
	id := certs.Identity{Role: role, Name: name}
	if role != certs.Operator {
		id.Hosts = []string{"127.0.0.1", "localhost"}
	}
	if err := b.ca.Issue(dir, id, time.Hour); err != nil {
		b.t.Fatal(err)
	}
	return dir
}

// node starts a node with a pool of 1 GiB.
func (b *bench) node(name string) *node {
	b.t.Helper()
	m := zfsim.NewMachine(b.t, zfsim.Build(b.t), "tank", 1<<30)
	n := &node{bench: b, name: name, machine: m, options: Options{
		Root: "tank/drover", Mounts: filepath.Join(m.Mounts, "drover"), Hostname: state.Hostname(name), Listen: "127.0.0.1:0",
		Certs: b.certificate(certs.Agent, name), Dir: b.t.TempDir(),
		ZFS: zfs.Options{Path: m.Bin, Env: []string{zfsim.EnvDir + "=" + m.Dir}},
		Log: slog.New(slog.NewTextHandler(testWriter{b.t}, nil)).With("at", name),
	}}
	n.start()
	return n
}

// start starts the node's agent; it is stopped with the test, or by stop.
func (n *node) start() {
	n.t.Helper()
	a, err := New(n.options)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stopped := false
	n.agent, n.stop = a, func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			n.t.Errorf("agent on %s: %v", n.name, err)
		}
	}
	n.t.Cleanup(n.stop)
	if _, err := n.client.Node(n.t.Context(), a.Addr()); err != nil {
		n.t.Fatalf("agent on %s does not start: %v", n.name, err)
	}
}

// restart stops the agent and starts it again on the same address.
func (n *node) restart() {
	n.t.Helper()
	n.options.Listen = n.agent.Addr()
	n.stop()
	n.start()
}

func (n *node) id() state.NodeID { return n.agent.id }

func (n *node) addr() string { return n.agent.Addr() }

// zfs runs a command on the node's machine, as an operator would.
func (n *node) zfs(args ...string) string {
	n.t.Helper()
	out, err := n.machine.Run("zfs", args...)
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

// do has the node's agent do a step that must succeed.
func (n *node) do(s state.Step) Result {
	n.t.Helper()
	r, err := n.try(s)
	if err != nil {
		n.t.Fatalf("%s on %s: %v", s.Kind, n.name, err)
	}
	return r
}

func (n *node) try(s state.Step) (Result, error) {
	return n.client.Do(n.t.Context(), n.addr(), n.term, s)
}

func (n *node) copy(v volume) *state.Copy {
	n.t.Helper()
	c, err := n.client.Copy(n.t.Context(), n.addr(), v.uuid)
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

// want fails unless the node's copy has this pair.
func (n *node) want(v volume, role state.Role, epoch string) *state.Copy {
	n.t.Helper()
	c := n.copy(v)
	if c.Role != role || c.Epoch.String() != epoch {
		n.t.Fatalf("%s on %s is (%s, %s), want (%s, %s)", v.name, n.name, c.Role, c.Epoch, role, epoch)
	}
	return c
}

// volume is a volume of an app; lead is the app's first one.
type volume struct {
	name, lead state.VolumeName
	uuid       state.UUID
}

var todo = volume{name: "tododata", lead: "tododata", uuid: "0a0a0a0a-1111-2222-3333-444444444444"}

func epoch(t testing.TB, s string) state.Epoch {
	t.Helper()
	e, err := state.ParseEpoch(s)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (b *bench) step(kind state.StepKind, v volume, role state.Role, e string) state.Step {
	b.t.Helper()
	s := state.Step{Kind: kind, App: "/todo/db", Volume: v.name, UUID: v.uuid, Lead: v.lead, Move: "todo_db-0.2", Why: "a test wants it"}
	if role != "" {
		s.Expect = state.Expect{Role: role, Epoch: epoch(b.t, e)}
	}
	return s
}

// create makes a volume at epoch 0.1 on the node and returns the folder that an app sees.
func (n *node) create(v volume) string {
	n.t.Helper()
	s := n.step(state.CreateVolume, v, "", "")
	s.Epoch, s.Properties, s.Quota = epoch(n.t, "0.1"), map[string]string{"recordsize": "16384"}, 200<<20
	c := n.do(s).Copy
	return filepath.Join(c.Mountpoint, dataFolder)
}

func (n *node) write(v volume, file, text string) {
	n.t.Helper()
	path := filepath.Join(n.copy(v).Mountpoint, dataFolder, file)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) read(v volume, file string) string {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.copy(v).Mountpoint, dataFolder, file))
	if err != nil {
		n.t.Fatal(err)
	}
	return string(b)
}

// to makes a stream step that leads to another node.
func (n *node) to(other *node, kind state.StepKind, v volume, e, snapshot string) state.Step {
	n.t.Helper()
	role := state.Primary
	if kind == state.LastIncrement {
		role = state.Fenced
	}
	s := n.step(kind, v, role, e)
	s.Peer, s.PeerAddress, s.Snapshot = other.id(), other.addr(), snapshot
	return s
}

// handover is one volume on its way from one node to another at an epoch.
type handover struct {
	v        volume
	from, to *node
	e, next  string
}

func (h handover) replicate() Result {
	h.from.t.Helper()
	return h.from.do(h.from.to(h.to, state.Replicate, h.v, h.e, "drover-"+h.next+"-0"))
}

func (h handover) catchUp(k int) Result {
	h.from.t.Helper()
	s := h.from.to(h.to, state.CatchUp, h.v, h.e, fmt.Sprintf("drover-%s-%d", h.next, k))
	if base := h.to.copy(h.v).Newest(); base != nil {
		s.Base = base.GUID
	}
	return h.from.do(s)
}

func (h handover) fenceStep() state.Step {
	s := h.from.step(state.Fence, h.v, state.Primary, h.e)
	s.Snapshot, s.Peer, s.PeerAddress = "drover-"+h.next+"-final", h.to.id(), h.to.addr()
	dst, err := h.to.client.Copy(h.from.t.Context(), h.to.addr(), h.v.uuid)
	if err != nil && !isKind(err, ErrNotFound) {
		h.from.t.Fatal(err)
	}
	if err == nil && dst.Newest() != nil {
		s.Base = dst.Newest().GUID
	}
	return s
}

func (h handover) lastStep() state.Step {
	h.from.t.Helper()
	s := h.from.to(h.to, state.LastIncrement, h.v, h.e, "drover-"+h.next+"-final")
	if base := h.to.copy(h.v).Newest(); base != nil {
		s.Base = base.GUID
	}
	return s
}

func (h handover) evidence() *state.Release {
	h.from.t.Helper()
	return &state.Release{From: h.from.id(), To: h.to.id(), Epoch: epoch(h.from.t, h.next), GUID: h.from.copy(h.v).Newest().GUID}
}

func (h handover) releaseStep() state.Step {
	h.from.t.Helper()
	s := h.from.step(state.ReleaseVolume, h.v, state.Fenced, h.e)
	s.Peer, s.Epoch, s.Release = h.to.id(), epoch(h.from.t, h.next), h.evidence()
	return s
}

func (h handover) promoteStep() state.Step {
	h.from.t.Helper()
	dst := h.to.copy(h.v)
	s := h.to.step(state.Promote, h.v, dst.Role, dst.Epoch.String())
	s.Peer, s.Epoch, s.Release = h.from.id(), epoch(h.from.t, h.next), h.evidence()
	return s
}

func (h handover) retireStep() state.Step {
	s := h.from.step(state.Retire, h.v, state.Released, h.e)
	s.Peer, s.Taken = h.to.id(), &state.Taken{Node: h.to.id(), Epoch: epoch(h.from.t, h.next)}
	return s
}

func (h handover) swearStep() state.Step {
	s := h.to.step(state.SwearOff, h.v, "", "")
	s.Epoch = epoch(h.to.t, h.next)
	return s
}

func (h handover) backStep(role state.Role, at string, refusal *state.Refusal) state.Step {
	s := h.from.step(state.GoBack, h.v, role, h.e)
	s.Epoch, s.Refusal = epoch(h.from.t, at), refusal
	return s
}

// upToFence brings a new volume from its creation to a fenced source whose target lacks the last increment.
func upToFence(t testing.TB) handover {
	t.Helper()
	b := newBench(t)
	h := handover{v: todo, from: b.node("node1"), to: b.node("node2"), e: "0.1", next: "0.2"}
	h.from.create(h.v)
	h.from.write(h.v, "first", "one")
	h.replicate()
	h.from.write(h.v, "last", "two")
	h.from.do(h.fenceStep())
	return h
}

// upToRelease goes on to the release.
func upToRelease(t testing.TB) handover {
	t.Helper()
	h := upToFence(t)
	h.from.do(h.lastStep())
	h.from.do(h.releaseStep())
	return h
}

func isKind(err, kind error) bool { return errors.Is(err, kind) }
