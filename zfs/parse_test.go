package zfs

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drover-project/drover/state"
)

// local and received make values of a property; unset is what OpenZFS prints for a user property that is not there.
func local(s string) value     { return value{s, true} }
func inherited(s string) value { return value{s, false} }

var unset = inherited("-")

// standby is what OpenZFS prints of a copy: every column, most of them unset or default.
func standbyProps() map[string]value {
	props := map[string]value{}
	for _, c := range strings.Split(columns, ",") {
		props[c] = unset
	}
	maps.Copy(props, map[string]value{
		PropVolume: local("tododata"), PropUUID: local("6f2a"), PropRole: local("standby"), PropEpoch: local("0.2"),
		PropReleased: local("none"), PropLead: local("tododata"), PropSendFlags: local("-Lce"), PropGraceServed: local("90"),
		PropReclaim: local("Retain"), "mounted": inherited("no"), "used": inherited("4241408"),
		"referenced": inherited("4217344"), "written": inherited("0"), "encryption": inherited("off"), "receive_resume_token": unset,
		"readonly": local("on"), "canmount": local("noauto"), "mountpoint": inherited("/drover/v"),
		"refquota": local("10737418240"), "recordsize": local("16384"), "compression": inherited("on"),
	})
	return props
}

func standbyCopy() state.Copy {
	return state.Copy{
		Dataset: "tank/drover/v", Volume: "tododata", UUID: "6f2a", Role: state.Standby, Epoch: state.Epoch{N: 2},
		Lead: "tododata", GraceServed: 90 * time.Second, Reclaim: state.Retain, Quota: 10737418240,
		Filesystem: state.Filesystem{
			SendFlags: "-Lce", Readonly: true, Mountpoint: "/drover/v", Compressed: true, Used: 4241408, Referenced: 4217344,
			Properties: map[string]string{
				"readonly": "on", "canmount": "noauto", "refquota": "10737418240", "recordsize": "16384",
			},
		},
	}
}

func TestCopyOfProperties(t *testing.T) {
	for _, c := range []struct {
		name   string
		change map[string]value
		want   func(*state.Copy)
		err    error
	}{
		{"standby", nil, func(*state.Copy) {}, nil},
		{"not compressed", map[string]value{"compression": inherited("off")}, func(c *state.Copy) { c.Compressed = false }, nil},
		{"released", map[string]value{PropRole: local("released"), PropReleased: local("node-2/1.7/15002563885064745844")},
			func(c *state.Copy) {
				c.Role = state.Released
				c.Release = &state.Release{To: "node-2", Epoch: state.Epoch{F: 1, N: 7}, GUID: 15002563885064745844}
			}, nil},
		{"mounted and half-received", map[string]value{"mounted": inherited("yes"), "receive_resume_token": inherited(token)},
			func(c *state.Copy) { c.Mounted, c.ResumeToken = true, token }, nil},
		{"little said", map[string]value{PropReleased: unset, PropLead: unset, PropSendFlags: unset, PropGraceServed: unset, PropReclaim: unset},
			func(c *state.Copy) { c.Lead, c.SendFlags, c.GraceServed, c.Reclaim = "", "", 0, "" }, nil},
		{"inherited role", map[string]value{PropRole: inherited("primary")}, noRole, ErrBadProperty},
		{"no role", map[string]value{PropRole: unset}, noRole, ErrBadProperty},
		{"unknown role", map[string]value{PropRole: local("Primary")}, noRole, ErrBadProperty},
		{"no uuid", map[string]value{PropUUID: unset}, func(c *state.Copy) { noRole(c); c.UUID = "" }, ErrBadProperty},
		{"bad epoch", map[string]value{PropEpoch: local("2")}, func(c *state.Copy) { noRole(c); c.Epoch = state.Epoch{} }, ErrBadProperty},
		{"bad release", map[string]value{PropReleased: local("node-2/0.3")}, noRole, ErrBadProperty},
		{"release to nobody", map[string]value{PropReleased: local("/0.3/1")}, noRole, ErrBadProperty},
		{"release of no guid", map[string]value{PropReleased: local("n/0.3/-1")}, noRole, ErrBadProperty},
		{"bad grace", map[string]value{PropGraceServed: local("9223372037")}, func(c *state.Copy) { noRole(c); c.GraceServed = 0 }, ErrBadProperty},
		{"bad reclaim", map[string]value{PropReclaim: local("delete")}, func(c *state.Copy) { noRole(c); c.Reclaim = "" }, ErrBadProperty},
	} {
		t.Run(c.name, func(t *testing.T) {
			props, want := standbyProps(), standbyCopy()
			maps.Copy(props, c.change)
			c.want(&want)
			got, err := newCopy("tank/drover/v", props)
			if !errors.Is(err, c.err) {
				t.Errorf("got error %v, want %v", err, c.err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func noRole(c *state.Copy) { c.Role = "" }

func TestCopyOfGarbage(t *testing.T) {
	for name, change := range map[string]map[string]value{
		"mounted":  {"mounted": inherited("maybe")},
		"readonly": {"readonly": inherited("1")},
		"used":     {"used": inherited("1.5G")},
		"written":  {"written": inherited("-1")},
		"refquota": {"refquota": inherited("none")},
	} {
		props := standbyProps()
		maps.Copy(props, change)
		if _, err := newCopy("tank/v", props); !errors.Is(err, ErrOutput) {
			t.Errorf("%s: got %v, want ErrOutput", name, err)
		}
	}
	props := standbyProps()
	delete(props, "written")
	if _, err := newCopy("tank/v", props); !errors.Is(err, ErrOutput) {
		t.Errorf("a missing row: got %v, want ErrOutput", err)
	}
}

func TestReleasedIsReadAsWritten(t *testing.T) {
	for _, below := range []string{"", "00ff"} {
		r := &state.Release{To: "9c1f", Epoch: state.Epoch{F: 2, N: 31}, GUID: 1<<64 - 1, Below: below}
		got, err := parseReleased(FormatReleased(r))
		if err != nil || *got != *r {
			t.Errorf("got %v, %v, want %v", got, err, r)
		}
	}
	if got, err := parseReleased(FormatReleased(nil)); got != nil || err != nil {
		t.Errorf("none: got %v, %v", got, err)
	}
}

func TestRows(t *testing.T) {
	for _, c := range []struct {
		out  string
		want [][]string
	}{
		{"", nil},
		{"a\tb\n", [][]string{{"a", "b"}}},
		{"a\t\nc\td\n", [][]string{{"a", ""}, {"c", "d"}}},
	} {
		if got, err := rows([]byte(c.out), 2); err != nil || cmp.Diff(c.want, got) != "" {
			t.Errorf("%q: got %q, %v", c.out, got, err)
		}
	}
	for _, out := range []string{"a\tb", "a\n", "a\tb\tc\n", "\tb\n", "a\tb\n\n", "\n", "<html>\n"} {
		if got, err := rows([]byte(out), 2); !errors.Is(err, ErrOutput) {
			t.Errorf("%q: got %q, %v, want ErrOutput", out, got, err)
		}
	}
}

// TestSnapshotRows reads rows as OpenZFS 2.3.2 prints them, with the columns that we ask for.
func TestSnapshotRows(t *testing.T) {
	out := "tank/v@s1\t4207980650809223517\t12\t1795361309\t24576\t1\n" +
		"tank/v@with space\t18446744073709551615\t15\t1795361310\t0\t0\n" +
		"tank/v#b1\t4207980650809223517\t12\t1795361309\t-\t-\n"
	all := newListing()
	if err := all.parse([]byte(out)); err != nil {
		t.Fatal(err)
	}
	want := map[string][]state.Snapshot{"tank/v": {
		{Name: "s1", GUID: 4207980650809223517, Txg: 12, Created: time.Unix(1795361309, 0).UTC(), Written: 24576},
		{Name: "with space", GUID: 1<<64 - 1, Txg: 15, Created: time.Unix(1795361310, 0).UTC()},
	}}
	if diff := cmp.Diff(want, all.snapshots); diff != "" {
		t.Error(diff)
	}
	marks := map[string][]state.Snapshot{"tank/v": {{Name: "b1", GUID: 4207980650809223517, Txg: 12, Created: time.Unix(1795361309, 0).UTC()}}}
	if diff := cmp.Diff(marks, all.bookmarks); diff != "" {
		t.Error(diff)
	}
	if !slices.Equal(all.referenced, []string{"tank/v@s1"}) {
		t.Errorf("held: %q", all.referenced)
	}
	for _, bad := range []string{"tank/v\t1\t1\t1\t1\t1\n", "tank/v@s\t-\t1\t1\t1\t1\n", "tank/v@s\t1\t1\t1\t1\n",
		"tank/v@s\t18446744073709551616\t1\t1\t1\t1\n", "tank/v@s\t1\t1\t-5\t1\t1\n",
		"tank/v#b\t-\t1\t1\t-\t-\n", "tank/v#\t1\t1\t1\t-\t-\n", "tank/v#a@b\t1\t1\t1\t-\t-\n"} {
		if err := newListing().parse([]byte(bad)); !errors.Is(err, ErrOutput) {
			t.Errorf("%q: got %v, want ErrOutput", bad, err)
		}
	}
}

// Texts of OpenZFS 2.3.2; those of 2.1.11 are the same but for the numbers.
const (
	tokenOfIncrement = `resume token contents:
nvlist version: 0
	fromguid = 0x3cda945dd4275d45
	object = 0x5
	offset = 0x860000
	bytes = 0x886308
	toguid = 0x96c1130d4f5e08fa
	toname = a/v@s10
send from a/v@s9 to a/v@s10 estimated size is 21.5M
total estimated size is 21.5M
`
	tokenOfFull = `resume token contents:
nvlist version: 0
	object = 0x2
	offset = 0x700000
	bytes = 0x8013c0
	toguid = 0xcd6b849946fb59fb
	toname = a/v@s1
	largeblockok = 1
	embedok = 1
	compressok = 1
full send of a/v@s1 estimated size is 32.0M
total estimated size is 32.0M
`
)

func TestTokenContents(t *testing.T) {
	for out, want := range map[string]Token{
		tokenOfIncrement: {ToName: "a/v@s10", ToGUID: 0x96c1130d4f5e08fa, FromGUID: 0x3cda945dd4275d45, Object: 5,
			Offset: 0x860000, Bytes: 0x886308},
		tokenOfFull: {ToName: "a/v@s1", ToGUID: 0xcd6b849946fb59fb, Object: 2, Offset: 0x700000, Bytes: 0x8013c0,
			LargeBlock: true, Embed: true, Compress: true},
	} {
		z, dir := fake(t, prints(t, out))
		got, err := z.TokenContents(testContext(t), token)
		if err != nil || got != want {
			t.Errorf("got %+v, %v\nwant %+v", got, err, want)
		}
		if got, want := argv(t, dir)[0], "zfs|send|-n|-v|-t|"+token; got != want {
			t.Errorf("ran %s, want %s", got, want)
		}
	}
	z, _ := fake(t, prints(t, tokenOfFull)+`; echo "cannot resume send: 'a/v@s1' used in the initial send no longer exists" >&2; exit 255`)
	got, err := z.TokenContents(testContext(t), token)
	if !errors.Is(err, ErrTokenStale) || got.ToGUID != 0xcd6b849946fb59fb {
		t.Errorf("stale: got %+v, %v", got, err)
	}
	z, _ = fake(t, `echo "cannot resume send: resume token is corrupt (invalid format)" >&2; exit 255`)
	if _, err := z.TokenContents(testContext(t), token); !errors.Is(err, ErrTokenCorrupt) {
		t.Errorf("corrupt: got %v", err)
	}
	for _, bad := range []string{"", "nonsense", strings.Replace(tokenOfFull, "0x", "", 1),
		tokenOfFull + "\tobject = 0x2\n", strings.Replace(tokenOfFull, "embedok = 1", "embedok = 2", 1),
		strings.Replace(tokenOfFull, "a/v@s1", "-R", 1), strings.Replace(tokenOfFull, "0x8013c0", "0xffffffffffffffff", 1)} {
		if _, err := parseToken([]byte(bad)); !errors.Is(err, ErrOutput) {
			t.Errorf("%q: got %v, want ErrOutput", bad, err)
		}
	}
}

func TestEstimate(t *testing.T) {
	for out, want := range map[string]int64{
		"full\ta/v@s1\t8416880\nsize\t8416880\n":                                             8416880,
		"incremental\ta/v#b1\ta/v@s2\t42023536\nsize\t42023536\n":                            42023536,
		tokenOfFull[:strings.Index(tokenOfFull, "full send")] + "full\ta/v@s1\t7\nsize\t7\n": 7,
	} {
		z, _ := fake(t, prints(t, out))
		if got, err := z.Estimate(testContext(t), full); got != want || err != nil {
			t.Errorf("got %d, %v, want %d", got, err, want)
		}
	}
	for _, bad := range []string{"", "size\t-1\n", "size\t1\nmore\n", "total estimated size is 8.03M\n"} {
		if _, err := parseEstimate([]byte(bad)); !errors.Is(err, ErrOutput) {
			t.Errorf("%q: got %v, want ErrOutput", bad, err)
		}
	}
}

func TestVersion(t *testing.T) {
	z, _ := fake(t, prints(t, "zfs-2.1.11-1+deb12u1\nzfs-kmod-2.3.2-2~bpo12+2\n"))
	got, err := z.Version(testContext(t))
	want := Version{Release{2, 1, 11, "2.1.11-1+deb12u1"}, Release{2, 3, 2, "2.3.2-2~bpo12+2"}}
	if err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if !got.Kernel.Has(MountpointMounts) || got.Userland.Has(MountpointMounts) || got.Kernel.Has("flying") {
		t.Error("differences do not follow the table")
	}
	if got.Userland.Compare(Oldest) < 0 || (Release{Major: 2}).Compare(Oldest) >= 0 {
		t.Error("oldest")
	}
	for _, bad := range []string{"", "zfs-2.1.11\n", "zfs-2.1\nzfs-kmod-2.1\n", "<html>\n"} {
		if _, err := parseVersion([]byte(bad)); !errors.Is(err, ErrOutput) {
			t.Errorf("%q: got %v, want ErrOutput", bad, err)
		}
	}
}

func TestBatches(t *testing.T) {
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("tank/drover/volume-%04d", i))
	}
	if got := len(batches(names, maxArgs)); got != 1 {
		t.Errorf("a thousand datasets are %d commands", got)
	}
	got := batches(names, 100)
	if !slices.Equal(slices.Concat(got...), names) || len(got) != 250 {
		t.Errorf("%d batches of 4 names of 23 bytes", len(got))
	}
	if got := batches([]string{strings.Repeat("x", 200), "y"}, 100); len(got) != 2 {
		t.Errorf("a name beyond the limit: %q", got)
	}
	if batches(nil, 100) != nil {
		t.Error("no names are a batch")
	}
}

func FuzzRows(f *testing.F) {
	f.Add([]byte("tank/v@s1\t4207980650809223517\t12\t1795361309\t24576\t1\n"))
	f.Add([]byte("a\t-\t-\t-\t-\t-\n\n"))
	f.Add([]byte("tank/v#b1\t4207980650809223517\t12\t1795361309\t-\t-\n"))
	f.Fuzz(func(t *testing.T, out []byte) {
		all := newListing()
		err := all.parse(out)
		n := 0
		for mark, byDataset := range map[string]map[string][]state.Snapshot{"@": all.snapshots, "#": all.bookmarks} {
			for dataset, snaps := range byDataset {
				n += len(snaps)
				for _, s := range snaps {
					if checkBase(dataset+mark+s.Name) != nil {
						t.Errorf("took %q for a snapshot or bookmark", dataset+mark+s.Name)
					}
				}
			}
		}
		if err == nil && n != strings.Count(string(out), "\n") {
			t.Errorf("%d snapshots of %d lines", n, strings.Count(string(out), "\n"))
		}
		if len(all.referenced) > n {
			t.Errorf("%d held of %d", len(all.referenced), n)
		}
	})
}

func FuzzProperties(f *testing.F) {
	f.Add([]byte("tank/v\tdrover:role\tprimary\tlocal\ntank/v\tdrover:epoch\t0.1\tinherited from tank\n"))
	f.Fuzz(func(t *testing.T, out []byte) {
		all := map[string]map[string]value{}
		if parseValues(out, all) != nil {
			return
		}
		for dataset, props := range all {
			c, err := newCopy(dataset, props)
			if err != nil && c.Role != "" {
				t.Errorf("a role in spite of %v", err)
			}
			if c.Role != "" && !props[PropRole].local {
				t.Error("a role that is not local")
			}
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add([]byte(tokenOfFull))
	f.Add([]byte(tokenOfIncrement))
	f.Fuzz(func(t *testing.T, out []byte) {
		tok, err := parseToken(out)
		if err != nil && tok != (Token{}) {
			t.Errorf("contents %+v in spite of %v", tok, err)
		}
		if err == nil && (checkSnapshot(tok.ToName) != nil || tok.Bytes < 0) {
			t.Errorf("took %+v", tok)
		}
	})
}

func FuzzMessage(f *testing.F) {
	f.Add("cannot receive incremental stream: most recent snapshot of b/v does not\nmatch incremental source")
	f.Fuzz(func(t *testing.T, said string) {
		kind := classify(said)
		if !errors.Is(kind, classify(strings.Join(strings.Fields(said), "\n"))) {
			t.Error("white space decides")
		}
	})
}
