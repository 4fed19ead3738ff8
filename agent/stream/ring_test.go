package stream

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"pgregory.net/rapid"
)

func ring(t testing.TB, size int) *Ring {
	t.Helper()
	r, err := NewRing(size)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func noise(n int) []byte {
	b := make([]byte, n)
	src := rand.NewChaCha8([32]byte{1})
	if _, err := src.Read(b); err != nil {
		panic(err)
	}
	return b
}

// jerky reads pieces of odd sizes.
type jerky struct {
	io.Reader
	most *rapid.Generator[int]
	rt   *rapid.T
}

func (j jerky) Read(p []byte) (int, error) {
	return j.Reader.Read(p[:min(len(p), j.most.Draw(j.rt, "read"))])
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestRingCarriesEverythingInOrder(t *testing.T) {
	data := noise(9<<20 + 17)
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(0, len(data)).Draw(rt, "size")
		in := jerky{Reader: bytes.NewReader(data[:size]), most: rapid.IntRange(300_000, 2<<20), rt: rt}
		var out bytes.Buffer
		r := ring(t, MinRing)
		n, err := r.Carry(&out, in.Read, func() { rt.Error("stopped") })
		if err != nil || n != int64(size) || !bytes.Equal(out.Bytes(), data[:size]) {
			rt.Fatalf("%d of %d bytes, %v", n, size, err)
		}
		if p := r.Pulse(); p != (Pulse{Taken: int64(size), Size: MinRing}) || r.made > 2 {
			rt.Fatalf("%+v is left, %d segments were made", p, r.made)
		}
	})
}

// What arrived before the stream broke is worth writing: it need not be sent again.
func TestRingWritesWhatCameBeforeAnError(t *testing.T) {
	broken := errors.New("connection reset")
	var out bytes.Buffer
	in := io.MultiReader(bytes.NewReader(noise(3<<20)), iotest.ErrReader(broken))
	n, err := ring(t, DefaultRing).Carry(&out, in.Read, func() {})
	if !errors.Is(err, broken) || n != 3<<20 || out.Len() != 3<<20 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := ring(t, MinRing).Carry(&out, func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }, func() {}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut looks like an end: %v", err)
	}
}

func TestRingOfAWriterThatFails(t *testing.T) {
	gone := errors.New("zfs is gone")
	for name, c := range map[string]struct{ before int }{"at once": {0}, "when the ring is full": {8 << 20}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pr, pw := io.Pipe() // a fill that waits for ever, but for stop
				r := ring(t, MinRing)
				in := io.MultiReader(bytes.NewReader(noise(c.before+1)), pr)
				w := writerFunc(func([]byte) (int, error) {
					synctest.Wait()
					return 0, gone
				})
				if _, err := r.Carry(w, in.Read, func() { pw.Close() }); !errors.Is(err, gone) {
					t.Error(err)
				}
			})
		})
	}
}

// A ring reads ahead as far as it reaches while nothing is taken from it, and no further.
func TestRingReadsAheadUpToItsSize(t *testing.T) {
	for _, size := range []int{MinRing, 8 << 20, DefaultRing} {
		synctest.Test(t, func(t *testing.T) {
			r := ring(t, size)
			var level, most int64
			in := bytes.NewReader(make([]byte, size+3*segmentSize))
			first := true
			w := writerFunc(func(p []byte) (int, error) {
				if first {
					synctest.Wait() // the pool writes a transaction group
					level, most = r.Level()
					first = false
				}
				return len(p), nil
			})
			if _, err := r.Carry(w, in.Read, func() {}); err != nil {
				t.Error(err)
			}
			if level != int64(size) || most != level || r.made != size/segmentSize {
				t.Errorf("ring of %d bytes: %d waited, %d fit, %d segments", size, level, most, r.made)
			}
		})
	}
}

// A ring that is emptied as it is filled needs hardly any memory, however long the stream is.
func TestRingTakesMemoryAsNeeded(t *testing.T) {
	r := ring(t, MaxRing)
	turn := make(chan struct{}, 1)
	turn <- struct{}{}
	left := 1 << 30
	fill := func(p []byte) (int, error) {
		<-turn // what was read before has been written
		n := min(len(p), left)
		if left -= n; n == 0 {
			return 0, io.EOF
		}
		return n, nil
	}
	n, err := r.Carry(writerFunc(func(p []byte) (int, error) { turn <- struct{}{}; return len(p), nil }), fill, func() {})
	if err != nil || n != 1<<30 || r.made > 3 {
		t.Errorf("%d bytes, %v, %d segments", n, err, r.made)
	}
}

func TestRingSizes(t *testing.T) {
	for _, size := range []int{0, MinRing - 1, MaxRing + 1, -1} {
		if _, err := NewRing(size); !errors.Is(err, ErrRingSize) {
			t.Errorf("%d: %v", size, err)
		}
	}
}

// The memory of a whole stream, both ends of it in one process, while its ring is full since the pool does not read: the ring's, and a few
// chunks more.
func TestMemoryOfAStreamIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		codec  Codec
		ring   int
		around int64 // what the two ends have beside the ring
	}{
		"the largest ring": {Plain, MaxRing, 4 << 20},
		"s2":               {S2, MinRing, 12 << 20},
		"zstd":             {Zstd, MinRing, 24 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				piece := text(ChunkSize)
				before := heap()
				pr, pw := io.Pipe()
				w, r := NewWriter(pw), ring(t, c.ring)
				if c.codec != Plain {
					always(t, w, c.codec)
				}
				size := int64(c.ring + 16<<20)
				sent := make(chan error, 1)
				go func() {
					_, err := w.ReadFrom(io.LimitReader(&repeated{piece: piece}, size))
					sent <- errors.Join(err, w.End())
				}()
				var taken, full, last int64
				pool := writerFunc(func(p []byte) (int, error) {
					if taken == 0 {
						synctest.Wait() // the ring is full
						full = heap() - before
					}
					if taken += int64(len(p)); taken == size {
						last = heap() - before
					}
					return len(p), nil
				})
				_, err := r.Carry(pool, NewReader(pr).Fill, func() { pr.Close() })
				if err := errors.Join(err, <-sent); err != nil {
					t.Fatal(err)
				}
				if least, most := int64(c.ring), int64(c.ring)+c.around; full < least || full > most || last > most {
					t.Errorf("%d MiB when the ring is full, %d at the end, want at most %d", full>>20, last>>20, most>>20)
				}
			})
		})
	}
}

// heap is what is in use, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
