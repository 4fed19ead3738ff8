package store

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Store is the folder that holds the packs of one pool. It is not safe for concurrent use by goroutines; processes
// may share the folder.
type Store struct {
	dir  string
	open map[uint64]*os.File
}

// Open returns the store in dir, which must exist.
func Open(dir string) *Store { return &Store{dir: dir, open: map[uint64]*os.File{}} }

// Close closes the packs that were opened for reading.
func (s *Store) Close() {
	for birth, f := range s.open {
		f.Close() // opened for reading only: nothing can be lost
		delete(s.open, birth)
	}
}

func (s *Store) path(birth uint64) string {
	return filepath.Join(s.dir, strconv.FormatUint(birth, 10))
}

// Remove deletes the pack of a txg; that it is not there is no error.
func (s *Store) Remove(birth uint64) error {
	if f := s.open[birth]; f != nil {
		f.Close() // opened for reading only
		delete(s.open, birth)
	}
	if err := os.Remove(s.path(birth)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove pack %d: %w", birth, err)
	}
	return nil
}

func (s *Store) file(birth uint64) (*os.File, error) {
	if f := s.open[birth]; f != nil {
		return f, nil
	}
	f, err := os.Open(s.path(birth))
	if err != nil {
		return nil, err
	}
	s.open[birth] = f
	return f, nil
}

// Read returns the content of a block in buf, grown as needed, after comparing its checksum.
func (s *Store) Read(r Ref, buf []byte) ([]byte, error) {
	f, err := s.file(r.Birth)
	if err != nil {
		return nil, fmt.Errorf("read block: %w", err)
	}
	if cap(buf) < int(r.Len) {
		buf = make([]byte, r.Len)
	}
	buf = buf[:r.Len]
	if _, err := f.ReadAt(buf, int64(r.Off)); err != nil {
		return nil, fmt.Errorf("read block at %d of pack %d: %w", r.Off, r.Birth, err)
	}
	if Sum(buf) != r.Sum {
		return nil, fmt.Errorf("read block at %d of pack %d: %w", r.Off, r.Birth, errCorrupt)
	}
	return buf, nil
}

// Pack appends blocks to the pack of one txg. Nothing refers to them until the caller commits a tree that does.
type Pack struct {
	s     *Store
	birth uint64
	f     *os.File
	w     *bufio.Writer
	off   uint64
}

// Create opens the pack of a txg for writing, truncated to size bytes: 0 for a new one; more to go on with a pack
// whose first size bytes are known to be good.
func (s *Store) Create(birth uint64, size int64) (*Pack, error) {
	f, err := os.OpenFile(s.path(birth), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create pack: %w", err)
	}
	if err := truncateAt(f, size); err != nil {
		f.Close() // the truncation's error says more
		return nil, fmt.Errorf("create pack: %w", err)
	}
	return &Pack{s: s, birth: birth, f: f, w: bufio.NewWriterSize(f, 1<<20), off: uint64(size)}, nil
}

// Append opens the pack of a txg to write after all that it holds.
func (s *Store) Append(birth uint64) (*Pack, error) {
	st, err := os.Stat(s.path(birth))
	if os.IsNotExist(err) {
		return s.Create(birth, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("append to pack: %w", err)
	}
	return s.Create(birth, st.Size())
}

func truncateAt(f *os.File, size int64) error {
	if err := f.Truncate(size); err != nil {
		return err
	}
	_, err := f.Seek(size, 0)
	return err
}

// Birth is the txg of the pack.
func (p *Pack) Birth() uint64 { return p.birth }

// Size is the number of bytes in the pack, those not yet flushed included.
func (p *Pack) Size() int64 { return int64(p.off) }

// Put appends a block and returns its address.
func (p *Pack) Put(data []byte) (Ref, error) { return p.put(data, Sum(data)) }

func (p *Pack) put(data []byte, sum uint64) (Ref, error) {
	if err := p.align(len(data)); err != nil {
		return Ref{}, err
	}
	r := Ref{Birth: p.birth, Off: p.off, Len: uint32(len(data)), Sum: sum}
	_, err := p.w.Write(data)
	p.off += uint64(len(data))
	if err != nil {
		return Ref{}, fmt.Errorf("write block: %w", err)
	}
	return r, nil
}

var zeros [4096]byte

// align starts large blocks on a page, so that the file system can share and free them.
func (p *Pack) align(n int) error {
	if pad := -p.off % 4096; n >= 4096 && pad > 0 {
		if _, err := p.w.Write(zeros[:pad]); err != nil {
			return fmt.Errorf("write block: %w", err)
		}
		p.off += pad
	}
	return nil
}

// Flush hands all blocks to the operating system; after it they survive the death of this process.
func (p *Pack) Flush() error {
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("write pack: %w", err)
	}
	return nil
}

// Close flushes and closes the pack.
func (p *Pack) Close() error {
	err := p.Flush()
	if cerr := p.f.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close pack: %w", cerr)
	}
	return err
}

// Discard closes the pack and removes it.
func (p *Pack) Discard() error {
	p.f.Close() // it is removed next
	return p.s.Remove(p.birth)
}
