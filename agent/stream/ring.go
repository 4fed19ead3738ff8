package stream

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// segmentSize is the unit in which a ring takes memory, in bytes, and the most that it writes at once.
const segmentSize = 1 << 20

// Ring sizes, in bytes. A pool stops reading for up to seconds while a transaction group is written; below 16 MiB a ring
// evens out little of that, and a stream must stay below 300 MiB in all.
const (
	MinRing     = 2 * segmentSize
	DefaultRing = 64 << 20
	MaxRing     = 256 << 20
)

// ErrRingSize says that a ring of that size is not to be had.
var ErrRingSize = errors.New("a ring has between 2 and 256 MiB")

// Ring holds what has arrived and is not written yet. Its memory is taken as needed, used again, and never more than its
// size. It carries one stream.
type Ring struct {
	most  int // segments
	level atomic.Int64
	taken atomic.Int64

	mu    sync.Mutex
	moved sync.Cond // a segment was filled or emptied, or an end came
	full  []*segment
	free  []*segment
	made  int
	end   error // of what fills it; io.EOF at a proper end
	left  bool  // nobody empties it any more
}

// segment is a piece of a ring: buf[r:w] waits to be written.
type segment struct {
	buf  []byte
	r, w int
}

// NewRing returns a ring of size bytes. The error is ErrRingSize.
func NewRing(size int) (*Ring, error) {
	if size < MinRing || size > MaxRing {
		return nil, ErrRingSize
	}
	r := &Ring{most: size / segmentSize}
	r.moved.L = &r.mu
	return r, nil
}

// Level returns how many bytes wait in the ring and how many it can hold. A full ring says that whoever empties it, the pool, is the
// slower side, an empty one that whoever fills it is: the network, or what is behind it.
func (r *Ring) Level() (bytes, size int64) {
	return r.level.Load(), int64(r.most) * segmentSize
}

// Pulse returns what the ring knows for its receiver's pulse.
func (r *Ring) Pulse() Pulse {
	level, size := r.Level()
	return Pulse{Taken: r.taken.Load(), Level: level, Size: size}
}

// Carry passes everything that fill returns on to w, reading ahead as far as the ring reaches, until fill returns io.EOF. Its error
// is w's or else fill's; what was read before fill's error is written. After an error of w, stop makes a fill that waits
// return. Nothing of Carry runs any more when it returns.
func (r *Ring) Carry(w io.Writer, fill func(p []byte) (int, error), stop func()) (int64, error) {
	var filling sync.WaitGroup
	filling.Go(func() { r.fill(fill) })
	defer filling.Wait()
	n, err := r.empty(w)
	if err != nil {
		r.leave()
		stop()
		return n, err
	}
	if r.end != io.EOF { //nolint:errorlint // a fill that wraps io.EOF has not ended
		return n, r.end
	}
	return n, nil
}

func (r *Ring) fill(fill func([]byte) (int, error)) {
	for {
		s := r.room()
		if s == nil {
			return
		}
		n, err := fill(s.buf[s.w:])
		if r.filled(s, n, err); err != nil {
			return
		}
	}
}

// room waits for a segment with room, the last one in the ring; nil if nobody empties it any more. Only fill adds to it.
func (r *Ring) room() *segment {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.left {
		if n := len(r.full); n > 0 && r.full[n-1].w < segmentSize {
			return r.full[n-1]
		}
		if s := r.another(); s != nil {
			r.full = append(r.full, s)
			return s
		}
		r.moved.Wait()
	}
	return nil
}

// another returns an empty segment, or nil if all are in use.
func (r *Ring) another() *segment {
	if n := len(r.free); n > 0 {
		s := r.free[n-1]
		r.free = r.free[:n-1]
		return s
	}
	if r.made == r.most {
		return nil
	}
	r.made++
	return &segment{buf: make([]byte, segmentSize)}
}

func (r *Ring) filled(s *segment, n int, err error) {
	r.level.Add(int64(n))
	r.mu.Lock()
	defer r.mu.Unlock()
	s.w += n
	r.end = err
	r.moved.Broadcast()
}

// empty writes until the end. What came before an error is written too: it need not be sent again.
func (r *Ring) empty(w io.Writer) (int64, error) {
	var total int64
	for {
		s, p := r.next()
		if s == nil {
			return total, nil
		}
		n, err := w.Write(p)
		total += int64(n)
		r.emptied(s, n)
		if err != nil {
			return total, err
		}
	}
}

// next waits for data; none is left at the end.
func (r *Ring) next() (*segment, []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if len(r.full) > 0 {
			if s := r.full[0]; s.r < s.w {
				return s, s.buf[s.r:s.w]
			}
		}
		if r.end != nil {
			return nil, nil
		}
		r.moved.Wait()
	}
}

// emptied takes note of what was written. A segment that is through is free for the next; while it has room it is fill's.
func (r *Ring) emptied(s *segment, n int) {
	r.level.Add(int64(-n))
	r.taken.Add(int64(n))
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.r += n; s.r == segmentSize {
		s.r, s.w = 0, 0
		r.full = append(r.full[:0], r.full[1:]...)
		r.free = append(r.free, s)
	}
	r.moved.Broadcast()
}

func (r *Ring) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = true
	r.moved.Broadcast()
}
