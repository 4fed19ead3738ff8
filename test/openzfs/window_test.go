//go:build linux

package openzfs_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/test/openzfs"
)

// cost is what a part of a move has cost a node.
type cost struct{ groups, commands int }

// counter counts a node's transaction groups and the commands that its agent has started.
type counter struct {
	*openzfs.Node
	t testing.TB
}

// counting has a node's agent start zfs and zpool by way of a script that notes them. No transaction group is begun there any more
// only because time has passed.
func counting(t testing.TB, n *openzfs.Node) counter {
	t.Helper()
	script := []string{"set -e", "echo 3600 >/sys/module/zfs/parameters/zfs_txg_timeout", "mkdir -p " + openzfs.First}
	for _, name := range []string{"zfs", "zpool"} {
		script = append(script, fmt.Sprintf(`real=$(command -v %[1]s)
			printf '#!/bin/sh\necho "%[1]s $*" >>%[2]s/ran\nexec '$real' "$@"\n' >%[2]s/%[1]s.new
			chmod +x %[2]s/%[1]s.new && mv %[2]s/%[1]s.new %[2]s/%[1]s`, name, openzfs.First))
	}
	n.Sh(strings.Join(script, "\n"))
	return counter{n, t}
}

// now is what there has been so far: the newest transaction group, and every command.
func (c counter) now() (group int, commands []string) {
	c.t.Helper()
	first, rest, _ := strings.Cut(c.Sh("tail -n 1 /proc/spl/kstat/zfs/"+openzfs.Pool+"/txgs; cat "+openzfs.First+"/ran"), "\n")
	group, err := strconv.Atoi(strings.Fields(first + " none")[0])
	if err != nil {
		c.t.Errorf("transaction groups of %s: %q: %v", c.Name, first, err)
	}
	return group, strings.Split(rest, "\n")
}

// window counts, from the beginning of a fence to the end of the promotion, what both nodes do.
type window struct {
	from, to counter
	groups   [2]int
	commands [2]int
	costs    [2]cost
	said     string
}

func (w *window) hear(e controller.Event) {
	for i, c := range []counter{w.from, w.to} {
		switch {
		case e.Kind == controller.EventStarted && e.Step.Kind == state.Fence:
			group, ran := c.now()
			w.groups[i], w.commands[i] = group, len(ran)
		case e.Kind == controller.EventDone && e.Step.Kind == state.Promote:
			group, ran := c.now()
			w.costs[i] = cost{groups: group - w.groups[i], commands: ofSteps(ran[w.commands[i]:])}
			w.said += fmt.Sprintf("%s: %+v\n  %s\n", c.Name, w.costs[i], strings.Join(clipped(ran[w.commands[i]:]), "\n  "))
		}
	}
}

// ofSteps counts the commands of the steps. An observation of the node, which may come at any time, is 8 commands, of which one asks for
// the pool as no step does.
func ofSteps(ran []string) int {
	const observation = 8
	n := len(ran)
	for _, line := range ran {
		if strings.HasPrefix(line, "zpool get ") {
			n -= observation
		}
	}
	return n
}

func clipped(lines []string) []string {
	short := make([]string, len(lines))
	for i, l := range lines {
		short[i] = l[:min(len(l), 100)]
	}
	return short
}

// What the window costs on a real pool: it may not grow. The first promotion of a term has the term recorded, and part of an
// observation may fall into a window, so that the cheapest of three counts.
func TestWindowCosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, openzfs.Options{})
	a := w.scribe("window", "idle", "", "reclaim: Retain")
	a.settled()
	nodes := map[string]counter{"node1": counting(t, a.node("node1")), "node2": counting(t, a.node("node2"))}
	var least [2]cost
	at := "node1"
	for k := range 3 {
		to := map[string]string{"node1": "node2", "node2": "node1"}[at]
		a.fill(at, fmt.Sprint("more", k), 1<<20)
		v := &window{from: nodes[at], to: nodes[to]}
		off := a.on(a.id(), v.hear)
		a.move(to)
		off()
		t.Logf("%s to %s\n%s", at, to, v.said)
		for i, c := range v.costs {
			if k == 0 {
				least[i] = c
			}
			least[i] = cost{min(least[i].groups, c.groups), min(least[i].commands, c.commands)}
		}
		at = to
	}
	// Commands: those of the steps, as ARCHITECTURE.md lists them. Observations come beside them, because Marathon says that the app is
	// down.
	// Groups, as counted on OpenZFS 2.3.2. By the cost of each command alone the source's would be 6: what it sets (2), snapshot, unmount,
	// hold, sync; and the target's 5: the receive (2), sync, what it sets, hold. Where the other two at each come from is not known.
	most := [2]cost{{groups: 8, commands: 12}, {groups: 7, commands: 12}}
	for i, name := range []string{"source", "target"} {
		if least[i].groups <= 0 || least[i].commands <= 0 || least[i].groups > most[i].groups || least[i].commands > most[i].commands {
			t.Errorf("the window costs the %s %+v, want at most %+v", name, least[i], most[i])
		}
	}
}
