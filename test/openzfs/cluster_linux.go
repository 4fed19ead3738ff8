package openzfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options are what tests vary. The zero value is one node with a pool of 2 GiB.
type Options struct {
	Nodes   int    // how many; 0 for 1
	Memory  int    // of a node, MiB; 0 for 512
	Disk    int64  // bytes of a node's disk, sparse; 0 for 2 GiB
	Release string // of OpenZFS: "2.3" or "2.1"; "" for DefaultRelease; several words are those of the first node, the second, and so on in turn
	NoPool  bool   // leave the disk as it is: a test makes its own pools
}

// Pool is the name of each node's pool.
const Pool = "tank"

// Cluster is a number of nodes on a network of their own.
type Cluster struct {
	// Nodes are named node1, node2, and so on.
	Nodes []*Node
	// Dir is a folder of this machine that every node has under the same path. Programs to be run lie here.
	Dir string

	t      testing.TB // who is told of failures
	owner  testing.TB // the test with which the nodes end
	o      Options
	images []string // of the first node, the second, and so on in turn
	net    network
}

// In returns the same cluster for another test, which is told of failures; it ends before the one that called New.
func (c *Cluster) In(t testing.TB) *Cluster {
	view := *c
	view.t, view.Nodes = t, nil
	for _, n := range c.Nodes {
		view.Nodes = append(view.Nodes, &Node{Name: n.Name, IP: n.IP, c: &view, machine: n.machine})
	}
	return &view
}

// New starts nodes and waits until their pools are there. They end with the test. Where there can be no nodes, the test is
// skipped.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	if unavailable != nil {
		skipped.Add(1)
		t.Skip(unavailable)
	}
	o.Nodes, o.Memory, o.Disk = or(o.Nodes, 1), or(o.Memory, 512), or(o.Disk, 2<<30)
	o.Release = or(o.Release, DefaultRelease)
	c := &Cluster{t: t, owner: t, o: o}
	for _, release := range strings.Fields(o.Release) {
		found, err := image(release)
		if err != nil {
			skipped.Add(1)
			t.Skip(err)
		}
		c.images = append(c.images, found)
	}
	var err error
	c.Dir, err = os.MkdirTemp(os.Getenv(envFolder), "c")
	c.must(err)
	t.Cleanup(func() { c.check(os.RemoveAll(c.Dir)) })
	c.net, err = newNetwork(o.Nodes)
	c.must(err)
	t.Cleanup(func() { c.check(c.net.remove(o.Nodes)) })
	for k := 1; k <= o.Nodes; k++ {
		c.Nodes = append(c.Nodes, c.newNode(k))
	}
	c.must(c.each((*Node).start))
	return c
}

// each does something to all nodes side by side.
func (c *Cluster) each(do func(*Node) error) error {
	errs := make([]error, len(c.Nodes))
	var all sync.WaitGroup
	for i, n := range c.Nodes {
		all.Go(func() { errs[i] = do(n) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// HostIP is the address of this side of the network, where the test itself is.
func (c *Cluster) HostIP() string { return c.net.address(1) }

// newNode makes a node's files; it does not start it.
func (c *Cluster) newNode(k int) *Node {
	c.t.Helper()
	name := fmt.Sprintf("node%d", k)
	n := &Node{Name: name, IP: c.net.address(10 + k), c: c, machine: &machine{number: k, dir: filepath.Join(c.Dir, name)}}
	c.must(os.MkdirAll(filepath.Join(n.dir, "uml"), 0o755))
	c.must(n.makeDisk(c.o.Disk))
	c.t.Cleanup(n.end)
	return n
}

func (c *Cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *Cluster) check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Error(err)
	}
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// poll asks until it is so, or ctx is over, or gone says that it never will be.
func poll(ctx context.Context, so func() bool, gone <-chan struct{}) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-gone:
			return so()
		case <-ctx.Done():
			return so()
		}
	}
	return true
}
