package stream

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"
)

// BenchmarkCodecs is a stream over a link of a fixed speed, read at its other end, with each codec alone and with the one that is chosen
// while it runs. The figure to look at is MB/s of data; of-best compares the choice with the best of the others.
func BenchmarkCodecs(b *testing.B) {
	kinds := []struct {
		name  string
		piece []byte
	}{{"text", text(8 * ChunkSize)}, {"random", noise(8 * ChunkSize)}}
	for _, speed := range []float64{10, 50, 100, 300, 1000, 2000} {
		for _, kind := range kinds {
			b.Run(fmt.Sprintf("%s/%.0f-MB-per-s", kind.name, speed), func(b *testing.B) {
				compare(b, speed*mb, kind.piece)
			})
		}
	}
}

// compare runs the ways in turns, since a machine is not always as fast.
func compare(b *testing.B, speed float64, piece []byte) {
	const span = 8 // seconds that the link needs for plain data
	size := int64(min(speed, 150*mb) * span)
	ways := []struct {
		name string
		set  func(*Writer)
	}{
		{"none", func(*Writer) {}},
		{"s2", func(w *Writer) { always(b, w, S2) }},
		{"zstd", func(w *Writer) { always(b, w, Zstd) }},
		{"chosen", func(w *Writer) {
			if err := w.Compress(codecs, func() bool { return false }); err != nil {
				b.Fatal(err)
			}
		}},
	}
	took := make([]time.Duration, len(ways))
	for b.Loop() {
		for i, way := range ways {
			took[i] += overLink(b, speed, io.LimitReader(&repeated{piece: piece}, size), way.set)
		}
	}
	var best float64
	for i, way := range ways {
		rate := float64(size) * float64(b.N) / took[i].Seconds() / mb
		b.ReportMetric(rate, way.name+"-MB/s")
		if way.name == "chosen" {
			b.ReportMetric(100*rate/best, "%of-best")
		}
		best = max(best, rate)
	}
}

// overLink sends data over a link of a speed to a reader, and returns how long it took.
func overLink(b *testing.B, speed float64, data io.Reader, set func(*Writer)) time.Duration {
	b.Helper()
	pr, pw := io.Pipe()
	l := &link{perSecond: speed, buffer: 1 << 20}
	w := NewWriter(io.MultiWriter(l, pw))
	set(w)
	arrived := make(chan error, 1)
	go func() { arrived <- drain(io.Discard, NewReader(pr).Fill) }()
	began := time.Now()
	_, err := w.ReadFrom(data)
	if err == nil {
		err = w.End()
	}
	if err != nil {
		b.Error(err)
		pw.CloseWithError(err)
	}
	if err := <-arrived; err != nil {
		b.Error(err)
	}
	time.Sleep(time.Until(l.free)) // the link has a buffer
	return time.Since(began)
}

// BenchmarkCodec is what each codec costs and leaves, on one processor.
func BenchmarkCodec(b *testing.B) {
	for _, kind := range []struct {
		name  string
		piece []byte
	}{{"text", text(ChunkSize)}, {"random", noise(ChunkSize)}} {
		for _, c := range codecs {
			e, err := newEncoder(c)
			if err != nil {
				b.Fatal(err)
			}
			room := make([]byte, encodedRoom)
			payload := bytes.Clone(e.encode(room, kind.piece))
			b.Run(fmt.Sprintf("encode/%s/%s", kind.name, c), func(b *testing.B) {
				b.SetBytes(ChunkSize)
				for b.Loop() {
					e.encode(room, kind.piece)
				}
				b.ReportMetric(100*float64(len(payload))/ChunkSize, "%left")
			})
			b.Run(fmt.Sprintf("decode/%s/%s", kind.name, c), func(b *testing.B) {
				b.SetBytes(ChunkSize)
				var d decoder
				for b.Loop() {
					if _, err := d.decode(c, payload); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
