//go:build linux

package openzfs_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/test/openzfs"
)

// todos is the to-do app's database, and someone who never stops adding to-dos.
type todos struct {
	*app
	load *exec.Cmd
	out  strings.Builder
}

// todo starts the database on node1, and who adds to-dos: from this side of the network, where no power is cut.
func (w *world) todo() *todos {
	w.Helper()
	w.Expect("todo")
	w.Via(w.Nodes[2])
	a := &todos{app: &app{world: w, name: "todo"}}
	a.text = fmt.Sprintf(`apiVersion: drover/v1
kind: App
metadata: {name: /todo}
spec:
  volumes: [{name: todo, containerPath: data, env: TODO_DATA}]
  placement: {constraints: [[hostname, CLUSTER, %%s]]}
  cutover: {maxOutage: 10m}
  endpoints: [{name: db, address: %s, port: 27017}]
  marathon:
    cmd: exec todo db
    cpus: 0.1
    mem: 64
    portDefinitions: [{name: db, port: 0}]
    healthChecks:
    - {protocol: MESOS_HTTP, path: /healthz, portIndex: 0, delaySeconds: 0, gracePeriodSeconds: 600, intervalSeconds: 5, timeoutSeconds: 60, maxConsecutiveFailures: 100}
---
apiVersion: drover/v1
kind: Volume
metadata: {name: todo}
spec: {properties: {recordsize: 16K, compression: lz4}, reclaim: Retain}
`, w.Endpoint())
	a.want("node1")
	a.settled()
	a.load = exec.CommandContext(w.Context(), w.Tool("todo"), "load", "-url", a.url(), "-ledger", a.ledger(), "-pause", "100ms", "-timeout", "10s")
	a.load.Stdout, a.load.Stderr = &a.out, &a.out
	w.must(a.load.Start())
	w.Cleanup(func() {
		if err := a.load.Process.Kill(); err == nil {
			_ = a.load.Wait() // it was killed
		} else if !errors.Is(err, os.ErrProcessDone) {
			w.Error(err)
		}
	})
	a.answered()
	return a
}

func (a *todos) url() string    { return "http://" + a.Endpoint() + ":27017" }
func (a *todos) ledger() string { return filepath.Join(a.Dir, "ledger") }

// answered waits until one more to-do is acknowledged.
func (a *todos) answered() {
	a.Helper()
	size := func() int64 {
		st, err := os.Stat(a.ledger())
		if err != nil {
			return 0
		}
		return st.Size()
	}
	before := size()
	a.Await("another to-do is acknowledged", func() bool { return size() > before })
}

// complete checks that all acknowledged to-dos are there, each once.
func (a *todos) complete() {
	a.Helper()
	out, err := exec.CommandContext(a.Context(), a.Tool("todo"), "check", "-url", a.url(), "-ledger", a.ledger()).CombinedOutput()
	if err != nil {
		a.Errorf("%v: %s", err, out)
	}
	a.Logf("%s", strings.TrimSpace(string(out)))
}

// end ends the load and returns its report.
func (a *todos) end() string {
	a.Helper()
	a.must(a.load.Process.Signal(syscall.SIGTERM))
	a.must(a.load.Wait())
	return a.out.String()
}

// The to-do database moves with its data while someone adds to-dos without end, and back.
func TestMove(t *testing.T) { onReleases(t, thereAndBack) }

// onReleases runs a test on nodes with one release of OpenZFS, with another, and with both in turn.
func onReleases(t *testing.T, test func(*testing.T, openzfs.Options)) {
	t.Parallel()
	for _, release := range []string{openzfs.DefaultRelease, "2.1", "2.1 2.3"} {
		t.Run(strings.ReplaceAll(release, " ", " and "), func(t *testing.T) {
			if release != openzfs.DefaultRelease && !everything() {
				t.Skip("takes a minute; DROVER_TEST_OPENZFS=all runs it")
			}
			test(t, openzfs.Options{Release: release})
		})
	}
}

func thereAndBack(t *testing.T, o openzfs.Options) {
	w := newWorld(t, o)
	a := w.todo()
	sum := a.fill("node1", "big", 32<<20)
	begin := time.Now()
	for _, node := range []string{"node2", "node1"} {
		a.move(node)
		a.answered()
		if got := a.sum(node, "big"); got != sum {
			t.Errorf("on %s the data is %s, was %s", node, got, sum)
		}
	}
	for _, e := range a.moves() {
		t.Logf("moved from %s to %s, outage %v: %v", e.From, e.To, e.Outage.Round(time.Millisecond), e.Parts)
	}
	a.complete()
	t.Logf("there and back in %v: %s", time.Since(begin).Round(time.Millisecond), a.end())
}

// moves are the app's moves that ended.
func (a *app) moves() []controller.Move {
	var moves []controller.Move
	for _, e := range a.said(a.id()) {
		if e.Kind == controller.EventMoved {
			moves = append(moves, *e.Move)
		}
	}
	return moves
}
