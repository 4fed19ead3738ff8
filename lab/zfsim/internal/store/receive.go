package store

import "fmt"

// Merge builds the tree that a received stream describes: base with the changes that came in. Changes arrive in path
// order through Put, Block and Remove; Close copies the rest of the base.
type Merge struct {
	s     *Store
	pack  *Pack
	txg   uint64
	keep  uint64
	base  *Cursor
	root  Ref // of base
	tree  *TreeWriter
	hist  Hist
	cur   *Entry // being received
	old   []Ref  // blocks of its version before
	fresh []Ref
}

// NewMerge starts on a base, which may be the empty root. hist is the base's.
func (s *Store) NewMerge(pack *Pack, base Ref, hist Hist, keep uint64) (*Merge, error) {
	tree, err := s.NewTree(pack, base)
	if err != nil {
		return nil, err
	}
	cur, err := s.Walk(base, 0)
	if err != nil {
		return nil, err
	}
	h := hist.Clone()
	if h == nil {
		h = Hist{}
	}
	return &Merge{s: s, pack: pack, txg: pack.birth, keep: keep, base: cur, root: base, tree: tree, hist: h}, nil
}

// advance copies the base's entries before path, and returns the one at path.
func (m *Merge) advance(path string) (*Entry, error) {
	if err := m.settle(); err != nil {
		return nil, err
	}
	for e := m.base.Entry(); e != nil && comparePaths(e.Path, path) < 0; e = m.base.Entry() {
		if err := m.copy(e); err != nil {
			return nil, err
		}
	}
	e := m.base.Entry()
	if e == nil || e.Path != path {
		return nil, nil
	}
	return e, m.base.Next()
}

func (m *Merge) copy(e *Entry) error {
	if e.Kind != Gone || e.Birth > m.keep {
		if err := m.tree.Add(e); err != nil {
			return err
		}
	}
	return m.base.Next()
}

// Put starts an entry; data for it may follow.
func (m *Merge) Put(e *Entry) error {
	old, err := m.advance(e.Path)
	if err != nil {
		return err
	}
	if old = present(old); old != nil {
		m.hist.sub(old.Birth, entryCost)
	}
	m.cur, m.old, m.fresh = e, nil, nil
	e.Birth, e.Ino, e.Ctime, e.Blocks, e.Index = m.txg, 0, 0, nil, nil
	m.hist[m.txg] += entryCost
	if old != nil && old.Kind == File {
		if err := m.s.EachBlock(old, 0, func(_ int64, r Ref) error { m.old = append(m.old, r); return nil }); err != nil {
			return err
		}
	}
	if e.Kind != File {
		m.dropBlocks(m.old)
		return nil
	}
	n := blockCount(e.Size)
	m.dropBlocks(m.old[min(n, len(m.old)):])
	m.fresh = make([]Ref, n)
	copy(m.fresh, m.old)
	return nil
}

func (m *Merge) dropBlocks(refs []Ref) {
	for _, r := range refs {
		m.hist.sub(r.Birth, r.size())
	}
}

// Block sets the block of the current file that starts at off. A Ref without length is a hole.
func (m *Merge) Block(off int64, r Ref) error {
	i := off / BlockSize
	if m.cur == nil || off%BlockSize != 0 || i >= int64(len(m.fresh)) {
		return fmt.Errorf("block at %d: %w", off, errCorrupt)
	}
	if !r.Stored() {
		r.Birth = m.txg
	}
	m.hist.sub(m.fresh[i].Birth, m.fresh[i].size())
	m.hist[r.Birth] += r.size()
	m.fresh[i] = r
	return nil
}

// settle finishes the current entry.
func (m *Merge) settle() error {
	e := m.cur
	if e == nil {
		return nil
	}
	m.cur = nil
	out := &fileBlocks{s: m.s, pack: m.pack}
	for _, r := range m.fresh {
		if err := out.add(r); err != nil {
			return err
		}
	}
	if err := out.finish(e); err != nil {
		return err
	}
	return m.tree.Add(e)
}

// Remove records that the path is gone.
func (m *Merge) Remove(path string) error {
	old, err := m.advance(path)
	if err != nil {
		return err
	}
	if old = present(old); old != nil {
		m.hist.sub(old.Birth, entryCost)
		if err := m.s.EachBlock(old, 0, func(_ int64, r Ref) error { m.hist.sub(r.Birth, r.size()); return nil }); err != nil {
			return err
		}
	}
	return m.tree.Add(&Entry{Path: path, Kind: Gone, Birth: m.txg})
}

// Close copies the rest of the base and returns the new tree.
func (m *Merge) Close() (Ref, Hist, error) {
	if err := m.settle(); err != nil {
		return Ref{}, nil, err
	}
	for e := m.base.Entry(); e != nil; e = m.base.Entry() {
		if err := m.copy(e); err != nil {
			return Ref{}, nil, err
		}
	}
	root, err := m.tree.Close(m.root)
	return root, m.hist, err
}
