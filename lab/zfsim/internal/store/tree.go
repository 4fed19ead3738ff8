package store

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io"
)

// leaf is one run of entries in path order, as the root object lists it.
type leaf struct {
	Ref      Ref
	MaxBirth uint64 // the highest Birth of its entries
}

// TreeWriter builds a tree from entries that come in path order.
type TreeWriter struct {
	s      *Store
	pack   *Pack
	old    map[sumLen]Ref // leaves of the tree before, to be used again
	leaves []leaf
	buf    encoder
	max    uint64
	last   string
	any    bool
}

type sumLen struct {
	sum uint64
	n   uint32
}

// NewTree starts a tree that is written to pack and shares unchanged leaves with prev, a root, which may be empty.
func (s *Store) NewTree(pack *Pack, prev Ref) (*TreeWriter, error) {
	w := &TreeWriter{s: s, pack: pack, old: map[sumLen]Ref{}}
	leaves, err := s.leaves(prev)
	for _, l := range leaves {
		w.old[sumLen{l.Ref.Sum, l.Ref.Len}] = l.Ref
	}
	return w, err
}

// Add appends an entry.
func (w *TreeWriter) Add(e *Entry) error {
	if w.any && comparePaths(e.Path, w.last) <= 0 {
		return fmt.Errorf("tree: %q after %q: %w", e.Path, w.last, errCorrupt)
	}
	w.any, w.last = true, e.Path
	e.encode(&w.buf)
	w.max = max(w.max, e.Birth)
	if endsLeaf(e.Path) {
		return w.flush()
	}
	return nil
}

// endsLeaf cuts the order into runs at places that depend on the names alone, so that a change in one place leaves
// the runs elsewhere as they are.
func endsLeaf(path string) bool {
	h := fnv.New32a()
	io.WriteString(h, path) //nolint:errcheck // a hash never fails
	return h.Sum32()%128 == 0
}

func (w *TreeWriter) flush() error {
	if len(w.buf.b) == 0 {
		return nil
	}
	ref, err := w.reuse(w.buf.b)
	w.leaves = append(w.leaves, leaf{ref, w.max})
	w.buf.b, w.max = w.buf.b[:0], 0
	return err
}

// reuse returns the old object with exactly these bytes, or stores a new one.
func (w *TreeWriter) reuse(data []byte) (Ref, error) {
	sum := Sum(data)
	if ref, ok := w.old[sumLen{sum, uint32(len(data))}]; ok {
		if old, err := w.s.Read(ref, nil); err != nil || bytes.Equal(old, data) {
			return ref, err
		}
	}
	return w.pack.put(data, sum)
}

// Close writes the root and returns its address, which is prev if nothing differs from it.
func (w *TreeWriter) Close(prev Ref) (Ref, error) {
	if err := w.flush(); err != nil {
		return Ref{}, err
	}
	var enc encoder
	enc.uint(uint64(len(w.leaves)))
	for _, l := range w.leaves {
		enc.ref(l.Ref)
		enc.uint(l.MaxBirth)
	}
	sum := Sum(enc.b)
	if prev.Stored() && prev.Sum == sum && prev.Len == uint32(len(enc.b)) {
		return prev, nil
	}
	return w.pack.put(enc.b, sum)
}

func (s *Store) leaves(root Ref) ([]leaf, error) {
	if !root.Stored() {
		return nil, nil
	}
	b, err := s.Read(root, nil)
	if err != nil {
		return nil, fmt.Errorf("tree: %w", err)
	}
	d := &decoder{b: b}
	ls := make([]leaf, d.count(12))
	for i := range ls {
		ls[i] = leaf{d.ref(), d.uint()}
	}
	return ls, d.err
}

// Cursor walks a tree in path order.
type Cursor struct {
	s      *Store
	leaves []leaf
	since  uint64
	d      decoder
	leaf   Ref // the leaf whose first entry is under the cursor; zero elsewhere
	cur    *Entry
}

// Walk returns a cursor over the entries of a tree. Leaves in which nothing was born after since are skipped.
func (s *Store) Walk(root Ref, since uint64) (*Cursor, error) {
	ls, err := s.leaves(root)
	if err != nil {
		return nil, err
	}
	c := &Cursor{s: s, leaves: ls, since: since}
	return c, c.Next()
}

// Entry is the entry under the cursor, nil at the end.
func (c *Cursor) Entry() *Entry { return c.cur }

// Next moves to the next entry.
func (c *Cursor) Next() error {
	c.leaf = Ref{}
	for len(c.d.b) == 0 {
		if len(c.leaves) == 0 {
			c.cur = nil
			return nil
		}
		if err := c.load(); err != nil {
			return err
		}
	}
	c.cur = decodeEntry(&c.d)
	return c.d.err
}

func (c *Cursor) load() error {
	l := c.leaves[0]
	c.leaves = c.leaves[1:]
	if l.MaxBirth <= c.since && c.since > 0 {
		return nil
	}
	b, err := c.s.Read(l.Ref, nil)
	if err != nil {
		return fmt.Errorf("tree: %w", err)
	}
	c.d.b, c.leaf = b, l.Ref
	return nil
}

// skipLeaf moves to the first entry of the next leaf.
func (c *Cursor) skipLeaf() error {
	c.d.b = nil
	return c.Next()
}

// EachBlock calls fn with the offset and reference of each block of a file, holes included, passing over the blocks
// before the block that holds byte from.
func (s *Store) EachBlock(e *Entry, from int64, fn func(off int64, r Ref) error) error {
	if len(e.Index) == 0 {
		return eachOf(e.Blocks, 0, from, fn)
	}
	const span = int64(indexSpan) * BlockSize
	for i, ir := range e.Index {
		start := int64(i) * span
		if start+span <= from {
			continue
		}
		refs, err := s.index(ir)
		if err != nil {
			return err
		}
		if err := eachOf(refs, start, from, fn); err != nil {
			return err
		}
	}
	return nil
}

func eachOf(refs []Ref, start, from int64, fn func(int64, Ref) error) error {
	for i, r := range refs {
		off := start + int64(i)*BlockSize
		if off+BlockSize <= from {
			continue
		}
		if err := fn(off, r); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) index(r Ref) ([]Ref, error) {
	b, err := s.Read(r, nil)
	if err != nil {
		return nil, fmt.Errorf("block index: %w", err)
	}
	d := &decoder{b: b}
	refs := d.refs()
	return refs, d.err
}

// fileBlocks collects the references of a file under construction, and writes its index objects.
type fileBlocks struct {
	s     *Store
	pack  *Pack
	prev  []Ref // index of the version before
	run   []Ref
	index []Ref
	n     int
}

func (f *fileBlocks) add(r Ref) error {
	f.n++
	f.run = append(f.run, r)
	if len(f.run) < indexSpan {
		return nil
	}
	return f.flush()
}

func (f *fileBlocks) flush() error {
	if len(f.run) == 0 {
		return nil
	}
	var enc encoder
	enc.refs(f.run)
	ref, err := f.store(enc.b)
	f.index, f.run = append(f.index, ref), f.run[:0]
	return err
}

func (f *fileBlocks) store(data []byte) (Ref, error) {
	ref := Ref{Len: uint32(len(data)), Sum: Sum(data)}
	if i := len(f.index); i < len(f.prev) && f.prev[i].sameBytes(ref) {
		return f.prev[i], nil
	}
	if f.pack == nil {
		return ref, nil // a dry run: nobody will follow it
	}
	return f.pack.put(data, ref.Sum)
}

// finish sets the entry's references.
func (f *fileBlocks) finish(e *Entry) error {
	if f.n <= inlineBlocks {
		e.Blocks, e.Index = f.run, nil
		return nil
	}
	err := f.flush()
	e.Blocks, e.Index = nil, f.index
	return err
}
