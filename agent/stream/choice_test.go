package stream

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// link is a connection that carries so many bytes per second and swallows the first of them, as a socket's buffers do.
type link struct {
	perSecond float64
	buffer    int
	free      time.Time // when all that was written will have left
	wire      int
	kinds     map[Codec]int
}

func (l *link) Write(p []byte) (int, error) {
	if now := time.Now(); l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(span(len(p), l.perSecond))
	time.Sleep(time.Until(l.free) - span(l.buffer, l.perSecond))
	l.wire += len(p)
	if l.kinds == nil {
		l.kinds = map[Codec]int{}
	}
	l.kinds[Codec(p[0])]++
	return len(p), nil
}

// piped is a source of so many bytes per second that is a pipe ahead.
type piped struct {
	io.Reader
	perSecond float64
	ready     time.Time // when all that was read had come
}

func (s *piped) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	const pipe = 1 << 20
	if most := time.Now().Add(-span(pipe, s.perSecond)); s.ready.Before(most) {
		s.ready = most
	}
	s.ready = s.ready.Add(span(n, s.perSecond))
	time.Sleep(time.Until(s.ready))
	return n, err
}

// span is how long n bytes take.
func span(n int, perSecond float64) time.Duration {
	return time.Duration(float64(n) / perSecond * float64(time.Second))
}

// repeated is a piece of data, over and over.
type repeated struct{ piece, rest []byte }

func (r *repeated) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		r.rest = r.piece
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// share is so much data that codecs take for random or for text, by its first byte.
func share(random bool, n int64) io.Reader {
	piece := make([]byte, ChunkSize)
	if random {
		piece[0] = 1
	}
	return io.LimitReader(&repeated{piece: piece}, n)
}

// leaves is a codec that takes its time by the bubble's clock, and leaves so much of text and all of random data.
func leaves(part, perSecond float64) encoder {
	return encoderFunc(func(dst, src []byte) []byte {
		time.Sleep(span(len(src), perSecond))
		if src[0] == 1 {
			return dst[:len(src)+4]
		}
		return dst[:int(float64(len(src))*part)]
	})
}

// choosing is a Writer onto a link, with codecs that take their time by the bubble's clock.
func choosing(t *testing.T, l *link, elsewhere bool) *Writer {
	t.Helper()
	w := NewWriter(l)
	w.choose(t, elsewhere, leaves(0.43, 400*mb), leaves(0.3, 160*mb))
	return w
}

// choose has a Writer choose between these encoders.
func (w *Writer) choose(t *testing.T, elsewhere bool, s2, zstd encoder) {
	t.Helper()
	if err := w.Compress(codecs, func() bool { return elsewhere }); err != nil {
		t.Fatal(err)
	}
	w.coder.encoders[S2], w.coder.encoders[Zstd] = s2, zstd
}

const mb = 1e6

// The codec is the one with which a stream is fastest. Encoders take a fixed time here, and clocks are the bubble's.
func TestChoice(t *testing.T) {
	for name, c := range map[string]struct {
		random    bool
		link      float64
		source    float64
		elsewhere bool
		want      Codec // 0 for any but Plain
	}{
		"a slow link":               {link: 10 * mb, want: Zstd},
		"a link beyond zstd":        {link: 140 * mb, want: S2},
		"a link beyond both":        {link: 450 * mb, want: Plain},
		"random data":               {random: true, link: 10 * mb, want: Plain},
		"the source is slower":      {link: 40 * mb, source: 20 * mb, want: Plain},
		"the target is slower":      {link: 10 * mb, elsewhere: true, want: Plain},
		"the source beats the link": {link: 10 * mb, source: 20 * mb},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &link{perSecond: c.link, buffer: 1 << 20}
				w := choosing(t, l, c.elsewhere)
				in := share(c.random, int64(c.link)*8)
				if c.source > 0 {
					in = &piped{Reader: in, perSecond: c.source, ready: time.Now()}
				}
				if _, err := w.ReadFrom(in); err != nil {
					t.Fatal(err)
				}
				all := l.kinds[Plain] + l.kinds[S2] + l.kinds[Zstd]
				wanted := l.kinds[c.want]
				if c.want == 0 {
					wanted = all - l.kinds[Plain]
				}
				if wanted < all*3/4 {
					t.Errorf("%v of %d frames are %s", l.kinds, all, c.want)
				}
			})
		})
	}
}

// A link that becomes faster is noticed though a codec's output does not fill it, and one that becomes slower at once.
func TestChoiceFollowsTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &link{perSecond: 20 * mb, buffer: 1 << 20}
		w := choosing(t, l, false)
		var now []Codec
		for _, phase := range []struct {
			link float64
			size int64
		}{{20 * mb, 200 * mb}, {2000 * mb, 4000 * mb}, {20 * mb, 200 * mb}} {
			l.perSecond, l.free = phase.link, time.Time{}
			if _, err := w.ReadFrom(share(false, phase.size)); err != nil {
				t.Fatal(err)
			}
			now = append(now, w.coder.choice.now)
		}
		if now[0] != Zstd || now[1] != Plain || now[2] != Zstd {
			t.Errorf("%v", now)
		}
	})
}

// Data that stops shrinking is sent plain, and compressed again when it shrinks again.
func TestChoiceFollowsTheData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &link{perSecond: 10 * mb, buffer: 1 << 20}
		w := choosing(t, l, false)
		var now []Codec
		for _, random := range []bool{false, true, false} {
			if _, err := w.ReadFrom(share(random, 100*mb)); err != nil {
				t.Fatal(err)
			}
			now = append(now, w.coder.choice.now)
		}
		if now[0] == Plain || now[1] != Plain || now[2] == Plain {
			t.Errorf("%v", now)
		}
	})
}

// A short stream costs no more memory and no more frames than a plain one: nothing is tried before the link is known to be slow.
func TestShortStreamsAreNotTried(t *testing.T) {
	var wire bytes.Buffer
	w := NewWriter(&wire)
	if err := w.Compress(codecs, func() bool { return false }); err != nil {
		t.Fatal(err)
	}
	if _, err := w.ReadFrom(bytes.NewReader(text(1000))); err != nil {
		t.Fatal(err)
	}
	if wire.Len() != headerSize+1000 || len(w.coder.warm) > 0 {
		t.Errorf("%d bytes, %v", wire.Len(), w.coder.warm)
	}
}
