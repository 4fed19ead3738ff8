package cluster

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/drover-project/drover/agent"
	"github.com/drover-project/drover/certs"
	"github.com/drover-project/drover/lab/zfsim"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// Node is one node: a pool of the stand-in and an agent that can be stopped and started.
type Node struct {
	Machine *zfsim.Machine

	c       *Cluster
	name    state.Hostname
	addr    string
	options agent.Options
	bytes   *received
	stop    func()
}

func (c *Cluster) newNode(bin string, name state.Hostname, ip string) *Node {
	c.t.Helper()
	m := zfsim.NewMachine(c.t, bin, "tank", c.o.PoolSize)
	n := &Node{Machine: m, c: c, name: name, addr: ip + ":0", bytes: &received{}}
	n.options = agent.Options{
		Root: "tank/drover", Mounts: filepath.Join(m.Mounts, "drover"), Hostname: name,
		Certs: c.certificate(certs.Agent, string(name), ip), Dir: filepath.Join(c.dir, "agents", string(name)),
		ZFS: zfs.Options{Path: m.Bin, Env: []string{zfsim.EnvDir + "=" + m.Dir}},
		Log: slog.New(recording{c.logger(string(name)).Handler(), n.bytes}),
	}
	n.Start()
	c.t.Cleanup(n.Stop)
	return n
}

// Start starts the node's agent where it was before.
func (n *Node) Start() {
	n.c.t.Helper()
	n.options.Listen = n.addr
	a, err := agent.New(n.options)
	n.c.must(err)
	n.addr = a.Addr()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			n.c.t.Errorf("agent on %s: %v", n.name, err)
		}
	})
	_, err = n.c.agents.Node(n.c.t.Context(), n.addr) // it listens already, and answers when it serves
	n.c.must(err)
}

// Stop stops the node's agent; the node is silent then, and its tasks go on.
func (n *Node) Stop() {
	n.c.agents.Close()
	n.stop()
}

// ZFS runs zfs on the node as an operator would and returns what it printed.
func (n *Node) ZFS(args ...string) string {
	n.c.t.Helper()
	out, err := n.Machine.Run("zfs", args...)
	n.c.must(err)
	return strings.TrimSpace(out)
}

// Faults makes the node's commands misbehave from now on; none heals them.
func (n *Node) Faults(f zfsim.Faults) {
	n.c.t.Helper()
	n.c.must(zfsim.WriteFaults(n.Machine.Dir, f))
}

// Reached returns how often the node's faults have acted.
func (n *Node) Reached() int {
	n.c.t.Helper()
	hits, err := zfsim.ReachedFaults(n.Machine.Dir)
	n.c.must(err)
	sum := 0
	for _, h := range hits {
		sum += h
	}
	return sum
}

// Copy is the node's copy of a volume as its agent sees it; nil if it has none.
func (n *Node) Copy(v state.VolumeName) *state.Copy {
	n.c.t.Helper()
	node, err := n.c.agents.Node(n.c.t.Context(), n.addr)
	n.c.must(err)
	for i := range node.Copies {
		if node.Copies[i].Volume == v {
			return &node.Copies[i]
		}
	}
	return nil
}

// Fill puts a file of so many bytes into the data of a volume that is mounted on the node.
func (n *Node) Fill(v state.VolumeName, file string, bytes int) {
	n.c.t.Helper()
	block := make([]byte, bytes)
	for i := range block {
		block[i] = byte(i * 7 >> 3)
	}
	n.c.must(os.WriteFile(filepath.Join(n.options.Mounts, string(v), "data", file), block, 0o644))
}

// Received is how many bytes of streams the node's agent has taken in so far.
func (n *Node) Received() int64 { return n.bytes.total() }

// received sums what the agent says of the streams that it received.
type received struct {
	mu  sync.Mutex
	sum int64
}

func (r *received) total() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sum
}

func (r *received) add(bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum += bytes
}

// recording passes log records on and counts the bytes of those that end a receive.
type recording struct {
	slog.Handler
	r *received
}

func (h recording) Handle(ctx context.Context, rec slog.Record) error {
	if rec.Message == "receive ends" {
		rec.Attrs(func(a slog.Attr) bool {
			if n, err := strconv.ParseInt(a.Value.String(), 10, 64); a.Key == "bytes" && err == nil {
				h.r.add(n)
			}
			return true
		})
	}
	return h.Handler.Handle(ctx, rec)
}

// WithAttrs keeps the counting.
func (h recording) WithAttrs(a []slog.Attr) slog.Handler {
	return recording{h.Handler.WithAttrs(a), h.r}
}

// WithGroup keeps the counting.
func (h recording) WithGroup(name string) slog.Handler {
	return recording{h.Handler.WithGroup(name), h.r}
}

// ID is the node's identity, which lives on its pool.
func (n *Node) ID() state.NodeID {
	n.c.t.Helper()
	return state.NodeID(n.ZFS("get", "-H", "-o", "value", zfs.PropNode, "tank/drover"))
}
