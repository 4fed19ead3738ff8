package agent

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// withChildren is a copy in a role at 0.1 with two children, everything in its snapshot.
func withChildren(role state.Role) *state.Copy {
	readonly := role != state.Primary
	child := func(path string, guid state.GUID) state.Child {
		return state.Child{Path: path, Filesystem: state.Filesystem{Readonly: readonly, Mountpoint: "/v/" + path, Properties: map[string]string{"canmount": "noauto"},
			Snapshots: []state.Snapshot{{Name: "final", GUID: guid}}}}
	}
	return &state.Copy{Dataset: "tank/v", Volume: "v", UUID: "u", Role: role, Epoch: ep(0, 1), Filesystem: state.Filesystem{Readonly: readonly, Mountpoint: "/v",
		Snapshots: []state.Snapshot{{Name: "final", GUID: 1}}}, Children: []state.Child{child("a", 2), child("a/b", 3)}}
}

func stepFor(c *state.Copy) state.Step {
	return state.Step{Volume: "v", UUID: "u", Node: "n1", Peer: "n2", Expect: state.Expect{Role: c.Role, Epoch: c.Epoch}, Epoch: ep(0, 2),
		Snapshot: "last", Base: 1, Release: &state.Release{From: "n1", To: "n2", Epoch: ep(0, 2), GUID: 1, Below: withChildren(c.Role).Below()}}
}

// Each row looks at all of a tree; here something about one child is not as it should be.
func TestRowsLookAtChildren(t *testing.T) {
	fenceIt := func(c *state.Copy) *Error { _, err := fence(c, stepFor(c), facts{node: "n1"}); return err }
	releaseIt := func(c *state.Copy) *Error { _, err := release(c, stepFor(c), facts{node: "n1"}); return err }
	promoteIt := func(c *state.Copy) *Error { _, err := promote(c, stepFor(c), facts{node: "n2"}); return err }
	deleteIt := func(c *state.Copy) *Error {
		peer := withChildren(state.Primary)
		peer.Epoch = ep(0, 2)
		return deletable(c, stepFor(c), facts{node: "n1"}, peer)
	}
	for _, row := range []struct {
		name  string
		role  state.Role
		row   func(*state.Copy) *Error
		spoil func(*state.Child)
		says  string
	}{
		{"fence: readonly of its own", state.Primary, fenceIt, func(d *state.Child) { d.Properties["readonly"] = "off" }, "tank/v/a/b has a readonly=off of its own"},
		{"fence: device", state.Primary, fenceIt, func(d *state.Child) { d.Device = true }, "tank/v/a/b is a ZFS volume"},
		{"fence: clone", state.Primary, fenceIt, func(d *state.Child) { d.Origin = "tank/w@s" }, "tank/v/a/b is a clone of tank/w@s"},
		{"fence: mounted elsewhere", state.Primary, fenceIt, func(d *state.Child) { d.Properties["mountpoint"] = "/v2" }, "has the mountpoint /v2"},
		{"fence: another volume", state.Primary, fenceIt, func(d *state.Child) { d.Claims = "w" }, "is a copy of volume w"},
		{"release: writable", state.Fenced, releaseIt, func(d *state.Child) { d.Readonly = false }, "can be written to"},
		{"release: written", state.Fenced, releaseIt, func(d *state.Child) { d.Written = 5 }, "5 bytes were written to tank/v/a/b"},
		{"release: no snapshot", state.Fenced, releaseIt, func(d *state.Child) { d.Snapshots = nil }, "tank/v/a/b has no snapshot"},
		{"release: another snapshot", state.Fenced, releaseIt, func(d *state.Child) { d.Snapshots[0].GUID = 9 }, "not those of the release"},
		{"promote: half-received", state.Standby, promoteIt, func(d *state.Child) { d.ResumeToken = "1-a" }, "still receiving"},
		{"promote: no key", state.Standby, promoteIt, func(d *state.Child) { d.KeyMissing = true }, "the key of tank/v/a/b is not loaded"},
		{"promote: written", state.Standby, promoteIt, func(d *state.Child) { d.Written = 5 }, "5 bytes were written to tank/v/a/b"},
		{"promote: renamed", state.Standby, promoteIt, func(d *state.Child) { d.Path = "a/c" }, "not those of the release"},
		{"promote: mounted", state.Standby, promoteIt, func(d *state.Child) { d.Mounted = true }, "it is mounted at /v/a/b"},
		{"delete: not on the primary", state.Retired, deleteIt, func(d *state.Child) { d.Path = "a/c" }, "tank/v/a/c is not on the primary"},
		{"delete: newer", state.Retired, deleteIt, func(d *state.Child) { d.Snapshots[0].GUID = 9 }, "the newest snapshot of tank/v/a/b is not on the primary"},
		{"delete: written", state.Retired, deleteIt, func(d *state.Child) { d.Written = 5 }, "5 bytes were written to tank/v/a/b"},
		{"delete: half-received", state.Retired, deleteIt, func(d *state.Child) { d.ResumeToken = "1-a" }, "half-received"},
		{"delete: device", state.Retired, deleteIt, func(d *state.Child) { d.Device = true }, "rename it away"},
	} {
		c := withChildren(row.role)
		if row.role == state.Primary {
			c.Snapshots = nil
		}
		if err := row.row(c); err != nil {
			t.Errorf("%s: as it should be: %v", row.name, err)
		}
		row.spoil(&c.Children[1])
		if err := row.row(c); err == nil || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: got %v, want %q", row.name, err, row.says)
		}
	}
	without := withChildren(state.Standby)
	without.Children = without.Children[:1]
	if err := promoteIt(without); err == nil {
		t.Error("promoted without a child")
	}
}

func TestGoalOfParts(t *testing.T) {
	c := withChildren(state.Primary)
	b := &c.Children[1]
	b.Snapshots = append(b.Snapshots, state.Snapshot{Name: "by-hand", GUID: 4})
	for _, row := range []struct {
		path, name string
		last       bool
		want       state.GUID
	}{{"a/b", "final", false, 3}, {"a/b", "final", true, 4}, {"a", "final", true, 2}, {"a", "later", false, 0}} {
		var got state.GUID
		if s := goalOf(c.Part(row.path), row.name, row.last); s != nil {
			got = s.GUID
		}
		if got != row.want {
			t.Errorf("%+v: got %d", row, got)
		}
	}
}

func TestWhatAPartTakesOver(t *testing.T) {
	src := withChildren(state.Primary)
	src.Mountpoint = "/mnt/v"
	src.Properties = map[string]string{"recordsize": "16384", "refquota": "7", "quota": "9", "readonly": "off", "sharenfs": "on"}
	src.Children[0].Properties = map[string]string{"mountpoint": "/mnt/v/x/y", "canmount": "off", "readonly": "on", "atime": "off", "refquota": "5"}
	root, a := settledOf(src, ""), settledOf(src, "a")
	if err := root.check(); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct{ got, want map[string]string }{
		"root":  {root.properties("", "/v"), map[string]string{"recordsize": "16384", zfs.PropLimits: "quota=9"}},
		"child": {a.properties("a", "/v"), map[string]string{"mountpoint": "/v/x/y", "canmount": "off", "readonly": "on", "atime": "off", zfs.PropLimits: "refquota=5"}},
		"plain": {settledOf(src, "a/b").properties("a/b", "/v"), map[string]string{"canmount": "noauto"}},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	dst := &state.Copy{Filesystem: state.Filesystem{Properties: map[string]string{"recordsize": "8192", "xattr": "sa", "sharenfs": "off", "mountpoint": "/v"}, Limits: map[string]string{"quota": "8"}}}
	set, inherit := root.differing(dst, "", "/v")
	if want := map[string]string{"recordsize": "16384", zfs.PropLimits: "quota=9"}; !maps.Equal(set, want) || !slices.Equal(inherit, []string{"xattr"}) {
		t.Errorf("set %v, inherit %v", set, inherit)
	}
	for _, bad := range []settledPart{{Properties: map[string]string{"sharenfs": "on"}}, {Limits: map[string]string{"recordsize": "1"}}, {Mountpoint: "../etc"}, {Mountpoint: "/etc"}} {
		if bad.check() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

func TestReceivableChildren(t *testing.T) {
	c := withChildren(state.Standby)
	ask := receiveRequest{Volume: "v", UUID: "u", From: "n1", Epoch: ep(0, 1), SendFlags: "-Lce", To: 9}
	for name, row := range map[string]struct {
		change func(*receiveRequest)
		there  bool
		code   Code
	}{
		"a new child":                 {func(q *receiveRequest) { q.Child = "c" }, false, ""},
		"an increment of none":        {func(q *receiveRequest) { q.Child, q.Base = "c", 2 }, false, CodeUnexpected},
		"an increment":                {func(q *receiveRequest) { q.Child, q.Base = "a", 2 }, false, ""},
		"another's base":              {func(q *receiveRequest) { q.Child, q.Base = "a", 3 }, false, CodeUnexpected},
		"there already":               {func(q *receiveRequest) { q.Child, q.To = "a/b", 3 }, true, ""},
		"whole again":                 {func(q *receiveRequest) { q.Child = "a" }, false, CodeUnexpected},
		"a token that it has not got": {func(q *receiveRequest) { q.Child, q.Token = "a", "1-a" }, false, CodeUnexpected},
	} {
		q := ask
		row.change(&q)
		there, err := receivable(c, q, state.Epoch{})
		if there != row.there || (err == nil) != (row.code == "") || err != nil && err.Code != row.code {
			t.Errorf("%s: %v, %v", name, there, err)
		}
	}
	if _, err := receivable(nil, receiveRequest{Child: "a"}, state.Epoch{}); err == nil {
		t.Error("a child of no copy")
	}
}

// Only what moves have made is ever destroyed, however else people name their snapshots.
func TestOurSnapshots(t *testing.T) {
	for name, want := range map[string]bool{"drover-0.2-0": true, "drover-1.12-final": true, "drover-mine": false, "drover-0.2-mine": false, "drover-0.2-0x": false, "by-hand": false} {
		if got := ourSnapshot.MatchString(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
