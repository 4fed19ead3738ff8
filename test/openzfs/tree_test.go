//go:build linux

package openzfs_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drover-project/drover/test/openzfs"
)

// grow gives an app's volume datasets below it, as people have them: with snapshots by hand, quotas, properties and attributes of
// their own, one of them encrypted.
func (a *app) grow(xattr, key string) {
	a.Helper()
	root, home := filepath.Dir(a.dir()), a.dataset()
	a.node("node1").Sh(strings.Join([]string{
		"set -e",
		"head -c 32 /dev/urandom >" + key,
		"zfs create -o recordsize=8K -o quota=300M -o compression=gzip " + home + "/media",
		"zfs create -o atime=off -o reservation=10M -o refquota=100M -o readonly=off " + home + "/media/small",
		"zfs create -o encryption=aes-256-gcm -o keyformat=raw -o keylocation=file://" + key + " " + home + "/secret",
		"cd " + root,
		"for d in media media/small secret; do head -c 500000 /dev/urandom >$d/random; head -c 500000 /dev/zero >$d/zero; done",
		"zfs snapshot -r " + home + "@by-hand-1",
		xattr + " set media/random user.colour blue",
		xattr + " set secret/random user.colour green",
		"echo more >>secret/zero",
		"zfs snapshot " + home + "/secret@by-hand-2",
	}, "\n"))
}

// below are the checksums and attributes of all files below the volume.
func (a *app) below(n *openzfs.Node, xattr string) string {
	return n.Sh("cd " + filepath.Dir(a.dir()) + " && find media secret -type f | sort | xargs md5sum && " + xattr + " list media && " + xattr + " list secret")
}

// A volume with datasets below it moves as a whole: with their snapshots, properties, quotas and attributes, the encrypted one without
// its key, which a person loads on the target before the app is stopped.
func TestTreeMoves(t *testing.T) { onReleases(t, treeMoves) }

func treeMoves(t *testing.T, o openzfs.Options) {
	w := newWorld(t, o)
	xattr, key := w.Build("./test/openzfs/cmd/xattr"), filepath.Join(w.Dir, "key")
	a := w.scribe("forest", "idle", "", "reclaim: Retain")
	a.settled()
	a.grow(xattr, key)
	from, to, home := a.node("node1"), a.node("node2"), a.dataset()
	before := a.below(from, xattr)
	a.want("node2")
	if got := a.says("its key is not loaded on node2"); !strings.Contains(got, "run zfs load-key -r "+home) {
		t.Errorf("it says %q", got)
	}
	a.only("node1")
	limits := "zfs get -Hp -o value quota,reservation,refquota " + home + "/media/small"
	if out := to.Sh(limits); out != "0\n0\n0" {
		t.Errorf("a standby has limits: %q", out)
	}
	to.Sh("zfs load-key -L file://" + key + " " + home + "/secret")
	a.settled()
	a.only("node2")

	if out := to.Sh(limits); out != "0\n10485760\n104857600" {
		t.Errorf("limits after the move: %q", out)
	}
	if diff := cmp.Diff(before, a.below(to, xattr)); diff != "" {
		t.Errorf("contents differ: %s", diff)
	}
	for what, list := range map[string]string{
		"snapshots":  "zfs list -Hp -t snapshot -r -s name -s createtxg -o name,guid " + home,
		"properties": "zfs get -Hp -r -t filesystem -s local -o name,property,value recordsize,compression,atime,quota,refquota,reservation " + home,
	} {
		if diff := cmp.Diff(from.Sh(list), to.Sh(list)); diff != "" {
			t.Errorf("%s differ: %s", what, diff)
		}
	}
	mounts := "zfs list -H -r -o mounted,canmount,readonly " + home
	if old, now := from.Sh(mounts), to.Sh(mounts); old != four("no\tnoauto\ton") || now != four("yes\tnoauto\toff") {
		t.Errorf("the old copy is %q, the new one %q", old, now)
	}
	to.Sh("cd " + filepath.Dir(a.dir()) + " && for d in media media/small secret; do echo new >$d/new || exit 1; done")
}

func four(line string) string { return strings.TrimSuffix(strings.Repeat(line+"\n", 4), "\n") }
