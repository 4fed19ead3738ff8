package store

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// digest describes a folder completely, hard links by what they hold.
func digest(t *testing.T, root string) string {
	t.Helper()
	h := sha256.New()
	must(t, filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := lstat(p)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		fmt.Fprintln(h, rel, st.kind, st.mode, st.mtime)
		switch st.kind {
		case File:
			b, err := os.ReadFile(p)
			fmt.Fprintln(h, len(b), sha256.Sum256(b))
			return err
		case Symlink:
			target, err := os.Readlink(p)
			fmt.Fprintln(h, target)
			return err
		}
		return nil
	}))
	return fmt.Sprintf("%x", h.Sum(nil))
}

// world is a head with its history of trees.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	s     *Store
	head  string
	txg   uint64
	tree  Ref
	hist  Hist
	snaps []snap
}

type snap struct {
	txg    uint64
	tree   Ref
	hist   Hist
	digest string
}

func newWorld(t *testing.T, seed uint64) *world {
	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/packs", 0o755))
	must(t, os.Mkdir(dir+"/head", 0o755))
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), s: Open(dir + "/packs"), head: dir + "/head", hist: Hist{}}
	t.Cleanup(w.s.Close)
	return w
}

func (w *world) path() string {
	return filepath.Join(w.head, [...]string{"a", "b", "d", "d.x", "d/a", "d/e", "d/e/f", "zz"}[w.rng.IntN(8)])
}

// mutate makes one random change.
func (w *world) mutate() {
	w.change(w.path()) //nolint:errcheck // what cannot be done at a place is not done
}

func (w *world) change(p string) error {
	switch w.rng.IntN(9) {
	case 0, 1:
		return os.WriteFile(p, w.bytes(w.rng.IntN(3*BlockSize)), 0o644)
	case 2:
		return w.patch(p)
	case 3:
		return os.Mkdir(p, 0o755)
	case 4:
		return os.RemoveAll(p)
	case 5:
		return os.Symlink("to/"+fmt.Sprint(w.rng.IntN(3)), p)
	case 6:
		return os.Link(w.path(), p)
	case 7:
		return os.Truncate(p, int64(w.rng.IntN(12*BlockSize)))
	}
	return os.Rename(w.path(), p)
}

func (w *world) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(w.rng.Uint32())
	}
	return b
}

func (w *world) patch(p string) error {
	f, err := os.OpenFile(p, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(w.bytes(10), int64(w.rng.IntN(10*BlockSize)))
	return err
}

func (w *world) keep() uint64 {
	if len(w.snaps) == 0 {
		return ^uint64(0)
	}
	return w.snaps[0].txg
}

func (w *world) scan(pack *Pack, txg uint64) ScanResult {
	w.t.Helper()
	res, err := w.s.Scan(ScanOptions{Head: w.head, Prev: w.tree, Hist: w.hist, Txg: txg, Keep: w.keep(), Pack: pack})
	must(w.t, err)
	return res
}

func (w *world) snapshot() {
	w.t.Helper()
	dry := w.scan(nil, 1<<62)
	w.txg++
	pack, err := w.s.Create(w.txg, 0)
	must(w.t, err)
	res := w.scan(pack, w.txg)
	must(w.t, pack.Close())
	if dry.Changed != res.Changed || dry.Hist.Total() != res.Hist.Total() {
		w.t.Fatalf("a dry scan found %v %d, a real one %v %d", dry.Changed, dry.Hist.Total(), res.Changed, res.Hist.Total())
	}
	w.tree, w.hist = res.Root, res.Hist
	w.snaps = append(w.snaps, snap{w.txg, res.Root, res.Hist, digest(w.t, w.head)})
}

func (w *world) rollback(i int) {
	w.t.Helper()
	w.txg++
	pack, err := w.s.Create(w.txg, 0)
	must(w.t, err)
	now := w.scan(pack, w.txg)
	must(w.t, pack.Flush())
	must(w.t, w.s.Apply(w.head, now.Root, w.snaps[i].tree))
	root, err := w.s.Restat(w.head, w.snaps[i].tree, 0, pack)
	must(w.t, err)
	must(w.t, pack.Close())
	w.tree, w.hist, w.snaps = root, w.snaps[i].hist, w.snaps[:i+1]
	if digest(w.t, w.head) != w.snaps[i].digest {
		w.t.Fatal("rollback: head differs from the snapshot")
	}
	if w.scan(nil, 1<<62).Changed {
		w.t.Fatal("rollback: the head counts as modified")
	}
}

func (w *world) collect() {
	w.t.Helper()
	roots := []Ref{w.tree}
	for _, s := range w.snaps {
		roots = append(roots, s.tree)
	}
	must(w.t, w.s.Collect(roots, nil))
}

// recount adds up a tree the slow way.
func (w *world) recount(root Ref) Hist {
	w.t.Helper()
	h := Hist{}
	c, err := w.s.Walk(root, 0)
	for ; err == nil && c.Entry() != nil; err = c.Next() {
		if c.Entry().Kind == Gone {
			continue
		}
		h[c.Entry().Birth] += entryCost
		must(w.t, w.s.EachBlock(c.Entry(), 0, func(_ int64, r Ref) error {
			if r.Stored() {
				h[r.Birth] += r.size()
			}
			return nil
		}))
	}
	must(w.t, err)
	return h
}

func (w *world) check() {
	w.t.Helper()
	from := Ref{}
	grown := filepath.Join(w.t.TempDir(), "grown")
	for i, s := range w.snaps {
		if got := w.recount(s.tree); !maps.Equal(got, s.hist) {
			w.t.Fatalf("snapshot %d: histogram %v, counted %v", i, s.hist, got)
		}
		must(w.t, w.s.Apply(grown, from, s.tree))
		if digest(w.t, grown) != s.digest {
			w.t.Fatalf("snapshot %d: differs when it is made from the one before", i)
		}
		whole := filepath.Join(w.t.TempDir(), "whole")
		must(w.t, w.s.Apply(whole, Ref{}, s.tree))
		if digest(w.t, whole) != s.digest {
			w.t.Fatalf("snapshot %d: differs when it is made from nothing", i)
		}
		from = s.tree
	}
}

// TestRandomHistories makes random changes, snapshots, rollbacks, destructions and collections: every snapshot that is
// left can be had again, whole or from the one before, and the figures add up.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(25) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, seed)
			for range 60 {
				switch n := w.rng.IntN(12); {
				case n < 7:
					w.mutate()
				case n < 9:
					w.snapshot()
				case n == 9 && len(w.snaps) > 0:
					i := w.rng.IntN(len(w.snaps))
					w.snaps = append(w.snaps[:i:i], w.snaps[i+1:]...)
				case n == 10 && len(w.snaps) > 0:
					w.rollback(w.rng.IntN(len(w.snaps)))
				case n == 11:
					w.collect()
				}
			}
			w.snapshot()
			w.collect()
			w.check()
		})
	}
}

// TestUniqueBytes compares the arithmetic on histograms with what is found by looking at every block.
func TestUniqueBytes(t *testing.T) {
	w := newWorld(t, 99)
	for range 6 {
		for range 4 {
			w.mutate()
		}
		w.snapshot()
	}
	for i, s := range w.snaps[:len(w.snaps)-1] {
		prev := uint64(0)
		if i > 0 {
			prev = w.snaps[i-1].txg
		}
		got := s.hist.Gone(w.snaps[i+1].hist, prev, s.txg)
		if want := w.onlyIn(i); got != want {
			t.Errorf("snapshot %d: %d bytes of its own, counted %d", i, got, want)
		}
	}
}

// onlyIn adds up the blocks and entries that no other snapshot has.
func (w *world) onlyIn(i int) uint64 {
	type key struct {
		path  string
		birth uint64
		ref   Ref
	}
	all := func(root Ref) map[key]uint64 {
		m := map[key]uint64{}
		c, err := w.s.Walk(root, 0)
		for ; err == nil && c.Entry() != nil; err = c.Next() {
			e := c.Entry()
			if e.Kind == Gone {
				continue
			}
			m[key{e.Path, e.Birth, Ref{}}] = entryCost
			must(w.t, w.s.EachBlock(e, 0, func(_ int64, r Ref) error {
				if r.Stored() {
					m[key{"", 0, r}] = r.size()
				}
				return nil
			}))
		}
		must(w.t, err)
		return m
	}
	own := all(w.snaps[i].tree)
	for j, s := range w.snaps {
		if j == i {
			continue
		}
		for k := range all(s.tree) {
			delete(own, k)
		}
	}
	var n uint64
	for _, size := range own {
		n += size
	}
	return n
}

func TestPathOrder(t *testing.T) {
	order := []string{"", "a", "a/b", "a/b/c", "a.b", "a0", "b"}
	for i := range order {
		for j := range order {
			if got := comparePaths(order[i], order[j]); got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("%q, %q: %d", order[i], order[j], got)
			}
		}
	}
}

func TestEntriesThatLeadOutAreRefused(t *testing.T) {
	for _, p := range []string{"..", "a/../b", "/etc", "a//b", ".", "a/"} {
		if _, err := DecodeMeta((&Entry{Path: p, Kind: File}).EncodeMeta()); err == nil {
			t.Errorf("%q was taken", p)
		}
	}
}

func FuzzDecodeMeta(f *testing.F) {
	f.Add((&Entry{Path: "a/b", Kind: File, Size: 5, Xattrs: []Xattr{{"user.x", "y"}}}).EncodeMeta())
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeMeta(b)
		if err != nil {
			return
		}
		if again, err := DecodeMeta(e.EncodeMeta()); err != nil || again.Path != e.Path {
			t.Errorf("%+v comes back as %+v, %v", e, again, err)
		}
	})
}
