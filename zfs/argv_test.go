package zfs

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const token = "1-ade465e5c-b0-789c636064"

// commandLine is a call and what it runs.
type commandLine struct {
	name string
	call func(context.Context, *ZFS) error
	want string
}

func commandLines() []commandLine {
	props := map[string]string{"readonly": "on", PropRole: "standby", "canmount": "noauto"}
	return []commandLine{
		{"create", func(ctx context.Context, z *ZFS) error { return z.Create(ctx, "tank/d/v", props) },
			"zfs|create|-o|canmount=noauto|-o|drover:role=standby|-o|readonly=on|tank/d/v"},
		{"set", func(ctx context.Context, z *ZFS) error { return z.Set(ctx, "tank/v", props) },
			"zfs|set|canmount=noauto|drover:role=standby|readonly=on|tank/v"},
		{"set a quota", func(ctx context.Context, z *ZFS) error {
			return z.Set(ctx, "tank/v", map[string]string{"refquota": "1024"})
		},
			"zfs|set|refquota=1024|tank/v"},
		{"set no quota", func(ctx context.Context, z *ZFS) error {
			return z.Set(ctx, "tank/v", map[string]string{"refquota": "0"})
		},
			"zfs|set|refquota=none|tank/v"},
		{"set on a snapshot", func(ctx context.Context, z *ZFS) error { return z.Set(ctx, "tank/v@s", map[string]string{"a:b": ""}) },
			"zfs|set|a:b=|tank/v@s"},
		{"set each", func(ctx context.Context, z *ZFS) error {
			return z.SetEach(ctx, "tank/v", map[string]string{"quota": "0", "atime": "off", "compression": "lz4", "sync": "always"})
		}, "zfs|set|atime=off|sync=always|tank/v\nzfs|set|compression=lz4|tank/v\nzfs|set|quota=none|tank/v"},
		{"inherit", func(ctx context.Context, z *ZFS) error { return z.Inherit(ctx, "tank/v", PropLead) },
			"zfs|inherit|drover:lead|tank/v"},
		{"snapshot", func(ctx context.Context, z *ZFS) error {
			return z.Snapshot(ctx, "s1", map[string]string{"drover:move": "m"}, "tank/v", "tank/w")
		}, "zfs|snapshot|-o|drover:move=m|tank/v@s1|tank/w@s1"},
		{"hold", func(ctx context.Context, z *ZFS) error { return z.Hold(ctx, "drover:base", "tank/v@1", "tank/v@2") },
			"zfs|hold|drover:base|tank/v@1|tank/v@2"},
		{"release", func(ctx context.Context, z *ZFS) error { return z.ReleaseHold(ctx, Tag, "tank/v@1") },
			"zfs|release|drover|tank/v@1"},
		{"bookmark", func(ctx context.Context, z *ZFS) error { return z.Bookmark(ctx, "tank/v@1", "tank/v#1") },
			"zfs|bookmark|tank/v@1|tank/v#1"},
		{"destroy", func(ctx context.Context, z *ZFS) error { return z.Destroy(ctx, "tank/v") }, "zfs|destroy|tank/v"},
		{"destroy a bookmark", func(ctx context.Context, z *ZFS) error { return z.Destroy(ctx, "tank/v#b") }, "zfs|destroy|tank/v#b"},
		{"destroy snapshots", func(ctx context.Context, z *ZFS) error { return z.DestroySnapshots(ctx, "tank/v", "a", "b") },
			"zfs|destroy|tank/v@a,b"},
		{"destroy a tree", func(ctx context.Context, z *ZFS) error { return z.DestroyTree(ctx, "tank/v") }, "zfs|destroy|-r|tank/v"},
		{"rename", func(ctx context.Context, z *ZFS) error { return z.Rename(ctx, "tank/v", "tank/v.aside") },
			"zfs|rename|tank/v|tank/v.aside"},
		{"rollback", func(ctx context.Context, z *ZFS) error { return z.Rollback(ctx, "tank/v@1") }, "zfs|rollback|tank/v@1"},
		{"mount", func(ctx context.Context, z *ZFS) error { return z.Mount(ctx, "tank/v", "ro") }, "zfs|mount|-o|ro|tank/v"},
		{"unmount", func(ctx context.Context, z *ZFS) error { return z.Unmount(ctx, "tank/v") }, "zfs|unmount|tank/v"},
		{"sync", func(ctx context.Context, z *ZFS) error { return z.Sync(ctx, "tank") }, "zpool|sync|tank"},
		{"clone", func(ctx context.Context, z *ZFS) error { return z.Clone(ctx, "tank/v@1", "tank/c", nil) },
			"zfs|clone|tank/v@1|tank/c"},
		{"abort receive", func(ctx context.Context, z *ZFS) error { return z.AbortReceive(ctx, "tank/v") }, "zfs|receive|-A|tank/v"},
		{"receive", func(ctx context.Context, z *ZFS) error {
			q := ReceiveRequest{Dataset: "tank/v", Properties: props, Exclude: []string{"atime"}}
			return z.Receive(ctx, q, strings.NewReader(""))
		}, "zfs|receive|-s|-u|-o|canmount=noauto|-o|drover:role=standby|-o|readonly=on|-x|atime|tank/v"},
		{"send", sends(SendRequest{Snapshot: "tank/v@2", Base: "tank/v@1", Flags: []string{"-Lce"}}),
			"zfs|send|-Lce|-i|tank/v@1|tank/v@2"},
		{"send from a bookmark", sends(SendRequest{Snapshot: "tank/v@2", Base: "tank/v#1"}), "zfs|send|-i|tank/v#1|tank/v@2"},
		{"send by token", sends(SendRequest{Token: token}), "zfs|send|-t|" + token},
	}
}

// TestCommandLines holds what each call runs, word for word.
func TestCommandLines(t *testing.T) {
	for _, c := range commandLines() {
		t.Run(c.name, func(t *testing.T) {
			z, dir := fake(t, "[ $2 != -s ] || cat; exit 0")
			if err := c.call(testContext(t), z); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(c.want, "\n"), argv(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func sends(q SendRequest) func(context.Context, *ZFS) error {
	return func(ctx context.Context, z *ZFS) error {
		s, err := z.Send(ctx, q)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, s)
		return errors.Join(err, s.Close())
	}
}

// TestRefusedBeforeRun holds what never reaches a command line.
func TestRefusedBeforeRun(t *testing.T) {
	long := "tank/" + strings.Repeat("x", 251)
	value := func(v string) map[string]string { return map[string]string{PropRole: v} }
	for name, call := range map[string]func(context.Context, *ZFS) error{
		"an option":             func(ctx context.Context, z *ZFS) error { return z.Create(ctx, "-R/x", nil) },
		"a whole pool":          func(ctx context.Context, z *ZFS) error { return z.Destroy(ctx, "tank") },
		"a whole pool's tree":   func(ctx context.Context, z *ZFS) error { return z.DestroyTree(ctx, "tank") },
		"an empty name":         func(ctx context.Context, z *ZFS) error { return z.DestroyTree(ctx, "") },
		"a snapshot's tree":     func(ctx context.Context, z *ZFS) error { return z.DestroyTree(ctx, "tank/v@1") },
		"a range":               func(ctx context.Context, z *ZFS) error { return z.Destroy(ctx, "tank/v@a%b") },
		"a list":                func(ctx context.Context, z *ZFS) error { return z.Destroy(ctx, "tank/v@a,b") },
		"no snapshots":          func(ctx context.Context, z *ZFS) error { return z.DestroySnapshots(ctx, "tank/v") },
		"an empty snapshot":     func(ctx context.Context, z *ZFS) error { return z.DestroySnapshots(ctx, "tank/v", "") },
		"half-received state":   func(ctx context.Context, z *ZFS) error { return z.Destroy(ctx, "tank/v/%recv") },
		"dot dot":               func(ctx context.Context, z *ZFS) error { return z.Rename(ctx, "tank/v", "tank/../v") },
		"an empty part":         func(ctx context.Context, z *ZFS) error { return z.Mount(ctx, "tank//v") },
		"a long name":           func(ctx context.Context, z *ZFS) error { return z.Unmount(ctx, long) },
		"a newline":             func(ctx context.Context, z *ZFS) error { return z.Rollback(ctx, "tank/v@a\nb") },
		"a value with a tab":    func(ctx context.Context, z *ZFS) error { return z.Set(ctx, "tank/v", value("a\tb")) },
		"a long value":          func(ctx context.Context, z *ZFS) error { return z.Set(ctx, "tank/v", value(strings.Repeat("x", 8192))) },
		"a property like -F":    func(ctx context.Context, z *ZFS) error { return z.Set(ctx, "tank/v", map[string]string{"-F": "1"}) },
		"no property":           func(ctx context.Context, z *ZFS) error { return z.Set(ctx, "tank/v", nil) },
		"a property upper case": func(ctx context.Context, z *ZFS) error { return z.Inherit(ctx, "tank/v", "drover:Role") },
		"role and quota": func(ctx context.Context, z *ZFS) error {
			return z.Set(ctx, "tank/v", map[string]string{PropRole: "primary", "quota": "1"})
		},
		"two quotas": func(ctx context.Context, z *ZFS) error {
			return z.Set(ctx, "tank/v", map[string]string{"refquota": "1", "quota": "1"})
		},
		"a foreign tag":         func(ctx context.Context, z *ZFS) error { return z.Hold(ctx, "keep", "tank/v@1") },
		"a hold on a dataset":   func(ctx context.Context, z *ZFS) error { return z.Hold(ctx, Tag, "tank/v") },
		"a bookmark elsewhere":  func(ctx context.Context, z *ZFS) error { return z.Bookmark(ctx, "tank/v@1", "tank/v@2") },
		"a mount option":        func(ctx context.Context, z *ZFS) error { return z.Mount(ctx, "tank/v", "ro,-x y") },
		"send -p":               sends(SendRequest{Snapshot: "tank/v@1", Flags: []string{"-p"}}),
		"send -LR":              sends(SendRequest{Snapshot: "tank/v@1", Flags: []string{"-LR"}}),
		"send a dataset":        sends(SendRequest{Snapshot: "tank/v"}),
		"send a base":           sends(SendRequest{Snapshot: "tank/v@1", Base: "-R"}),
		"send a bad token":      sends(SendRequest{Token: "1-abc"}),
		"send a token and more": sends(SendRequest{Token: token, Snapshot: "tank/v@1"}),
		"receive into a pool":   func(ctx context.Context, z *ZFS) error { return z.Receive(ctx, ReceiveRequest{Dataset: "tank"}, nil) },
		"receive -x -F": func(ctx context.Context, z *ZFS) error {
			return z.Receive(ctx, ReceiveRequest{Dataset: "tank/v", Exclude: []string{"-F"}}, nil)
		},
		"receive -o and -x": func(ctx context.Context, z *ZFS) error {
			return z.Receive(ctx, ReceiveRequest{Dataset: "tank/v", Properties: value("x"), Exclude: []string{PropRole}}, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			z, dir := fake(t, "exit 0")
			if err := call(testContext(t), z); !errors.Is(err, ErrUsage) {
				t.Errorf("got %v, want ErrUsage", err)
			}
			if _, err := os.Stat(filepath.Join(dir, "argv")); err == nil {
				t.Errorf("was run: %q", argv(t, dir))
			}
		})
	}
}

func TestAlreadySoIsNoError(t *testing.T) {
	for _, c := range []struct {
		name, says string
		call       func(context.Context, *ZFS) error
	}{
		{"hold", "cannot hold snapshot 'a/v@1': tag already exists on this dataset",
			func(ctx context.Context, z *ZFS) error { return z.Hold(ctx, Tag, "a/v@1") }},
		{"release", "cannot release hold from snapshot 'a/v@1': no such tag on this dataset",
			func(ctx context.Context, z *ZFS) error { return z.ReleaseHold(ctx, Tag, "a/v@1") }},
		{"release of nothing", "cannot release hold from snapshot 'a/v@1': dataset does not exist",
			func(ctx context.Context, z *ZFS) error { return z.ReleaseHold(ctx, Tag, "a/v@1") }},
		{"mount", "cannot mount 'a/v': filesystem already mounted",
			func(ctx context.Context, z *ZFS) error { return z.Mount(ctx, "a/v") }},
		{"unmount", "cannot unmount 'a/v': not currently mounted",
			func(ctx context.Context, z *ZFS) error { return z.Unmount(ctx, "a/v") }},
		{"abort receive", "'a/v' does not have any resumable receive state to abort",
			func(ctx context.Context, z *ZFS) error { return z.AbortReceive(ctx, "a/v") }},
		{"destroy snapshots", "could not find any snapshots to destroy; check snapshot names.",
			func(ctx context.Context, z *ZFS) error { return z.DestroySnapshots(ctx, "a/v", "1") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			z, _ := fake(t, `echo "`+c.says+`" >&2; exit 1`)
			if err := c.call(testContext(t), z); err != nil {
				t.Error(err)
			}
			z, _ = fake(t, `echo "`+c.says+`" >&2; echo "cannot do it: pool I/O is currently suspended" >&2; exit 1`)
			if err := c.call(testContext(t), z); err == nil {
				t.Error("another message beside it is swallowed")
			}
		})
	}
}
