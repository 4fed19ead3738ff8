package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// raceWindow is how near to the reading a change may be for its time stamp to be trusted. The kernel stamps files
// with a coarse clock (4 to 10 ms), so a second write within the same tick leaves no trace in stat data.
const raceWindow = 20 * time.Millisecond

// MountpointMode is the mode of the empty directory that is left where a child was mounted; its time is 0.
const MountpointMode = 0o555

// ScanOptions say how to scan a head.
type ScanOptions struct {
	Head string // the directory
	Prev Ref    // the tree that was last known to equal the head; zero for none
	Hist Hist   // of Prev
	Txg  uint64 // birth of what is new
	Keep uint64 // Gone entries born at or before it are dropped
	Pack *Pack  // where new blocks go; nil for a dry run, which stores nothing and returns no tree

	// Mounted reports whether a symbolic link with this target is a mounted child: it is kept as an empty directory.
	Mounted func(target string) bool
	// Mapped holds the paths that a process can write to through a shared mapping. Such writes need not change stat
	// data, so these files are read again by the next scan.
	Mapped map[string]bool
}

// ScanResult is what a scan found.
type ScanResult struct {
	Root    Ref // zero after a dry run
	Hist    Hist
	Changed bool // something differs from Prev
}

// Scan compares a head with its previous tree and, unless dry, stores what is new and builds the new tree. Files
// whose stat data did not change are not read. A file that is being written while it is read may be stored torn; the
// next scan will look at it again.
func (s *Store) Scan(o ScanOptions) (ScanResult, error) {
	sc := &scanner{s: s, o: o, links: map[uint64]string{}, buf: make([]byte, BlockSize)}
	sc.res.Hist = Hist{}
	for b, n := range o.Hist {
		sc.res.Hist[b] = n
	}
	if err := sc.run(); err != nil {
		return ScanResult{}, fmt.Errorf("scan: %w", err)
	}
	return sc.res, nil
}

type scanner struct {
	s     *Store
	o     ScanOptions
	prev  *Cursor
	tree  *TreeWriter
	links map[uint64]string // inode -> first path, of files with several names
	buf   []byte
	res   ScanResult
}

func (sc *scanner) run() (err error) {
	if sc.prev, err = sc.s.Walk(sc.o.Prev, 0); err != nil {
		return err
	}
	if sc.o.Pack != nil {
		if sc.tree, err = sc.s.NewTree(sc.o.Pack, sc.o.Prev); err != nil {
			return err
		}
	}
	if err := sc.visit(""); err != nil {
		return err
	}
	if err := sc.goneBefore("\xff", true); err != nil || sc.tree == nil {
		return err
	}
	sc.res.Root, err = sc.tree.Close(sc.o.Prev)
	return err
}

func (sc *scanner) visit(path string) error {
	st, err := lstat(filepath.Join(sc.o.Head, filepath.FromSlash(path)))
	if errors.Is(err, fs.ErrNotExist) && path != "" {
		return nil // removed since the directory was read: as if it had been removed before
	}
	if err != nil {
		return err
	}
	e, err := sc.entry(path, st)
	if err != nil || e == nil {
		return err
	}
	if err := sc.emit(e); err != nil || e.Kind != Dir || st.kind != Dir {
		return err
	}
	return sc.children(path)
}

func (sc *scanner) children(path string) error {
	names, err := os.ReadDir(filepath.Join(sc.o.Head, filepath.FromSlash(path)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := sc.visit(joinPath(path, n.Name())); err != nil {
			return err
		}
	}
	return nil
}

func joinPath(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// entry returns the entry for a path as it is now: the previous one if it still holds, nil for what is not kept
// (sockets, devices, pipes).
func (sc *scanner) entry(path string, st stat) (*Entry, error) {
	if err := sc.goneBefore(path, false); err != nil {
		return nil, err
	}
	prev := sc.take(path)
	if prev != nil && prev.Ctime != 0 && st.matches(prev) {
		sc.remember(path, st)
		return prev, nil
	}
	e, err := sc.read(path, st, prev)
	if err != nil || e == nil {
		return nil, sc.drop(prev, err)
	}
	return e, sc.settle(e, prev)
}

// take returns the previous entry at path and moves on.
func (sc *scanner) take(path string) *Entry {
	e := sc.prev.Entry()
	if e == nil || e.Path != path {
		return nil
	}
	if err := sc.prev.Next(); err != nil {
		sc.prev.cur = nil // the error comes again, from goneBefore
		sc.prev.d.err = err
	}
	return e
}

func (sc *scanner) remember(path string, st stat) {
	if st.kind == File && st.nlink > 1 {
		sc.links[st.ino] = path
	}
}

// settle decides the birth of an entry that was read anew.
func (sc *scanner) settle(e, prev *Entry) error {
	if prev != nil && e.equal(prev) {
		e.Birth = prev.Birth
		return nil
	}
	sc.res.Changed = true
	e.Birth = sc.o.Txg
	sc.res.Hist[e.Birth] += entryCost
	if prev = present(prev); prev == nil {
		return nil
	}
	sc.res.Hist.sub(prev.Birth, entryCost)
	if prev.Kind == File && e.Kind != File {
		return sc.forget(prev)
	}
	return nil
}

func (h Hist) sub(birth, n uint64) {
	if h[birth] <= n {
		delete(h, birth)
		return
	}
	h[birth] -= n
}

// drop accounts for a previous entry that is no longer kept.
func (sc *scanner) drop(prev *Entry, err error) error {
	if err != nil || present(prev) == nil {
		return err
	}
	return sc.gone(prev)
}

// goneBefore turns the previous entries that the walk has passed into Gone entries.
func (sc *scanner) goneBefore(path string, all bool) error {
	for {
		e := sc.prev.Entry()
		if e == nil || !all && comparePaths(e.Path, path) >= 0 {
			return sc.prev.d.err
		}
		if err := sc.gone(e); err != nil {
			return err
		}
		if err := sc.prev.Next(); err != nil {
			return err
		}
	}
}

func (sc *scanner) gone(e *Entry) error {
	if e.Kind == Gone {
		if e.Birth <= sc.o.Keep {
			return nil
		}
		return sc.emit(e)
	}
	sc.res.Changed = true
	sc.res.Hist.sub(e.Birth, entryCost)
	return first(sc.forget(e), func() error { return sc.emit(&Entry{Path: e.Path, Kind: Gone, Birth: sc.o.Txg}) })
}

func (sc *scanner) emit(e *Entry) error {
	if sc.tree == nil {
		return nil
	}
	return sc.tree.Add(e)
}

// read makes an entry from what the head has at path.
func (sc *scanner) read(path string, st stat, prev *Entry) (*Entry, error) {
	e := st.entry(path)
	if e == nil {
		return nil, nil
	}
	var err error
	switch full := filepath.Join(sc.o.Head, filepath.FromSlash(path)); e.Kind {
	case Symlink:
		err = sc.readLink(e, full)
	case File:
		err = sc.readFile(e, full, st, present(prev))
	case Dir:
		e.Xattrs, err = readXattrs(full)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if sc.o.Mapped[path] {
		e.Ctime = 0
	}
	return e, err
}

func (sc *scanner) readLink(e *Entry, full string) (err error) {
	e.Target, err = os.Readlink(full)
	if err == nil && sc.o.Mounted != nil && sc.o.Mounted(e.Target) {
		*e = Entry{Path: e.Path, Kind: Dir, Mode: MountpointMode, UID: e.UID, GID: e.GID} // as it is when nothing is mounted there
	}
	return err
}

func (sc *scanner) readFile(e *Entry, full string, st stat, prev *Entry) error {
	if st.nlink > 1 {
		if target, ok := sc.links[st.ino]; ok {
			*e = Entry{Path: e.Path, Kind: HardLink, Target: target, Ino: e.Ino, Ctime: e.Ctime}
			return nil
		}
		sc.links[st.ino] = e.Path
	}
	if prev != nil && prev.Kind != File {
		prev = nil
	}
	f, err := os.Open(full)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	if e.Xattrs, err = readXattrs(full); err != nil {
		return err
	}
	return sc.readBlocks(e, f, prev)
}

// forget accounts for the blocks of a file that is no longer one of its own.
func (sc *scanner) forget(prev *Entry) error {
	return sc.s.EachBlock(prev, 0, func(_ int64, r Ref) error {
		sc.res.Hist.sub(r.Birth, r.size())
		return nil
	})
}

// readBlocks reads a file block by block, beside the references of its version before.
func (sc *scanner) readBlocks(e *Entry, f *os.File, prev *Entry) error {
	old, err := sc.oldRefs(prev)
	if err != nil {
		return err
	}
	out := &fileBlocks{s: sc.s, pack: sc.o.Pack}
	if prev != nil {
		out.prev = prev.Index
	}
	n, data := blockCount(e.Size), dataFinder{f: f, size: e.Size}
	for i := range n {
		ref, err := sc.block(f, int64(i)*BlockSize, e.Size, &data, at(old, i))
		if err != nil {
			return err
		}
		if err := out.add(ref); err != nil {
			return err
		}
	}
	for _, r := range old[min(n, len(old)):] {
		sc.res.Hist.sub(r.Birth, r.size())
	}
	return out.finish(e)
}

func at(refs []Ref, i int) Ref {
	if i < len(refs) {
		return refs[i]
	}
	return Ref{}
}

func (sc *scanner) oldRefs(prev *Entry) ([]Ref, error) {
	if prev == nil {
		return nil, nil
	}
	var refs []Ref
	err := sc.s.EachBlock(prev, 0, func(_ int64, r Ref) error {
		refs = append(refs, r)
		return nil
	})
	return refs, err
}

// block returns the reference for one block: the old one if the bytes are the same, else a new one.
func (sc *scanner) block(f *os.File, off, size int64, data *dataFinder, old Ref) (Ref, error) {
	b, err := sc.load(f, off, size, data)
	if err != nil {
		return Ref{}, err
	}
	ref := Ref{Birth: sc.o.Txg}
	if b != nil {
		ref.Len, ref.Sum = uint32(len(b)), Sum(b)
	}
	if ref.sameBytes(old) && (old.Birth != 0 || !ref.Stored()) {
		return old, nil
	}
	sc.res.Hist.sub(old.Birth, old.size())
	if b == nil {
		return ref, nil
	}
	sc.res.Hist[ref.Birth] += ref.size()
	if sc.o.Pack == nil {
		return ref, nil
	}
	return sc.o.Pack.put(b, ref.Sum)
}

// load reads one block; nil means that it is all zeros.
func (sc *scanner) load(f *os.File, off, size int64, data *dataFinder) ([]byte, error) {
	b := sc.buf[:min(BlockSize, size-off)]
	if data.hole(off, int64(len(b))) {
		return nil, nil
	}
	n, err := f.ReadAt(b, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	clear(b[n:]) // the file was cut while it was read; the next scan sees its new size
	if allZero(b) {
		return nil, nil
	}
	return b, nil
}

func allZero(b []byte) bool {
	for len(b) >= len(zeros) {
		if [len(zeros)]byte(b) != zeros {
			return false
		}
		b = b[len(zeros):]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
