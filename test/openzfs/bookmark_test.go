//go:build linux

package openzfs_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/test/openzfs"
)

// forget destroys all snapshots of an app's volume on a node, with those of what is below it, held ones too, as a person might who makes room.
func (a *app) forget(node string) {
	a.Helper()
	a.node(node).Sh("set -e; for s in $(zfs list -H -o name -t snapshot -r " + a.dataset() + "); do " +
		"for tag in $(zfs holds -H $s | cut -f 2); do zfs release $tag $s; done; zfs destroy $s; done")
}

// kinds counts the steps of an app that were done.
func (a *app) kinds() map[state.StepKind]int {
	done := map[state.StepKind]int{}
	for _, e := range a.said(a.id()) {
		if e.Kind == controller.EventDone {
			done[e.Step.Kind]++
		}
	}
	return done
}

// Somebody destroys every snapshot at the source: caught up, before the cutover, and after it, where the volume went. The bookmarks of what
// both sides had are left, and what follows is an increment, of an encrypted dataset too.
func TestBookmarksOutliveTheirSnapshots(t *testing.T) {
	t.Parallel()
	w := newWorld(t, openzfs.Options{})
	a := w.scribe("marked", "idle", "", "reclaim: Retain")
	a.settled()
	from, to, key := a.node("node1"), a.node("node2"), filepath.Join(w.Dir, "key-marked")
	from.Sh("set -e; head -c 32 /dev/urandom >" + key + "; zfs create -o encryption=aes-256-gcm -o keyformat=raw -o keylocation=file://" + key + " " + a.dataset() + "/secret; " +
		"head -c 8000000 /dev/urandom >" + filepath.Dir(a.dir()) + "/secret/file")
	big := a.fill("node1", "big", 32<<20)
	secret := from.Sh("sha256sum <" + filepath.Dir(a.dir()) + "/secret/file")

	w.must(w.Register().SetMark(w.Context(), a.id(), &state.Mark{Kind: state.Paused}))
	a.want("node2")
	a.says("is paused, caught up")
	a.forget("node1")
	to.Sh("zfs load-key -L file://" + key + " " + a.dataset() + "/secret")
	w.must(w.Register().SetMark(w.Context(), a.id(), nil))
	a.settled()
	a.only("node2")
	if marks := to.Sh("zfs list -H -o name -t bookmark -r " + a.dataset()); strings.Count(marks, "#drover-") != 2 {
		t.Errorf("bookmarks where it went: %q", marks)
	}
	a.forget("node2")
	a.move("node1")

	if got := a.sum("node1", "big"); got != big {
		t.Errorf("the data is %s, was %s", got, big)
	}
	if got := from.Sh("sha256sum <" + filepath.Dir(a.dir()) + "/secret/file"); got != secret {
		t.Errorf("the encrypted data is %s, was %s", got, secret)
	}
	done := a.kinds()
	if done[state.Replicate] != 1 || done[state.SetAside] != 0 || done[state.Rejoin] != 1 || done[state.Promote] != 2 {
		t.Errorf("steps done: %v", done)
	}
	for _, n := range []*openzfs.Node{from, to} {
		if all := n.Sh("zfs list -H -o name"); strings.Contains(all, ".aside-") {
			t.Errorf("on %s something was set aside: %q", n.Name, all)
		}
	}
}
