//go:build linux

package openzfs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/test/openzfs"
)

// loner is a process that is nobody's task, in a mount namespace of its own on a node, as a container has it: it keeps the mounts that
// were there when it began.
type loner struct {
	*app
	node    *openzfs.Node
	command *openzfs.Command
	program string
	printed string // file of its output
	pid     string
}

var loners atomic.Int64

// loner begins a program with its arguments, and waits until it is there.
func (a *app) loner(node, program, args string) *loner {
	a.Helper()
	l := &loner{app: a, node: a.node(node), program: filepath.Base(program), printed: filepath.Join(a.Dir, fmt.Sprint("loner", loners.Add(1)))}
	script := l.printed + ".sh"
	a.must(os.WriteFile(script, []byte("exec >"+l.printed+" 2>&1; echo $$; exec "+program+" "+args+"\n"), 0o644))
	var err error
	l.command, err = l.node.Begin("exec unshare -m sh " + script)
	a.must(err)
	a.Await(l.program+" is there", func() bool { return len(l.lines()) > 0 })
	l.pid = l.lines()[0]
	return l
}

// lines are what it has printed, whole lines only; the first is its number.
func (l *loner) lines() []string {
	l.Helper()
	b, err := os.ReadFile(l.printed)
	if !errors.Is(err, os.ErrNotExist) {
		l.must(err)
	}
	all := strings.Split(string(b), "\n")
	return all[:len(all)-1]
}

// next waits for its line number n after the first, and returns it.
func (l *loner) next(n int) string {
	l.Helper()
	l.Await(l.program+" says something", func() bool { return len(l.lines()) > n })
	return l.lines()[n]
}

// keeper is a loner that holds a file of the volume open and mapped, with a page that is changed and not flushed.
func (a *app) keeper(node, file string) *loner {
	a.Helper()
	l := a.loner(node, a.Tool("scribe"), "keep "+a.dir()+"/"+file)
	if got := l.next(1); got != "kept" {
		a.Fatalf("it says %q", got)
	}
	return l
}

// wake has a keeper write, through its map and by a call, and returns what it says of the call.
func (l *loner) wake() string {
	l.Helper()
	n := len(l.lines())
	l.must(l.command.Signal(l.Context(), "USR1"))
	return l.next(n)
}

func (l *loner) end() {
	l.Helper()
	l.must(l.command.Signal(l.Context(), "TERM"))
	l.command.Wait(l.Context())
}

// try runs a script in its namespace.
func (l *loner) try(script string) openzfs.Result {
	return l.node.Try(l.Context(), "nsenter -t "+l.pid+" -m sh -c '"+script+"'")
}

// cannotWrite checks that no file of the volume can be made in its namespace.
func (l *loner) cannotWrite(file string) {
	l.Helper()
	if r := l.try("echo late >" + file); r.Code == 0 || !strings.Contains(r.Stderr, "Read-only") {
		l.Errorf("writing to the old copy from the namespace of %s: %+v", l.process(), r)
	}
}

// process names it as Drover does.
func (l *loner) process() string { return "process " + l.pid + " (" + l.program + ")" }

// stop is a point at which the controller waits, once, while the test does something.
type stop struct {
	*app
	reached, goOn chan struct{}
	off           func()
}

// stopAt has the controller wait at the next event of a kind about a step of the app's.
func (a *app) stopAt(event controller.EventKind, step state.StepKind) *stop {
	s := &stop{app: a, reached: make(chan struct{}), goOn: make(chan struct{})}
	var once sync.Once
	s.off = a.on(a.id(), func(e controller.Event) {
		if e.Kind == event && e.Step.Kind == step {
			once.Do(func() { close(s.reached); <-s.goOn })
		}
	})
	return s
}

// then does something when the point is reached, and has the controller go on.
func (s *stop) then(do func()) {
	s.Helper()
	defer s.off()
	defer close(s.goOn)
	s.Await(s.name+" is where it is to stop", func() bool { return isClosed(s.reached) })
	do()
}

// gap is the moment in which a node's agent makes the app's copy read-only: it has found nobody in it and has flushed what was in memory.
type gap struct {
	*app
	node *openzfs.Node
}

// gap has the node's agent stop there, once.
func (a *app) gap(node string) gap {
	a.Helper()
	g := gap{a, a.node(node)}
	g.node.Sh(`set -e
mkdir -p ` + openzfs.First + ` && cd ` + openzfs.First + `
cat >zfs.new <<'END'
#!/bin/sh
for dataset; do :; done
at=` + openzfs.First + `/${dataset##*/}
case "$*" in "set "*drover:role=fenced*)
	if mv "$at.before" "$at.reached" 2>/dev/null; then
		while [ -e "$at.reached" ]; do sleep 0.05; done
	fi;;
esac
exec /usr/sbin/zfs "$@"
END
chmod +x zfs.new
mv zfs.new zfs
touch ` + a.name + `.before`)
	return g
}

// then does something in the gap, and has the agent go on.
func (g gap) then(do func()) {
	g.Helper()
	reached := openzfs.First + "/" + g.name + ".reached"
	until(g.node, "test -e "+reached)
	do()
	g.node.Sh("rm " + reached)
}

// until waits in a node until a command succeeds. That costs the node less than being asked again and again.
func until(n *openzfs.Node, so string) { n.Sh("until " + so + "; do sleep 0.1; done") }

// budget bounds the outage of the app's moves.
func (a *app) budget(d string) {
	a.Helper()
	a.text = outage.ReplaceAllString(a.text, "maxOutage: "+d)
	a.want(a.at)
}

var outage = regexp.MustCompile(`maxOutage: \w+`)

// Budgets: one that is used up while a test waits, and one that no machine is too slow for.
const tight, ample = "60s", "10m"

// backs is how many of the app's cutovers have gone back.
func (a *app) backs() int {
	n := 0
	for _, m := range a.moves() {
		if m.Back {
			n++
		}
	}
	return n
}

// went waits until so many of the app's cutovers have gone back.
func (a *app) wentBack(times int) {
	a.Helper()
	a.Await(fmt.Sprint(a.name, " has gone back, ", times), func() bool { return a.backs() >= times })
}

// failed are the errors of the app's steps of a kind.
func (a *app) failed(step state.StepKind) string {
	var all []string
	for _, e := range a.said(a.id()) {
		if e.Kind == controller.EventFailed && e.Step.Kind == step {
			all = append(all, e.Err.Error())
		}
	}
	return strings.Join(all, "\n")
}

// begun is how many of the app's steps of a kind have begun.
func (a *app) begun(step state.StepKind) int {
	n := 0
	for _, e := range a.said(a.id()) {
		if e.Kind == controller.EventStarted && e.Step.Kind == step {
			n++
		}
	}
	return n
}
