//go:build linux

package openzfs_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/test/openzfs"
)

// todo is the to-do app's database where its disk is of a kind.
func todo(disk string) string {
	return fmt.Sprintf(`apiVersion: drover/v1
kind: App
metadata: {name: /todo/db}
spec:
  volumes: [{name: tododata, containerPath: data, env: TODO_DATA}]
  placement: {constraints: [[disk, CLUSTER, %s]]}
  cutover: {maxOutage: 60s}
  endpoints: [{name: db, address: 127.255.0.10, port: 27017}]
  marathon:
    cmd: exec todo db
    cpus: 0.1
    mem: 64
    portDefinitions: [{name: db, port: 0}]
    healthChecks:
    - {protocol: MESOS_HTTP, path: /healthz, portIndex: 0, delaySeconds: 0, gracePeriodSeconds: 600, intervalSeconds: 1, timeoutSeconds: 60, maxConsecutiveFailures: 10}
---
apiVersion: drover/v1
kind: Volume
metadata: {name: tododata}
spec: {properties: {recordsize: 16K, compression: lz4}, reclaim: Retain}
`, disk)
}

// moves is a cluster with the to-do database on node1, and someone on node3 who never stops adding to-dos.
type moves struct {
	*openzfs.Drover
	*testing.T
	from, to, client *openzfs.Node
	load             *openzfs.Command

	mu     sync.Mutex
	events []controller.Event
	before func(controller.Event) // called for each event; may be nil
}

const (
	tododata = state.VolumeName("tododata")
	list     = "http://127.255.0.10:27017" // on each node, its agent's gate
	ledger   = "/tmp/ledger"
)

func newMoves(t *testing.T, before func(controller.Event)) *moves {
	t.Helper()
	m := &moves{Drover: openzfs.NewDrover(t, openzfs.Options{}, tododata), T: t, before: before}
	m.from, m.to, m.client = m.Nodes[0], m.Nodes[1], m.Nodes[2]
	m.Write("cluster.yaml", "apiVersion: drover/v1\nkind: Cluster\nmetadata: {name: test}\nspec: {grace: 1h}\n")
	m.Write("db.yaml", todo("spinning"))
	m.Lead(m.event)
	m.Await("the database runs", func() bool { return (m.is(m.from, state.Primary) || m.is(m.client, state.Primary)) && m.serves() })
	if m.is(m.client, state.Primary) {
		m.from, m.client = m.client, m.from
	}
	var err error
	m.load, err = m.client.Begin("exec " + m.Tool("todo") + " load -url " + list + " -ledger " + ledger + " -pause 5ms")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *moves) event(e controller.Event) {
	m.mu.Lock()
	m.events = append(m.events, e)
	m.mu.Unlock()
	if m.before != nil {
		m.before(e)
	}
}

func (m *moves) is(n *openzfs.Node, r state.Role) bool {
	c := m.Copy(n, tododata)
	return c != nil && c.Role == r
}

// serves says whether the database takes a to-do through node3's gate.
func (m *moves) serves() bool {
	return m.client.Try(m.Context(), m.Tool("todo")+" load -url "+list+" -count 1 -for 10s").Code == 0
}

// moved is the record of the last cutover that ended.
func (m *moves) moved() *controller.Move {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		if e.Kind == controller.EventMoved {
			return e.Move
		}
	}
	return nil
}

// check ends the load and compares what was acknowledged with what the database has, wherever it is.
func (m *moves) check() {
	m.Helper()
	m.Await("an acknowledgement after the move", func() bool { return m.serves() })
	if err := m.load.Signal(m.Context(), "TERM"); err != nil {
		m.Error(err)
	}
	r := m.load.Wait(m.Context())
	m.Log(r.Out)
	if r.Err != nil {
		m.Error(r.Err)
	}
	m.Log(m.client.Sh(m.Tool("todo") + " check -url " + list + " -ledger " + ledger))
}

// oneWriter checks that exactly one copy is writable, and that it is where it should be.
func (m *moves) oneWriter(at *openzfs.Node) {
	m.Helper()
	for _, n := range m.Nodes {
		out := n.Sh("zfs get -Hp -o value -s local,received,inherited,default drover:role,readonly tank/drover/tododata 2>&1 || true")
		writable := strings.Contains(out, "off")
		primary := strings.Contains(out, "primary")
		if writable != (n == at) || primary != (n == at) {
			m.Errorf("the copy of %s: %q", n.Name, out)
		}
	}
}

// The to-do database moves with its data while someone adds to-dos without end.
func TestMove(t *testing.T) {
	t.Parallel()
	m := newMoves(t, nil)
	m.from.Sh("head -c 64000000 /dev/urandom >/mnt/drover/tododata/data/big")
	sum := m.from.Sh("md5sum </mnt/drover/tododata/data/big")
	begin := time.Now()
	m.Write("db.yaml", todo("ssd"))
	m.Await("the database runs on node2", func() bool { return m.moved() != nil && m.is(m.to, state.Primary) && m.serves() })
	move := m.moved()
	t.Logf("moved in %v, outage %v: %v", time.Since(begin).Round(time.Millisecond), move.Outage.Round(time.Millisecond), move.Parts)
	m.check()
	m.oneWriter(m.to)
	if got := m.to.Sh("md5sum </mnt/drover/tododata/data/big"); got != sum {
		t.Errorf("the data is %s, was %s", got, sum)
	}
}
