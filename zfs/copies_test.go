package zfs

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drover-project/drover/state"
)

// pool is what a fake zfs answers to each of the listings.
type pool struct{ names, props, snaps, holds string }

// script answers from files, so that a test can change them while it runs; $DIR/hook is run before each listing.
func (p pool) fake(t testing.TB, z func(string) (*ZFS, string)) (*ZFS, string) {
	t.Helper()
	adapter, dir := z(`[ ! -e $DIR/hook ] || . $DIR/hook
		case "$1 $2 $3" in
		"get -Hp -s") cat $DIR/names;;
		"get -Hp -r") cat $DIR/props;;
		list*) cat $DIR/snaps;;
		holds*) cat $DIR/holds;;
		*) exit 9;;
		esac`)
	for name, text := range map[string]string{"names": p.names, "props": p.props, "snaps": p.snaps, "holds": p.holds} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return adapter, dir
}

// printed are the rows that `zfs get` prints of these properties.
func printed(dataset string, props map[string]value) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(props)) {
		source := "-"
		if props[name].local {
			source = "local"
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\n", dataset, name, props[name].text, source)
	}
	return b.String()
}

func twoCopies() pool {
	broken := standbyProps()
	broken[PropRole] = local("boss")
	return pool{
		names: "tank/drover/w\tother\ntank/drover/v\ttododata\n",
		props: printed("tank/drover/v", standbyProps()) + printed("tank/drover/w", broken),
		snaps: "tank/drover/v@b\t12\t20\t1795361310\t5\t1\ntank/drover/v@a\t11\t10\t1795361309\t7\t1\ntank/drover/w@a\t13\t10\t1795361309\t7\t0\n",
		holds: "tank/drover/v@b\tdrover:base\tSun Nov 22 15:28 2026\ntank/drover/v@a\tzrepl_last\tSun Nov 22 15:28 2026\n",
	}
}

func TestCopies(t *testing.T) {
	z, dir := twoCopies().fake(t, func(s string) (*ZFS, string) { return fake(t, s) })
	got, err := z.Copies(testContext(t), "tank/drover")
	if !errors.Is(err, ErrBadProperty) || !strings.Contains(err.Error(), `tank/drover/w: drover:role="boss"`) {
		t.Errorf("got error %v, want ErrBadProperty of w's role", err)
	}
	v, w := standbyCopy(), standbyCopy()
	w.Dataset, w.Role = "tank/drover/w", ""
	v.Snapshots = []state.Snapshot{
		{Name: "a", GUID: 11, Txg: 10, Created: time.Unix(1795361309, 0).UTC(), Written: 7},
		{Name: "b", GUID: 12, Txg: 20, Created: time.Unix(1795361310, 0).UTC(), Written: 5, Held: true},
	}
	w.Snapshots = []state.Snapshot{{Name: "a", GUID: 13, Txg: 10, Created: time.Unix(1795361309, 0).UTC(), Written: 7}}
	if diff := cmp.Diff([]state.Copy{v, w}, got); diff != "" {
		t.Error(diff)
	}
	want := []string{
		"zfs|get|-Hp|-s|local|-r|-t|filesystem|-o|name,value|drover:volume|tank",
		"zfs|get|-Hp|-r|-t|filesystem,volume|-o|name,property,value,source|" + columns + "|tank/drover/v|tank/drover/w",
		"zfs|list|-Hp|-t|snapshot,bookmark|-r|-o|name,guid,createtxg,creation,written,userrefs|tank/drover/v|tank/drover/w",
		"zfs|holds|-H|tank/drover/v@b|tank/drover/v@a",
	}
	ran := argv(t, dir)
	slices.Sort(ran[1:min(3, len(ran))]) // side by side
	if diff := cmp.Diff(want, ran); diff != "" {
		t.Error(diff)
	}
}

func TestWithoutHolds(t *testing.T) {
	z, dir := twoCopies().fake(t, func(s string) (*ZFS, string) { return fake(t, s) })
	got, err := z.WithoutHolds().Copies(testContext(t), "tank/drover")
	if !errors.Is(err, ErrBadProperty) || len(got) != 2 || got[0].Newest().Held || len(argv(t, dir)) != 3 {
		t.Errorf("got %+v, %v by %q", got, err, argv(t, dir))
	}
}

func TestAgain(t *testing.T) {
	const own, a, b, late = "tank/v\t1\t5\t1\t0\t-\n", "tank/v@a\t11\t10\t1795361309\t7\t1\n", "tank/v@b\t12\t20\t1795361310\t5\t0\n", "tank/v/late\t9\t6\t1\t0\t-\n"
	for name, c := range map[string]struct {
		printed string
		alone   bool
		err     error
	}{
		"two snapshots":           {printed: own + a + b, alone: true},
		"no snapshot":             {printed: own, alone: true},
		"a dataset below it":      {printed: own + a + b + late},
		"another dataset":         {printed: "tank/w\t1\t5\t1\t0\t-\n", err: ErrOutput},
		"nothing":                 {err: ErrOutput},
		"a snapshot that is none": {printed: own + "tank/v@c\t12\tx\t1795361310\t5\t0\n", err: ErrOutput},
	} {
		z, dir := fake(t, `cat $DIR/printed`)
		if err := os.WriteFile(filepath.Join(dir, "printed"), []byte(c.printed), 0o644); err != nil {
			t.Fatal(err)
		}
		cp := state.Copy{Dataset: "tank/v", Role: state.Fenced, Filesystem: state.Filesystem{Written: 42, Snapshots: []state.Snapshot{{Name: "a", GUID: 11, Held: true}}}}
		alone, err := z.Again(testContext(t), &cp)
		if alone != c.alone || !errors.Is(err, c.err) || err == nil && c.err != nil {
			t.Errorf("%s: %v, %v", name, alone, err)
		}
		want := strings.Count(c.printed, "@")
		if !alone {
			want = 1
		}
		if alone != (cp.Written == 0) || len(cp.Snapshots) != want || want > 0 && !cp.Snapshots[0].Held {
			t.Errorf("%s: %+v", name, cp)
		}
	}
}

func TestCopiesOfAnEmptyPoolTakeOneCommand(t *testing.T) {
	z, dir := pool{}.fake(t, func(s string) (*ZFS, string) { return fake(t, s) })
	got, err := z.Copies(testContext(t), "tank")
	if len(got) != 0 || err != nil || len(argv(t, dir)) != 1 {
		t.Errorf("got %v, %v by %q", got, err, argv(t, dir))
	}
}

// TestCopiesLookAgainWhenOneIsRenamedMeanwhile: the first listing names a dataset that the second does not find.
func TestCopiesLookAgainWhenOneIsRenamedMeanwhile(t *testing.T) {
	p := twoCopies()
	p.names = "tank/drover/gone\tother\n" + p.names
	z, dir := p.fake(t, func(s string) (*ZFS, string) { return fake(t, s) })
	hook := `case "$*" in get*drover/gone*) grep -v gone $DIR/names >$DIR/n; mv $DIR/n $DIR/names
		echo "cannot open 'tank/drover/gone': dataset does not exist" >&2; cat $DIR/props; exit 1;; esac`
	if err := os.WriteFile(filepath.Join(dir, "hook"), []byte(hook), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := z.Copies(testContext(t), "tank"); len(got) != 2 || !errors.Is(err, ErrBadProperty) {
		t.Errorf("got %d copies, %v", len(got), err)
	}
}

func TestCopiesFailWhole(t *testing.T) {
	for name, spoil := range map[string]func(*pool){
		"cut line":       func(p *pool) { p.props = p.props[:len(p.props)-1] },
		"forged row":     func(p *pool) { p.props += "tank/drover/v\tdrover:role\tprimary\tlocal\n" },
		"missing row":    func(p *pool) { p.props = strings.Replace(p.props, "tank/drover/v\tused\t4241408\t-\n", "", 1) },
		"missing copy":   func(p *pool) { p.props = printed("tank/drover/w", standbyProps()) },
		"another's rows": func(p *pool) { p.snaps += "tank/drover/v\t1\t1\t1\t1\t1\n" },
		"garbage":        func(p *pool) { p.snaps = "<html>\n" },
		"garbled holds":  func(p *pool) { p.holds = "no datasets\n" },
	} {
		p := twoCopies()
		spoil(&p)
		z, _ := p.fake(t, func(s string) (*ZFS, string) { return fake(t, s) })
		if got, err := z.Copies(testContext(t), "tank"); got != nil || !errors.Is(err, ErrOutput) {
			t.Errorf("%s: got %d copies, %v, want ErrOutput", name, len(got), err)
		}
	}
}

func TestCopy(t *testing.T) {
	p := twoCopies()
	p.props = printed("tank/drover/v", standbyProps())
	z, _ := p.fake(t, func(s string) (*ZFS, string) { return fake(t, s) })
	if c, err := z.Copy(testContext(t), "tank/drover/v"); err != nil || c.Role != state.Standby || len(c.Snapshots) != 2 {
		t.Errorf("got %+v, %v", c, err)
	}
	foreign := standbyProps()
	foreign[PropVolume] = inherited("tododata")
	p.props = printed("tank/drover/v", foreign)
	z, _ = p.fake(t, func(s string) (*ZFS, string) { return fake(t, s) })
	if c, err := z.Copy(testContext(t), "tank/drover/v"); !errors.Is(err, ErrNotCopy) {
		t.Errorf("got %+v, %v, want ErrNotCopy", c, err)
	}
	z, _ = fake(t, `echo "cannot open 'tank/x': dataset does not exist" >&2; exit 1`)
	if _, err := z.Copy(testContext(t), "tank/x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

// Rows of OpenZFS 2.3.2.
const (
	poolRows = "tank\tname\ttank\t-\ntank\thealth\t%s\t-\ntank\tallocated\t4485632\t-\ntank\tsize\t603979776\t-\n" +
		"tank\tfree\t599494144\t-\ntank\treadonly\toff\t-\ntank\tdedupratio\t1.00\t-\ntank\tfragmentation\t3\t-\n" +
		"tank\tfreeing\t0\t-\ntank\tleaked\t0\t-\n"
	datasetRow = "%s\t-\t4379136\t465382912\t/tank\ton\tfilesystem\t-\t0\t24576\t24576\t12288\t24576\n"
)

func poolFake(t *testing.T, health string) *ZFS {
	t.Helper()
	z, dir := fake(t, `case "${0##*/}" in zpool) cat $DIR/pool;; zfs) cat $DIR/dataset;; esac`)
	for name, text := range map[string]string{"pool": fmt.Sprintf(poolRows, health), "dataset": fmt.Sprintf(datasetRow, "tank")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return z
}

func TestPool(t *testing.T) {
	for health, want := range map[string]state.Pool{
		"DEGRADED":  {Name: "tank", Health: "DEGRADED", Size: 4379136 + 465382912, Free: 465382912},
		"SUSPENDED": {Name: "tank", Health: "SUSPENDED", Size: 603979776},
	} {
		if got, err := poolFake(t, health).Pool(testContext(t), "tank"); got != want || err != nil {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

// TestPoolsOfSeveralFolders: go-zfs knows one PATH; several adapters in one process must not see each other's pools.
func TestPoolsOfSeveralFolders(t *testing.T) {
	before := os.Environ()
	var all sync.WaitGroup
	for _, health := range []string{"ONLINE", "DEGRADED", "FAULTED"} {
		z := poolFake(t, health)
		z.env = []string{"DROVER_TEST=" + health, "LC_ALL=POSIX"}
		all.Go(func() {
			for range 5 {
				if got, err := z.Pool(t.Context(), "tank"); err != nil || got.Health != health {
					t.Errorf("got %+v, %v, want %s", got, err, health)
				}
			}
		})
	}
	all.Wait()
	slices.Sort(before)
	if diff := cmp.Diff(before, slices.Sorted(slices.Values(os.Environ()))); diff != "" {
		t.Errorf("the environment is left changed: %s", diff)
	}
}

func TestPoolErrors(t *testing.T) {
	for _, c := range []struct {
		script string
		want   error
	}{
		{`echo "Cannot get properties of tank: no such pool available." >&2; exit 1`, ErrNoPool},
		{`echo "cannot open 'tank': no such pool" >&2; exit 1`, ErrNoPool},
		{"echo garbage", ErrOutput},
		{`printf 'tank\tsize\tmuch\t-\n'`, ErrOutput},
		{"exit 0", ErrOutput},
		{"kill -9 $$", ErrKilled},
		{"while :; do sleep 0.01; done", ErrTimeout},
	} {
		z, _ := fake(t, c.script)
		z.timeout = 100 * time.Millisecond
		if !errors.Is(c.want, ErrTimeout) {
			z.timeout = patience
		}
		if got, err := z.Pool(testContext(t), "tank"); !errors.Is(err, c.want) {
			t.Errorf("%s: got %+v, %v, want %v", c.script, got, err, c.want)
		}
	}
}

func TestFactsAndOrigin(t *testing.T) {
	z, _ := fake(t, prints(t, "tank/vol\ttank/v@s\t18886656\t1\t-\ton\tvolume\t16777216\t-\t12288\t0\t0\t12288\n"))
	want := Facts{Volume: true, Used: 18886656, Referenced: 12288, Origin: "tank/v@s"}
	if got, err := z.Facts(testContext(t), "tank/vol"); got != want || err != nil {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if got, err := z.Origin(testContext(t), "tank/vol"); got != want.Origin || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestSmallListings(t *testing.T) {
	ctx := testContext(t)
	z, _ := fake(t, prints(t, "tank\ntank/a b\ntank/vol\n"))
	if got, err := z.Datasets(ctx, "tank"); err != nil || !slices.Equal(got, []string{"tank", "tank/a b", "tank/vol"}) {
		t.Errorf("datasets: %q, %v", got, err)
	}
	z, _ = fake(t, prints(t, "tank/v@1\tdrover\tSun Nov 22 15:28 2026\ntank/v@1\tkeep\tSun Nov 22 15:28 2026\n"))
	tags, err := z.Holds(ctx, "tank/v@1", "tank/v@2")
	if diff := cmp.Diff(map[string][]string{"tank/v@1": {"drover", "keep"}}, tags); diff != "" || err != nil {
		t.Errorf("holds: %v %s", err, diff)
	}
	z, _ = fake(t, prints(t, "tank\tdrover:term\t7\ntank\tmountpoint\t/my folder\n"))
	props, err := z.LocalProperties(ctx, "tank")
	if diff := cmp.Diff(map[string]string{PropTerm: "7", "mountpoint": "/my folder"}, props); diff != "" || err != nil {
		t.Errorf("properties: %v %s", err, diff)
	}
}

func TestWrittenSince(t *testing.T) {
	for out, want := range map[string]struct {
		n   int64
		err error
	}{
		"tank/v\twritten@s\t12288\n": {12288, nil},
		"tank/v\twritten@s\t0\n":     {0, nil},
		"tank/v\twritten@s\t-\n":     {0, ErrNotFound},
		"tank/v\twritten@s\n":        {0, ErrOutput},
		"":                           {0, ErrOutput},
	} {
		z, _ := fake(t, prints(t, out))
		if got, err := z.WrittenSince(testContext(t), "tank/v@s"); got != want.n || !errors.Is(err, want.err) {
			t.Errorf("%q: got %d, %v", out, got, err)
		}
	}
}
