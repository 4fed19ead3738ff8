package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
)

// Collect frees what no tree of roots needs: whole packs, and ranges within packs where the file system can give
// them back. Packs born in keep are left alone. The caller sees to it that nobody reads or writes trees meanwhile.
func (s *Store) Collect(roots []Ref, keep map[uint64]bool) error {
	m := &marker{s: s, live: map[uint64]map[uint64]uint32{}}
	for _, r := range roots {
		if err := m.tree(r); err != nil {
			return fmt.Errorf("collect: %w", err)
		}
	}
	return s.sweep(m.live, keep)
}

type marker struct {
	s    *Store
	live map[uint64]map[uint64]uint32 // pack -> offset -> length
}

// mark reports whether the block was not known yet.
func (m *marker) mark(r Ref) bool {
	if !r.Stored() {
		return false
	}
	pack := m.live[r.Birth]
	if pack == nil {
		pack = map[uint64]uint32{}
		m.live[r.Birth] = pack
	}
	if _, ok := pack[r.Off]; ok {
		return false
	}
	pack[r.Off] = r.Len
	return true
}

func (m *marker) tree(root Ref) error {
	if !m.mark(root) {
		return nil
	}
	leaves, err := m.s.leaves(root)
	if err != nil {
		return err
	}
	for _, l := range leaves {
		if !m.mark(l.Ref) {
			continue
		}
		if err := m.leaf(l.Ref); err != nil {
			return err
		}
	}
	return nil
}

func (m *marker) leaf(r Ref) error {
	b, err := m.s.Read(r, nil)
	if err != nil {
		return err
	}
	for d := (&decoder{b: b}); len(d.b) > 0 || d.err != nil; {
		e := decodeEntry(d)
		if d.err != nil {
			return d.err
		}
		if err := m.entry(e); err != nil {
			return err
		}
	}
	return nil
}

func (m *marker) entry(e *Entry) error {
	for _, r := range e.Blocks {
		m.mark(r)
	}
	for _, ir := range e.Index {
		if !m.mark(ir) {
			continue
		}
		refs, err := m.s.index(ir)
		if err != nil {
			return err
		}
		for _, r := range refs {
			m.mark(r)
		}
	}
	return nil
}

func (s *Store) sweep(live map[uint64]map[uint64]uint32, keep map[uint64]bool) error {
	names, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("collect: %w", err)
	}
	var errs []error
	for _, n := range names {
		birth, err := strconv.ParseUint(n.Name(), 10, 64)
		if err != nil || keep[birth] {
			continue
		}
		if len(live[birth]) == 0 {
			errs = append(errs, s.Remove(birth))
			continue
		}
		errs = append(errs, s.free(birth, live[birth]))
	}
	return errors.Join(errs...)
}

// free gives back the ranges of a pack between its live blocks.
func (s *Store) free(birth uint64, live map[uint64]uint32) error {
	f, err := os.OpenFile(s.path(birth), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("collect: %w", err)
	}
	defer f.Close() // holes are made at once
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("collect: %w", err)
	}
	offs := make([]uint64, 0, len(live)+1)
	for off := range live {
		offs = append(offs, off)
	}
	slices.Sort(offs)
	end := uint64(0)
	for _, off := range append(offs, uint64(st.Size())) {
		if err := freeRange(f, end, off); err != nil {
			return err
		}
		end = off + uint64(live[off])
	}
	return nil
}

// freeRange frees the whole pages in [from, to). A file system that cannot do it keeps the room taken: only the host's
// disk notices.
func freeRange(f *os.File, from, to uint64) error {
	const page = 4096
	from, to = (from+page-1)/page*page, to/page*page
	if to < from+16*page {
		return nil
	}
	err := punch(f, int64(from), int64(to-from))
	if err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) {
		return fmt.Errorf("collect: %w", err)
	}
	return nil
}

// Packs returns the txgs that have a pack, and the bytes that each takes on the host's disk.
func (s *Store) Packs() (map[uint64]int64, error) {
	names, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	packs := map[uint64]int64{}
	for _, n := range names {
		birth, perr := strconv.ParseUint(n.Name(), 10, 64)
		st, serr := os.Stat(s.path(birth))
		if perr == nil && serr == nil {
			packs[birth] = st.Size()
		}
	}
	return packs, nil
}
