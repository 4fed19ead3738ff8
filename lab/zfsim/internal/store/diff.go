package store

// Diff calls fn, in path order, for each path at which two trees may differ: from and to are the entries, nil where
// there is none; Gone counts as none. Leaves that the trees share are passed over unread.
func (s *Store) Diff(from, to Ref, fn func(from, to *Entry) error) error {
	a, err := s.Walk(from, 0)
	if err != nil {
		return err
	}
	b, err := s.Walk(to, 0)
	if err != nil {
		return err
	}
	for a.Entry() != nil || b.Entry() != nil {
		if err := diffStep(a, b, fn); err != nil {
			return err
		}
	}
	return nil
}

func diffStep(a, b *Cursor, fn func(from, to *Entry) error) error {
	x, y := a.Entry(), b.Entry()
	switch {
	case x != nil && y != nil && a.leaf.Stored() && a.leaf == b.leaf:
		return skipBoth(a, b)
	case y == nil || x != nil && comparePaths(x.Path, y.Path) < 0:
		return first(fn(present(x), nil), a.Next)
	case x == nil || comparePaths(x.Path, y.Path) > 0:
		return first(fn(nil, present(y)), b.Next)
	}
	if err := first(fn(present(x), present(y)), a.Next); err != nil {
		return err
	}
	return b.Next()
}

func skipBoth(a, b *Cursor) error {
	if err := a.skipLeaf(); err != nil {
		return err
	}
	return b.skipLeaf()
}

func first(err error, then func() error) error {
	if err != nil {
		return err
	}
	return then()
}

func present(e *Entry) *Entry {
	if e == nil || e.Kind == Gone {
		return nil
	}
	return e
}

// Rewrite builds a new tree from prev by replacing entries: edit returns the entries that take the place of the one
// at the cursor (nil: none). It is for small changes of whole trees; all leaves are read.
func (s *Store) Rewrite(pack *Pack, prev Ref, edit func(*Entry) (*Entry, error)) (Ref, error) {
	w, err := s.NewTree(pack, prev)
	if err != nil {
		return Ref{}, err
	}
	c, err := s.Walk(prev, 0)
	for ; err == nil && c.Entry() != nil; err = c.Next() {
		e, eerr := edit(c.Entry())
		if eerr == nil && e != nil {
			eerr = w.Add(e)
		}
		if eerr != nil {
			return Ref{}, eerr
		}
	}
	if err != nil {
		return Ref{}, err
	}
	return w.Close(prev)
}
