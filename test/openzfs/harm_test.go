//go:build linux

package openzfs_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/test/openzfs"
	"github.com/drover-project/drover/zfs"
)

// What ends a stream before its time, and what is left behind when its agent is killed. All of it harms nodes, so it happens one after the
// other on a cluster of its own.
func TestHarm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, openzfs.Options{Disk: 1 << 30})
	for _, s := range []struct {
		name   string
		always bool
		do     func(*world)
	}{
		{"orphan", false, orphanedReceive},
		{"places", false, tenPlaces},
		{"full", false, fullTarget},
		{"receive", false, hungReceive},
		{"set", false, hungSet},
		{"flags", false, stickyFlags},
		{"export", false, exported},
		{"suspend", false, suspended},
	} {
		t.Run(s.name, func(t *testing.T) {
			if !s.always && !everything() {
				t.Skip("takes a minute or two; DROVER_TEST_OPENZFS=all runs it")
			}
			s.do(w.in(t))
		})
	}
}

// limited is a settled app with a file of random bytes on its volume, whose moves are limited to so many bytes per second: there is time to
// hit them.
func (w *world) limited(name string, bytes int, perSecond string) (a *app, sum string) {
	w.Helper()
	a = w.scribe(name, "log", "  bandwidth: "+perSecond, "")
	a.settled()
	return a, a.fill("node1", "big", bytes)
}

// hurry lifts the limit, at once and for good, and has the app moved.
func (a *app) hurry(node string) {
	a.Helper()
	lines := strings.Split(a.text, "\n")
	a.text = strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "  bandwidth:") }), "\n")
	a.move(node)
}

// came waits until the app's stream has brought its target so many bytes, those included that had come before it was cut.
func (a *app) came(bytes int64) {
	a.Helper()
	a.Await(fmt.Sprintf("%d bytes of %s have come", bytes, a.name), func() bool { return a.position() >= bytes })
}

// position is how far the app's stream has come.
func (a *app) position() int64 {
	for _, e := range slices.Backward(a.said(a.id())) {
		if e.Stream != nil {
			return e.Stream.Resumed + e.Stream.Bytes
		}
	}
	return 0
}

// ended counts the app's steps that ended in one way.
func (a *app) ended(kind controller.EventKind, steps ...state.StepKind) (n int) {
	for _, e := range a.said(a.id()) {
		if e.Kind == kind && slices.Contains(steps, e.Step.Kind) {
			n++
		}
	}
	return n
}

// pids are, in a script of a node, the processes whose command matches a pattern of the shell.
func pids(command string) string {
	return `$(bash -c 'for p in /proc/[0-9]*; do
		[ $p != /proc/$$ ] && mapfile -d "" -t words <$p/cmdline && case "${words[*]}" in $1) echo ${p#/proc/};; esac
	done 2>/dev/null' bash '` + command + `')`
}

// signal sends a signal to the processes of a node whose command matches. There must be one.
func (w *world) signal(node, name, command string) {
	w.Helper()
	w.node(node).Sh("kill -s " + name + " " + pids(command))
}

// running counts the processes of a node whose command matches.
func (w *world) running(node, command string) int {
	w.Helper()
	return len(strings.Fields(w.node(node).Sh("echo " + pids(command))))
}

const theAgent = "*/drover agent --hostname *"

// killAgent kills a node's agent; what it has started lives on.
func (w *world) killAgent(node string) {
	w.Helper()
	w.signal(node, "KILL", theAgent)
	w.Await("the agent of "+node+" is gone", func() bool { return w.running(node, theAgent) == 0 })
}

// left is what is said of a command that was left behind on a node.
func (a *app) left(node, command string) {
	a.Helper()
	got := a.says("volume " + a.name + " is locked on " + node + " by a command that was left behind, process ")
	if !strings.Contains(got, command) || !strings.Contains(got, " UTC: it goes on when that has ended") {
		a.Errorf("it says %q, want the command %q and since when", got, command)
	}
}

// alone checks that a node has just one process whose command matches.
func (a *app) alone(node, command string) {
	a.Helper()
	if n := a.running(node, command); n != 1 {
		a.Errorf("%d processes of %q on %s, want one", n, command, node)
	}
}

// keepsRunning checks that the app writes on.
func (a *app) keepsRunning(node string) {
	a.Helper()
	size := func() int {
		n, err := strconv.Atoi(a.node(node).Sh("stat -c %s " + a.dir() + "/log"))
		a.must(err)
		return n
	}
	before := size()
	a.Await(a.name+" writes on", func() bool { return size() > before })
}

// has checks the app's file on a node.
func (a *app) has(node, sum string) {
	a.Helper()
	if got := a.sum(node, "big"); got != sum {
		a.Errorf("on %s the data of %s is %s, was %s", node, a.name, got, sum)
	}
}

// orphanedReceive: the agent of the target is killed, and its zfs receive lives. Nobody touches the volume until that has ended; what it
// has received is there then, and is not received again.
func orphanedReceive(w *world) {
	const size = 24 << 20
	a, sum := w.limited("orphan", size, "4Mi")
	before := a.sent("node1")
	a.want("node2")
	a.came(10 << 20)
	a.signal("node2", "STOP", "zfs receive *")
	a.killAgent("node2")
	a.StartAgent(a.node("node2"))
	a.left("node2", "zfs receive -s -u ")
	a.alone("node2", "zfs receive *")
	a.only("node1")
	a.keepsRunning("node1")
	a.signal("node2", "CONT", "zfs receive *")
	a.hurry("node2")
	a.has("node2", sum)
	a.nothingLost(1)
	if sent := a.sent("node1") - before; sent > size*3/2 {
		a.Errorf("%d bytes were sent for %d: what the orphan had received was sent again", sent, size)
	}
}

// hangs has zfs commands of a node's agent whose words match a pattern of the shell hang before they do anything, until the returned
// function is called. It is a script in their place, and so an agent's child as they are: with its lock, and there when its agent is gone.
// It notes all words, too; ran returns them.
func (w *world) hangs(node, pattern string) (letGo func()) {
	w.Helper()
	n := w.node(node)
	n.Sh(`set -e
		mkdir -p ` + openzfs.First + ` && cd ` + openzfs.First + `
		cat >zfs.new <<'END'
#!/bin/sh
cd ` + openzfs.First + `
echo "$*" >>ran
hung() {
	pattern=$(cat hang 2>/dev/null) || return 1
	case "$*" in $pattern) return 0;; esac
	return 1
}
while hung "$@"; do sleep 0.1; done
exec /usr/sbin/zfs "$@"
END
		chmod +x zfs.new
		rm -f ran
		echo '` + pattern + `' >hang
		mv zfs.new zfs`)
	return func() { n.Sh("cd " + openzfs.First + " && rm zfs hang") }
}

// ran are the commands of a node's agent since hangs was called, as far as their words match.
func (w *world) ran(node, words string) []string {
	w.Helper()
	return strings.Split(w.node(node).Sh("grep '"+words+"' "+openzfs.First+"/ran || true"), "\n")
}

// hung waits until a command hangs on a node.
func (w *world) hung(node, words string) {
	w.Helper()
	w.Await(words+" hangs on "+node, func() bool { return w.running(node, words) > 0 })
}

// hungReceive: a zfs receive hangs and its agent is killed. The volume stays locked, and nobody else receives; when it lets go, the move
// goes on.
func hungReceive(w *world) {
	a, sum := w.limited("receive", 12<<20, "100Mi")
	letGo := a.hangs("node2", "receive *")
	a.want("node2")
	a.hung("node2", "*/first/zfs receive *"+a.dataset())
	a.killAgent("node2")
	a.StartAgent(a.node("node2"))
	a.left("node2", "/first/zfs receive -s -u ")
	a.alone("node2", "*zfs receive *")
	a.only("node1")
	a.keepsRunning("node1")
	letGo()
	a.settled()
	a.only("node2")
	a.has("node2", sum)
	a.nothingLost(1)
}

// hungSet: the zfs set of a fence, and then that of a promotion, hangs, and its agent is killed. It may take effect at any time: nobody
// decides anything until it has.
func hungSet(w *world) {
	a, sum := w.limited("set", 1<<20, "100Mi")
	for _, h := range []struct{ node, pattern, words string }{
		{"node1", "set *drover:role=fenced*", "*zfs set *drover:role=fenced*"},
		{"node2", "set *drover:role=primary*", "*zfs set *drover:role=primary*"},
	} {
		letGo := a.hangs(h.node, h.pattern)
		if h.node == "node1" {
			a.want("node2")
		}
		a.hung(h.node, h.words)
		before := a.roles()
		a.killAgent(h.node)
		a.StartAgent(a.node(h.node))
		a.left(h.node, "/first/zfs set ")
		a.alone(h.node, h.words)
		if now := a.roles(); now != before {
			a.Errorf("while a command hangs the copies became %q, were %q", now, before)
		}
		letGo()
	}
	a.settled()
	a.only("node2")
	a.has("node2", sum)
	a.nothingLost(1)
}

// roles are the roles and epochs of the app's copies by OpenZFS's own account, and which may be written to.
func (a *app) roles() string {
	a.Helper()
	var all []string
	for _, n := range a.Nodes {
		all = append(all, n.Name+" "+strings.Join(strings.Fields(n.Try(a.Context(), "zfs get -Hp -o value drover:role,drover:epoch,readonly "+a.dataset()).Out), " "))
	}
	return strings.Join(all, ", ")
}

// fullTarget: somebody else's dataset takes all the room of the target's pool while a stream arrives. The app runs on, it is said what to do, and
// when that is done the move goes on. What is others' is as it was.
func fullTarget(w *world) {
	const size = 40 << 20
	a, sum := w.limited("full", size, "4Mi")
	to := a.node("node2")
	to.Sh("zfs create -o mountpoint=/mine tank/mine && head -c 1000000 /dev/urandom >/mine/precious && zfs snapshot tank/mine@mine")
	precious := to.Sh("md5sum </mine/precious")
	before := a.sent("node1")
	a.want("node2")
	a.came(12 << 20)
	to.Sh("until zfs set refreservation=$(($(zfs get -Hp -o value available tank) + $(zfs get -Hp -o value referenced tank/mine) - 2000000)) tank/mine; do :; done")
	a.says("node2: needs ")
	a.says(" is free: make room there")
	a.only("node1")
	a.keepsRunning("node1")
	to.ZFS("set", "refreservation=none", "tank/mine")
	a.hurry("node2")
	a.has("node2", sum)
	a.nothingLost(1)
	if got := to.Sh("md5sum </mine/precious && zfs list -H -o name tank/mine@mine"); got != precious+"\ntank/mine@mine" {
		a.Errorf("what is others' was %q, is %q", precious, got)
	}
	if sent := a.sent("node1") - before; sent > size*3/2 {
		a.Errorf("%d bytes were sent for %d: what had arrived was sent again", sent, size)
	}
}

// stickyFlags: the target's copy began with a stream of other flags, as an earlier version may have sent it. What is added to it is sent with
// those, and the data is the same.
func stickyFlags(w *world) {
	a := w.scribe("flags", "log", "", "properties: {recordsize: 1M}")
	a.settled()
	a.fill("node1", "big", 5<<20)
	a.caughtUp("node2")
	stream := filepath.Join(a.Dir, "stream")
	newest := a.node("node2").Sh("zfs list -H -d 1 -t snapshot -s createtxg -o name " + a.dataset() + " | tail -n 1")
	a.node("node1").Sh("zfs send -ce " + newest + " >" + stream)
	a.node("node2").Sh(`set -e; home=` + a.dataset() + `
		local=$(zfs get -H -s local -o property,value all $home | while read -r name value; do echo "-o $name=$value"; done)
		for s in $(zfs list -H -d 1 -t snapshot -o name $home); do zfs release ` + zfs.Tag + ` $s || true; done
		zfs destroy -r $home
		zfs receive -u $local -o ` + zfs.PropSendFlags + `=-ce $home <` + stream)
	a.node("node1").Sh("dd if=/dev/urandom of=" + a.dir() + "/big bs=1M count=2 seek=1 conv=notrunc 2>/dev/null")
	sum := a.sum("node1", "big")
	letGo := a.hangs("node1", "nothing")
	a.resume()
	a.settled()
	letGo()
	a.only("node2")
	a.has("node2", sum)
	a.nothingLost(1)
	sends := a.ran("node1", "^send ")
	if len(sends) == 0 || slices.ContainsFunc(sends, func(s string) bool { return !strings.Contains(s, " -ce -i ") }) {
		a.Errorf("what was sent: %q; want increments with the flags -ce", sends)
	}
}

// export exports a node's pool as soon as nothing uses it; before is done again and again until then.
func (w *world) export(node, before string) {
	w.Helper()
	w.node(node).Sh("while ! zpool export tank; do " + before + " sleep 0.1; done 2>/dev/null")
}

func (w *world) reimport(node string) {
	w.Helper()
	w.node(node).Sh("zpool import -d /dev/ubda -o cachefile=none -N tank")
}

// exported: the pool of a move's target is exported while a stream arrives, then that of its source in the middle of the cutover, and then
// that under an app. Each time it is said, and when the pool is there again everything goes on.
func exported(w *world) {
	const size = 24 << 20
	a, sum := w.limited("export", size, "4Mi")
	before := a.sent("node1")
	a.want("node3")
	a.came(8 << 20)
	a.export("node3", "kill -KILL "+pids("zfs receive *")+";")
	a.says("pool tank of node3 is not imported")
	a.only("node1")
	a.keepsRunning("node1")
	a.reimport("node3")
	a.hurry("node3")
	a.has("node3", sum)
	if sent := a.sent("node1") - before; sent > size*3/2 {
		a.Errorf("%d bytes were sent for %d: what had arrived was sent again", sent, size)
	}

	once := sync.OnceFunc(func() { a.export("node3", "") })
	off := a.on(a.id(), func(e controller.Event) {
		if e.Kind == controller.EventDone && e.Step.Kind == state.Fence {
			once()
		}
	})
	a.want("node1")
	a.says("pool tank of node3 is not imported")
	off()
	a.reimport("node3")
	a.settled()
	a.only("node1")
	a.has("node1", sum)
	a.nothingLost(2)

	a.move("node3")
	a.nothingLost(3)
	a.export("node3", "kill -KILL "+pids("scribe *")+"; zfs unmount "+a.dataset()+";")
	a.want("node1")
	a.says("pool tank of node3 is not imported")
	a.reimport("node3")
	a.settled()
	a.only("node1")
	a.has("node1", sum)
}

// thin gives a node's pool another disk: one that is thinly provisioned, whose writes fail from when its store is full until that has room
// again. The returned functions fill the store, until the pool is suspended, and give it room.
func (w *world) thin(node string) (full func(failmode string), room func()) {
	w.Helper()
	n := w.node(node)
	n.Sh(`set -e
		mkdir /thin && mount -t tmpfs -o size=160m tmpfs /thin && truncate -s 1G /thin/disk
		zpool replace tank ubda /thin/disk && zpool wait -t replace tank`)
	full = func(failmode string) {
		w.Helper()
		n.Sh("zpool set failmode=" + failmode + " tank; dd if=/dev/zero of=/thin/other bs=1M 2>/dev/null; [ -s /thin/other ]")
		w.Await("the pool of "+node+" is suspended", func() bool { return n.Sh("zpool list -H -o health tank") == "SUSPENDED" })
	}
	return full, func() {
		w.Helper()
		n.Sh("rm /thin/other && zpool clear tank")
	}
}

// suspended: the pool of a move's target is suspended while a stream arrives, and that of its source before one begins. It is said, what others have is as it
// was, and when the pool is there again everything goes on.
func suspended(w *world) {
	const size, said = 20 << 20, "pool tank of node3 is suspended"
	full, room := w.thin("node3")
	for _, failmode := range []string{"wait", "continue"} {
		a, sum := w.limited("suspend-"+failmode, size, "4Mi")
		before := a.sent("node1")
		a.want("node3")
		a.came(8 << 20)
		full(failmode)
		a.says(said)
		a.only("node1")
		a.keepsRunning("node1")
		room()
		a.hurry("node3")
		a.has("node3", sum)
		if sent := a.sent("node1") - before; sent > size*3/2 {
			a.Errorf("%d bytes were sent for %d: what had arrived was sent again", sent, size)
		}
		if failmode == "wait" {
			full(failmode)
			a.want("node1")
			a.says(said)
			room()
			a.settled()
			a.only("node1")
			a.has("node1", sum)
			a.nothingLost(2)
		}
	}
}
