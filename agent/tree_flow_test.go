package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drover-project/drover/lab/zfsim"
	"github.com/drover-project/drover/state"
)

const home = "tank/drover/tododata"

// tree is a volume with children, each with a file, that another node does not have yet.
func tree(t testing.TB, children ...string) handover {
	t.Helper()
	b := newBench(t)
	h := handover{v: todo, from: b.node("node1"), to: b.node("node2"), e: "0.1", next: "0.2"}
	h.from.create(h.v)
	h.from.write(h.v, "f", "root")
	for _, c := range children {
		h.from.child(c)
	}
	return h
}

// child makes a child of the volume, as an operator would, with a file in it that says its path.
func (n *node) child(path string, options ...string) {
	n.t.Helper()
	n.zfs(append(append([]string{"create"}, options...), home+"/"+path)...)
	n.writeIn(path, "f", path)
}

func (n *node) writeIn(child, file, text string) {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(n.copy(todo).Mountpoint, child, file), []byte(text), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) readIn(child, file string) string {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.copy(todo).Mountpoint, child, file))
	if err != nil {
		n.t.Fatal(err)
	}
	return string(b)
}

func (h handover) evidenceOf() *state.Release {
	h.from.t.Helper()
	r := h.evidence()
	r.Below = h.from.copy(h.v).Below()
	return r
}

// giveOver is the cutover of a tree from the fence on.
func (h handover) giveOver() Result {
	h.from.t.Helper()
	h.from.do(h.fenceStep())
	h.from.do(h.lastStep())
	release := h.releaseStep()
	release.Release = h.evidenceOf()
	h.from.do(release)
	return h.promoteTree()
}

func (h handover) promoteTree() Result {
	h.from.t.Helper()
	promote := h.promoteStep()
	promote.Release = h.evidenceOf()
	r := h.to.do(promote)
	h.from.do(h.retireStep())
	return r
}

// contents are the snapshots by name and guid of each part, and whether it can be written to.
func contents(c *state.Copy) map[string][]string {
	all := map[string][]string{}
	for _, path := range c.Paths() {
		all[path] = nil
		for _, s := range c.Part(path).Snapshots {
			all[path] = append(all[path], s.Name+" "+s.GUID.String())
		}
	}
	return all
}

func TestTreeMoves(t *testing.T) {
	h := tree(t, "logs", "logs/old", "media")
	h.from.zfs("set", "recordsize=8K", home+"/media")
	h.from.zfs("set", "quota=50M", home+"/media")
	h.from.zfs("snapshot", home+"/media@by-hand")
	h.from.zfs("set", "readonly=off", home+"/logs")
	h.replicate()
	h.from.child("late")
	h.from.writeIn("media", "more", "changed")
	h.from.zfs("snapshot", "-r", home+"@daily")
	h.catchUp(1)
	h.from.writeIn("logs/old", "last", "words")
	h.from.child("latest") // travels whole with the last increment
	promoted := h.giveOver().Copy

	for _, path := range []string{"logs", "logs/old", "media", "late", "latest"} {
		if got := h.to.readIn(path, "f"); got != path {
			t.Errorf("%s has %q", path, got)
		}
	}
	if got := h.to.readIn("media", "more") + h.to.readIn("logs/old", "last") + h.to.read(h.v, "f"); got != "changedwordsroot" {
		t.Errorf("read %q", got)
	}
	old := h.from.want(h.v, state.Retired, "0.1")
	if diff := cmp.Diff(contents(old), contents(h.to.copy(h.v))); diff != "" {
		t.Errorf("snapshots differ: %s", diff)
	}
	for _, d := range old.Children {
		if !d.Readonly || d.Mounted || d.Properties["canmount"] != "noauto" {
			t.Errorf("old %s: %+v", d.Path, d)
		}
	}
	for _, d := range promoted.Children {
		if d.Readonly || !d.Mounted || !d.Snapshots[len(d.Snapshots)-1].Held || d.Properties["canmount"] != "noauto" {
			t.Errorf("new %s: %+v", d.Path, d)
		}
	}
	media := promoted.Child("media")
	if media.Properties["recordsize"] != "8192" || media.Limits["quota"] != "52428800" || media.Properties["quota"] != "" {
		t.Errorf("media has %v, and is to get %v", media.Properties, media.Limits)
	}
	h.limitsComeWithKeep()
}

func (h handover) limitsComeWithKeep() {
	t := h.to.t
	t.Helper()
	c := h.to.do(h.to.step(state.SetProperties, h.v, state.Primary, h.next)).Copy
	if media := c.Child("media"); media.Properties["quota"] != "52428800" || len(media.Limits) != 0 {
		t.Errorf("media has %v, and is still to get %v", media.Properties, media.Limits)
	}
}

// A child that is destroyed, renamed or destroyed and made again at the source does not stay on the target as it was.
func TestTreeChangesShape(t *testing.T) {
	h := tree(t, "a", "b", "b/below")
	h.replicate()
	for _, path := range []string{"/b/below", "/b"} {
		h.from.zfs("release", "drover", home+path+"@drover-0.2-0")
	}
	h.from.zfs("destroy", "-r", home+"/b")
	r := h.catchUp(1)
	if r.Peer.Child("b") == nil || r.Peer.Complete(r.Copy) {
		t.Fatalf("the target's child went by itself: %+v", r.Peer.Children)
	}
	aside := h.to.step(state.SetAside, h.v, state.Standby, "0.1")
	aside.Child = "b"
	for range 2 {
		r = h.to.do(aside)
	}
	if r.Copy.Child("b") != nil || r.Copy.Child("b/below") != nil || r.Copy.Role != state.Standby {
		t.Errorf("set aside: %+v", r.Copy.Children)
	}
	kept := h.to.zfs("list", "-H", "-o", "name,readonly,canmount,drover:volume", "-r", "tank/drover")
	for _, line := range []string{home + ".b.aside-1\ton\tnoauto\t-", home + ".b.aside-1/below\ton\tnoauto\t-"} {
		if !strings.Contains(kept, line+"\n") {
			t.Errorf("want %q in\n%s", line, kept)
		}
	}
	h.giveOver()
	if diff := cmp.Diff(contents(h.from.copy(h.v)), contents(h.to.copy(h.v))); diff != "" {
		t.Error(diff)
	}
}

func TestTreeGoesBackAndRejoins(t *testing.T) {
	h := tree(t, "a")
	h.from.zfs("set", "quota=50M", home+"/a")
	h.replicate()
	h.from.do(h.fenceStep())
	if c := h.from.do(h.backStep(state.Fenced, "0.2", nil)).Copy; c.Children[0].Readonly || !c.Children[0].Mounted {
		t.Errorf("went back to %+v", c.Children)
	}
	h.from.writeIn("a", "f", "again")
	h.e, h.next = "0.2", "0.3"
	h.catchUp(0)
	h.giveOver()
	h.to.writeIn("a", "f", "there")

	rejoin := h.from.step(state.Rejoin, h.v, state.Retired, "0.2")
	rejoin.Peer, rejoin.PeerAddress, rejoin.Base = h.to.id(), h.to.addr(), h.from.copy(h.v).Newest().GUID
	if c := h.from.do(rejoin).Copy; c.Role != state.Standby {
		t.Errorf("rejoined as %s", c.Role)
	}
	if got := h.from.zfs("get", "-Hpo", "value", "quota", home+"/a"); got != "0\n" {
		t.Errorf("a standby has a quota of %q", got)
	}
	back := handover{v: h.v, from: h.to, to: h.from, e: "0.3", next: "0.4"}
	back.catchUp(0)
	back.giveOver()
	if got := h.from.readIn("a", "f"); got != "there" {
		t.Errorf("read %q", got)
	}
}

// A half-received child that is not resumed does not cost its siblings what has arrived of them.
func TestHalfReceivedChildrenDoNotShareTheirFate(t *testing.T) {
	h := tree(t, "a", "b")
	h.replicate()
	fail := func(round int, rules ...zfsim.Rule) {
		t.Helper()
		h.from.faults(zfsim.Faults{Rules: rules})
		s := h.from.to(h.to, state.CatchUp, h.v, h.e, fmt.Sprint("drover-0.2-", round))
		if _, err := h.from.try(s); err == nil {
			t.Fatal("a cut stream looks like one that ended")
		}
	}
	cut := func(args string, at int64) zfsim.Rule {
		return zfsim.Rule{Command: "send", Args: args, Action: zfsim.ActKillStream, Bytes: at}
	}
	h.from.grow("b")
	fail(1, cut("/b@drover-0.2-1", 2<<20))
	h.from.grow("a")
	fail(2, cut("/a@drover-0.2-2", 2<<20), cut("-t", 1))
	half := h.to.copy(h.v)
	if half.Child("a").ResumeToken == "" || half.Child("b").ResumeToken == "" {
		t.Fatalf("nothing to resume: %+v", half.Children)
	}

	gate := filepath.Join(t.TempDir(), "looks")
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	looks := zfsim.Rule{Command: "send", Args: "-t " + half.Child("a").ResumeToken, Action: zfsim.ActHangBefore, Until: gate}
	h.from.faults(zfsim.Faults{Rules: []zfsim.Rule{looks}})
	done := h.from.begin(h.from.to(h.to, state.CatchUp, h.v, h.e, "drover-0.2-2"))
	until(t, "the token of a is looked at", func() bool {
		hits, err := zfsim.ReachedFaults(h.from.machine.Dir)
		return err == nil && hits[0] > 0
	})
	h.to.zfs("receive", "-A", home+"/a") // after the sender has asked
	h.to.faults(zfsim.Faults{Rules: []zfsim.Rule{{Command: "receive", Args: "-A", Action: zfsim.ActExit1}}})
	if err := errors.Join(os.Remove(gate), <-done); err != nil {
		t.Fatal(err)
	}
	if c := h.to.copy(h.v); !c.Complete(h.from.copy(h.v)) {
		t.Errorf("not everything has arrived: %+v", c.Children)
	}
	if hits, err := zfsim.ReachedFaults(h.to.machine.Dir); err != nil || hits[0] != 0 {
		t.Errorf("the half-received stream of b was dropped: %v, %v", hits, err)
	}
}

// What a release says about the children is compared when the target takes over.
func TestPromotionComparesChildren(t *testing.T) {
	h := tree(t, "a", "b")
	h.replicate()
	h.from.do(h.fenceStep())
	last := h.lastStep()
	h.from.do(last)
	release := h.releaseStep()
	release.Release = h.evidence()
	if _, err := h.from.try(release); !isKind(err, ErrRefused) {
		t.Errorf("released without a word about the children: %v", err)
	}
	release.Release = h.evidenceOf()
	h.from.do(release)
	promote := h.promoteStep()
	promote.Release = h.evidenceOf()
	without := promote
	without.Release = h.evidence()
	if _, err := h.to.try(without); !isKind(err, ErrRefused) {
		t.Errorf("promoted without a word about the children: %v", err)
	}
	h.to.zfs("rename", home+"/b", "tank/drover/b")
	if _, err := h.to.try(promote); !isKind(err, ErrRefused) {
		t.Errorf("promoted without a child: %v", err)
	}
	h.to.zfs("rename", "tank/drover/b", home+"/b")
	h.to.zfs("create", "-u", home+"/c")
	if _, err := h.to.try(promote); !isKind(err, ErrRefused) {
		t.Errorf("promoted with a child more: %v", err)
	}
	h.to.zfs("destroy", home+"/c")
	h.to.do(promote)
}

func TestWhatDoesNotTravelIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		make []string
		says string
	}{
		"a clone":                 {[]string{"clone", "tank/other@s", home + "/c"}, "is a clone of tank/other@s"},
		"a mountpoint elsewhere":  {[]string{"create", "-o", "canmount=noauto", "-o", "mountpoint=/elsewhere", home + "/c"}, "has the mountpoint /elsewhere"},
		"another volume below it": {[]string{"create", "-o", "drover:volume=other", home + "/c"}, "is a copy of volume other"},
	} {
		t.Run(name, func(t *testing.T) {
			h := tree(t)
			h.from.zfs("create", "-o", "mountpoint=none", "tank/other")
			h.from.zfs("snapshot", "tank/other@s")
			h.from.zfs(c.make...)
			for _, s := range []state.Step{h.replicateStep(), h.fenceStep()} {
				if _, err := h.from.try(s); !isKind(err, ErrRefused) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%s: %v", s.Kind, err)
				}
			}
			h.from.want(h.v, state.Primary, "0.1")
		})
	}
}

// A child may be mounted elsewhere below the volume, or nowhere; that stays as it is.
func TestChildrenKeepTheirPlaces(t *testing.T) {
	h := tree(t)
	at := h.from.copy(h.v).Mountpoint
	h.from.zfs("create", "-o", "mountpoint="+at+"/deep/place", home+"/placed")
	h.from.zfs("create", "-o", "canmount=off", home+"/off")
	h.from.child("off/inner")
	h.from.zfs("create", "-o", "mountpoint=none", home+"/none")
	h.from.zfs("set", "readonly=on", home+"/off/inner")
	h.replicate()
	c := h.giveOver().Copy
	if d := c.Child("placed"); !d.Mounted || d.Mountpoint != c.Mountpoint+"/deep/place" {
		t.Errorf("placed: %+v", d)
	}
	if d := c.Child("off"); d.Mounted || d.Properties["canmount"] != "off" {
		t.Errorf("off: %+v", d)
	}
	if d := c.Child("off/inner"); !d.Mounted || !d.Readonly || h.to.readIn("off/inner", "f") != "off/inner" {
		t.Errorf("off/inner: %+v", d)
	}
	if d := c.Child("none"); d.Mounted || d.Mountpoint != "none" {
		t.Errorf("none: %+v", d)
	}
}
