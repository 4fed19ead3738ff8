package openzfs

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/drover-project/drover/agent"
	"github.com/drover-project/drover/state"
)

// Do has a node's agent carry out a step, as the first controller would. What the step says of nodes is filled in.
func (d *Drover) Do(ctx context.Context, n, peer *Node, s state.Step) (agent.Result, error) {
	if peer != nil {
		seen, err := d.opened.Agents.Node(ctx, d.address(peer))
		if err != nil {
			return agent.Result{}, err
		}
		s.Peer, s.PeerAddress = seen.ID, d.address(peer)
	}
	return d.opened.Agents.Do(ctx, d.address(n), 1, s)
}

// Look is one look of a node's agent at everything it has.
func (d *Drover) Look(n *Node) *state.Node {
	d.t.Helper()
	seen, err := d.opened.Agents.Node(d.t.Context(), d.address(n))
	d.must(err)
	return seen
}

// ticks are those of /proc, in a second, on every Linux that Go runs on.
const ticks = 100

// CPU is the processor time that the node has taken of this machine since it was started: its kernel's and its programs'.
func (n *Node) CPU() time.Duration {
	n.c.t.Helper()
	n.mu.Lock()
	group := strconv.Itoa(n.pid)
	n.mu.Unlock()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	n.c.must(err)
	var sum int64
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended; its parent has its time
		}
		_, after, _ := strings.Cut(string(text), ") ")
		f := strings.Fields(after) // from the third field, the state, on
		if len(f) < 15 || f[2] != group {
			continue
		}
		for _, field := range f[11:15] { // utime, stime, and those of children that have ended
			t, err := strconv.ParseInt(field, 10, 64)
			n.c.must(err)
			sum += t
		}
	}
	return time.Duration(sum) * time.Second / ticks
}
