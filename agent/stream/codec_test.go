package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// text is what compresses well: lines of a log, all different.
func text(n int) []byte {
	var b bytes.Buffer
	for i := uint32(1); b.Len() < n; i++ {
		r := i * 2654435761
		fmt.Fprintf(&b, "2026-11-%02d %02d:%02d:%02d level=info volume=data%d msg=\"snapshot taken\" guid=%d took=%dms\n", r%30, r%24, r%60, r>>8%60, r%7, r, r>>16%900)
	}
	return b.Bytes()[:n]
}

// always makes a Writer use one codec for everything.
func always(t testing.TB, w *Writer, c Codec) {
	t.Helper()
	if err := w.Compress([]Codec{c}, func() bool { return false }); err != nil {
		t.Fatal(err)
	}
	w.coder.choice.now, w.coder.choice.span = c, 1<<62
}

func encodedWith(t testing.TB, c Codec, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	always(t, w, c)
	if n, err := w.ReadFrom(bytes.NewReader(data)); n != int64(len(data)) || err != nil {
		t.Fatal(n, err)
	}
	if err := w.End(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWhatIsEncodedArrives(t *testing.T) {
	for _, c := range codecs {
		for _, size := range []int{1, 100, ChunkSize, ChunkSize + 1, 3*ChunkSize + 7} {
			data := text(size)
			wire := encodedWith(t, c, data)
			if size > ChunkSize/2 && len(wire) > size/2 {
				t.Errorf("%s: %d bytes became %d", c, size, len(wire))
			}
			for name, r := range map[string]io.Reader{"whole": bytes.NewReader(wire), "halves": iotest.HalfReader(bytes.NewReader(wire))} {
				in := NewReader(r)
				var got bytes.Buffer
				if err := drain(&got, in.Fill); err != nil || !bytes.Equal(got.Bytes(), data) || in.Count() != uint64(size) {
					t.Errorf("%s, %s: %d of %d bytes, counted %d, %v", c, name, got.Len(), size, in.Count(), err)
				}
			}
		}
	}
}

// What does not shrink is sent plain: it never takes more on the wire than without a codec.
func TestWhatDoesNotShrinkIsSentPlain(t *testing.T) {
	data := noise(2*ChunkSize + 9)
	plain := framed(t, data, (*Writer).End)
	for _, c := range codecs {
		if wire := encodedWith(t, c, data); !bytes.Equal(wire, plain) {
			t.Errorf("%s: %d bytes, %d without it", c, len(wire), len(plain))
		}
	}
}

// An encoded stream that is cut at any byte is an error, never an end, and nothing of a frame that is not whole comes out.
func TestEveryCutOfAnEncodedStreamIsSeen(t *testing.T) {
	data := bytes.Repeat([]byte("some data "), 40)
	for _, c := range codecs {
		wire := encodedWith(t, c, data)
		if Codec(wire[0]) != c {
			t.Fatalf("the frame is %s", Codec(wire[0]))
		}
		for i := range wire {
			got, err := io.ReadAll(NewReader(bytes.NewReader(wire[:i])))
			if !errors.Is(err, ErrCut) || len(got) != 0 && len(got) != len(data) {
				t.Errorf("%s cut after %d of %d bytes: %d bytes, %v", c, i, len(wire), len(got), err)
			}
		}
	}
}

func frame(c Codec, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{byte(c)}, uint32(len(payload))), payload...)
}

func zstdOf(t testing.TB, data []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(data, nil)
}

// A frame that would become more than a chunk is refused, whether it says so or not.
func TestBombsAreRefused(t *testing.T) {
	zeros := make([]byte, ChunkSize+1)
	chunk := zstdOf(t, zeros[:ChunkSize])
	var streamed bytes.Buffer // it does not say how much it holds
	z, err := zstd.NewWriter(&streamed)
	if err == nil {
		_, err = io.Copy(z, bytes.NewReader(make([]byte, 64<<20)))
		err = errors.Join(err, z.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	claims := binary.AppendUvarint(nil, 1<<31)
	for name, wire := range map[string][]byte{
		"s2":                     frame(S2, s2.Encode(nil, zeros)),
		"s2 that only claims it": frame(S2, claims),
		"s2 of nothing":          frame(S2, s2.Encode(nil, nil)),
		"zstd":                   frame(Zstd, zstdOf(t, zeros)),
		"zstd without a size":    frame(Zstd, streamed.Bytes()),
		"zstd of two":            frame(Zstd, append(bytes.Clone(chunk), chunk...)),
		"zstd of nothing":        frame(Zstd, zstdOf(t, nil)),
		"empty":                  frame(Zstd, nil),
		"garbage":                frame(Zstd, []byte("garbage")),
		"s2 garbage":             frame(S2, []byte("garbage")),
		"too long":               frame(S2, make([]byte, ChunkSize+1)),
	} {
		r := NewReader(bytes.NewReader(wire))
		if got, err := io.ReadAll(r); !errors.Is(err, ErrFrame) || len(got) > 0 {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if len(r.decoder.room) > ChunkSize || len(r.payload) > ChunkSize {
			t.Errorf("%s: %d bytes of memory", name, len(r.decoder.room)+len(r.payload))
		}
	}
	if got, err := io.ReadAll(NewReader(bytes.NewReader(frame(Zstd, chunk)))); len(got) != ChunkSize || !errors.Is(err, ErrCut) {
		t.Errorf("a chunk itself: %d bytes, %v", len(got), err)
	}
}

func TestCodecsThatOthersUnderstand(t *testing.T) {
	for names, want := range map[string][]Codec{
		"": nil, Understood(): codecs, "zstd": {Zstd}, "brotli, s2": {S2}, "plain": nil, "zstd,s2,zstd": {S2, Zstd},
	} {
		if got := ParseCodecs(names); !slices.Equal(got, want) {
			t.Errorf("%q: %v", names, got)
		}
	}
}

// An encoding writer ends as a plain one does: at the reader's error, the data before it sent, or at the connection's.
func TestEncodingEndsWithEitherError(t *testing.T) {
	broken := errors.New("zfs is gone")
	for _, c := range codecs {
		var b bytes.Buffer
		w := NewWriter(&b)
		always(t, w, c)
		n, err := w.ReadFrom(io.MultiReader(bytes.NewReader(text(ChunkSize)), iotest.ErrReader(broken)))
		if err := errors.Join(w.Fail(broken)); err != nil {
			t.Fatal(err)
		}
		got, rerr := io.ReadAll(NewReader(&b))
		var told *SenderError
		if n != ChunkSize || !errors.Is(err, broken) || !errors.As(rerr, &told) || len(got) != ChunkSize {
			t.Errorf("%s: %d bytes sent, %v; %d arrived, %v", c, n, err, len(got), rerr)
		}
		writes := 0
		w = NewWriter(writerFunc(func(p []byte) (int, error) {
			if writes++; writes > 2 {
				return 0, broken
			}
			return len(p), nil
		}))
		always(t, w, c)
		if _, err := w.ReadFrom(endless{}); !errors.Is(err, broken) || writes != 3 {
			t.Errorf("%s: after %d writes: %v", c, writes, err)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// Any mixture of codecs, chunk by chunk, arrives as it was.
func TestCodecsMayChangeAtEachFrame(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var wire, want bytes.Buffer
		for range rapid.IntRange(0, 6).Draw(rt, "frames") {
			data := text(rapid.IntRange(1, 5000).Draw(rt, "size"))
			c := rapid.SampledFrom([]Codec{Plain, S2, Zstd}).Draw(rt, "codec")
			payload := data
			if c != Plain {
				e, err := newEncoder(c)
				if err != nil {
					rt.Fatal(err)
				}
				payload = e.encode(make([]byte, encodedRoom), data)
			}
			want.Write(data)
			wire.Write(frame(c, payload))
		}
		w := NewWriter(&wire)
		w.n = uint64(want.Len())
		if err := w.End(); err != nil {
			rt.Fatal(err)
		}
		got, err := io.ReadAll(NewReader(&wire))
		if err != nil || !bytes.Equal(got, want.Bytes()) {
			rt.Fatalf("%d of %d bytes, %v", len(got), want.Len(), err)
		}
	})
}
