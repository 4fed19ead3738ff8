package cluster

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/state"
)

// patience bounds every wait. Nothing is asserted about time: it only ends a test that would wait for ever.
const patience = 2 * time.Minute

// Await waits until ok, which is asked again and again. It fails the test with what was waited for and the last status.
func (c *Cluster) Await(what string, ok func() bool) {
	c.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-time.After(40 * time.Millisecond):
		case <-deadline.C:
			c.t.Fatalf("never: %s\nstatus: %s", what, c.describe())
		}
	}
}

// describe tells the last status for a test that gives up.
func (c *Cluster) describe() string {
	st := c.Status()
	var b strings.Builder
	fmt.Fprintf(&b, "%s term %d settled %v refusal %q", st.Leader, st.Term, st.Settled, st.Refusal)
	for _, a := range st.Apps {
		fmt.Fprintf(&b, "\n  %+v", a)
	}
	return b.String()
}

// AwaitSettled waits until the manifests that are in the folder now are in force and nothing is left to do.
func (c *Cluster) AwaitSettled() {
	c.t.Helper()
	want := c.digest()
	c.Await("settled with digest "+want, func() bool { return c.settled(want) })
}

func (c *Cluster) settled(digest string) bool {
	st := c.Status()
	return st.Settled && st.Digest == digest && c.allReady(st)
}

// Settled tells whether a leader of a term after one says that all is as the manifests in the folder want it.
func (c *Cluster) Settled(after state.Term) bool {
	c.t.Helper()
	return c.Status().Term > after && c.settled(c.digest())
}

// AwaitOn waits until all is settled and a volume is primary on a node.
func (c *Cluster) AwaitOn(v state.VolumeName, node state.Hostname) {
	c.t.Helper()
	c.AwaitSettled()
	if cp := c.Nodes[node].Copy(v); cp == nil || cp.Role != state.Primary {
		c.t.Fatalf("all is settled and volume %s on %s is %+v, not primary", v, node, cp)
	}
}

// Line is an app's line in the status.
func (c *Cluster) Line(id state.AppID) controller.AppStatus {
	c.t.Helper()
	for _, a := range c.Status().Apps {
		if a.App == id {
			return a
		}
	}
	return controller.AppStatus{}
}

// AwaitWaiting waits until the status says why an app waits, in words that contain text, and returns them.
func (c *Cluster) AwaitWaiting(id state.AppID, text string) string {
	c.t.Helper()
	return c.awaitSentence(id, "waits", text, func(a controller.AppStatus) string { return a.Waiting })
}

// AwaitStalled waits until the status says why an app stalls, in words that contain text, and returns them.
func (c *Cluster) AwaitStalled(id state.AppID, text string) string {
	c.t.Helper()
	return c.awaitSentence(id, "stalls", text, func(a controller.AppStatus) string { return a.Stalled })
}

// AwaitNote waits until the status has a note on an app that contains text, and returns it.
func (c *Cluster) AwaitNote(id state.AppID, text string) string {
	c.t.Helper()
	return c.awaitSentence(id, "has a note", text, func(a controller.AppStatus) string { return strings.Join(a.Notes, "\n") })
}

func (c *Cluster) awaitSentence(id state.AppID, how, text string, of func(controller.AppStatus) string) string {
	c.t.Helper()
	var said string
	c.Await(fmt.Sprintf("%s %s: %q", id, how, text), func() bool {
		said = of(c.Line(id))
		return strings.Contains(said, text)
	})
	return said
}

// Task is an app's one task that runs.
func (c *Cluster) Task(id state.AppID) state.Task {
	c.t.Helper()
	app := c.App(id)
	if app == nil {
		c.t.Fatalf("Marathon does not have %s", id)
	}
	var running []state.Task
	for _, t := range app.Tasks {
		if t.State == state.TaskRunning {
			running = append(running, t)
		}
	}
	if len(running) != 1 {
		c.t.Fatalf("%s has %d running tasks, want 1: %+v", id, len(running), app.Tasks)
	}
	return running[0]
}

// allReady tells whether the apps that the status lists have as many running tasks as they want.
func (c *Cluster) allReady(st controller.Status) bool {
	for _, a := range st.Apps {
		app := c.App(a.App)
		if app == nil || a.Left {
			continue
		}
		running := 0
		for _, t := range app.Tasks {
			if t.State == state.TaskRunning {
				running++
			}
		}
		if running != app.Instances {
			return false
		}
	}
	return true
}

// Address is where a task's first port answers.
func (c *Cluster) Address(t state.Task) string {
	c.t.Helper()
	host, _, err := net.SplitHostPort(c.Nodes[t.Host].addr)
	c.must(err)
	if len(t.Ports) == 0 {
		c.t.Fatalf("task %s has no port", t.ID)
	}
	return net.JoinHostPort(host, strconv.Itoa(t.Ports[0]))
}
