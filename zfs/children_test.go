package zfs

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drover-project/drover/state"
)

func childProps() map[string]value {
	props := standbyProps()
	for name, v := range props {
		v.local = false
		props[name] = v
	}
	maps.Copy(props, map[string]value{"type": inherited("filesystem"), "canmount": local("noauto"), "mountpoint": inherited("/drover/v/logs"),
		"encryption": inherited("aes-256-gcm"), "keystatus": inherited("unavailable"), "recordsize": local("4096"),
		PropSendFlags: local("-w"), PropLimits: local("quota=9,refquota=7")})
	return props
}

func TestChildrenAreReadWithTheirCopy(t *testing.T) {
	device := map[string]value{}
	for name := range childProps() {
		device[name] = unset
	}
	device["type"] = inherited("volume")
	p := pool{
		names: "tank/drover/v\ttododata\n",
		props: printed("tank/drover/v", standbyProps()) + printed("tank/drover/v-2/x", childProps()) + printed("tank/drover/v/disk", device) +
			printed("tank/drover/v/logs", childProps()),
		snaps: "tank/drover/v@a\t11\t10\t1795361309\t7\t0\ntank/drover/v/logs@b\t22\t20\t1795361309\t7\t1\ntank/drover/v/logs@a\t21\t10\t1795361309\t7\t0\n",
		holds: "tank/drover/v/logs@b\tdrover\tSun Nov 22 15:28 2026\n",
	}
	z, dir := p.fake(t, func(s string) (*ZFS, string) { return fake(t, s) })
	got, err := z.Copies(testContext(t), "tank/drover")
	if err != nil || len(got) != 1 || len(argv(t, dir)) != 4 {
		t.Fatalf("got %+v, %v by %q", got, err, argv(t, dir))
	}
	at := got[0].Snapshots[0].Created
	want := []state.Child{{Path: "disk", Device: true}, {
		Path: "logs", Filesystem: state.Filesystem{
			Readonly: true, Mountpoint: "/drover/v/logs", Used: 4241408, Referenced: 4217344, Compressed: true, Encrypted: true, KeyMissing: true, SendFlags: "-w",
			Properties: map[string]string{"canmount": "noauto", "recordsize": "4096"}, Limits: map[string]string{"quota": "9", "refquota": "7"},
			Snapshots: []state.Snapshot{{Name: "a", GUID: 21, Txg: 10, Created: at, Written: 7}, {Name: "b", GUID: 22, Txg: 20, Created: at, Written: 7, Held: true}}},
	}}
	if diff := cmp.Diff(want, got[0].Children); diff != "" {
		t.Error(diff)
	}
}

func TestChildOfGarbage(t *testing.T) {
	for name, change := range map[string]map[string]value{
		"mounted": {"mounted": inherited("maybe")},
		"limits":  {PropLimits: local("recordsize=1")},
		"limit":   {PropLimits: local("quota=much")},
	} {
		props := childProps()
		maps.Copy(props, change)
		if c, err := newChild("tank/v", "tank/v/c", props); !errors.Is(err, ErrOutput) {
			t.Errorf("%s: got %+v, %v, want ErrOutput", name, c, err)
		}
	}
}

func TestOutermost(t *testing.T) {
	got := outermost([]string{"a/v", "a/v-1", "a/v/x", "a/v/x/y", "a/w/x"})
	if want := []string{"a/v", "a/v-1", "a/w/x"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	sorted := slices.Sorted(slices.Values([]string{"a/v", "a/v-1", "a/v/x", "a/v/x/y", "a/v.1/z", "a/w/x"}))
	if got := under("a/v", sorted); !slices.Equal(got, []string{"a/v/x", "a/v/x/y"}) {
		t.Errorf("under a/v: %q", got)
	}
}

func TestLimitsAreReadAsWritten(t *testing.T) {
	for _, limits := range []map[string]string{nil, {"quota": "1"}, {"reservation": "3", "refquota": "2"}} {
		got, err := parseLimits(FormatLimits(limits))
		if err != nil || !maps.Equal(got, limits) {
			t.Errorf("got %v, %v, want %v", got, err, limits)
		}
	}
}

func TestTreesOfSnapshots(t *testing.T) {
	ctx := testContext(t)
	z, dir := fake(t, "")
	if err := z.SnapshotTree(ctx, "s", "tank/v"); err != nil || !slices.Equal(argv(t, dir), []string{"zfs|snapshot|-r|tank/v@s"}) {
		t.Errorf("%v by %q", err, argv(t, dir))
	}
	z, _ = fake(t, prints(t, "tank/v@a\t\ntank/v/c@a\ttank/x,tank/y\ntank/v@b\t-\n"))
	clones, err := z.Clones(ctx, "tank/v")
	if diff := cmp.Diff(map[string][]string{"tank/v/c@a": {"tank/x", "tank/y"}}, clones); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	for name, err := range map[string]error{"snapshot": z.SnapshotTree(ctx, "s@t", "tank/v")} {
		if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want ErrUsage", name, err)
		}
	}
}
