package stream

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"
)

// BenchmarkCodecs is a stream over a link of a fixed speed, read at its other end, with each codec alone and with the one that is chosen
// while it runs. The figures are medians of all rounds (-benchtime 5x); those in % are of what the choice does beside another way in the
// same round.
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
	const span = 4 // seconds that the link needs for plain data
	size := int64(min(speed, 300*mb) * span)
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
	rates, ofNone, ofBest := make([][]float64, len(ways)), []float64(nil), []float64(nil)
	for b.Loop() {
		round := make([]float64, len(ways))
		for i, way := range ways {
			took := overLink(b, speed, io.LimitReader(&repeated{piece: piece}, size), way.set)
			round[i] = float64(size) / took.Seconds() / mb
			rates[i] = append(rates[i], round[i])
		}
		chosen := 100 * round[len(ways)-1]
		ofNone, ofBest = append(ofNone, chosen/round[0]), append(ofBest, chosen/slices.Max(round[:len(ways)-1]))
	}
	for i, way := range ways {
		b.ReportMetric(median(rates[i]), way.name+"-MB/s")
	}
	b.ReportMetric(median(ofNone), "%of-none")
	b.ReportMetric(median(ofBest), "%of-best")
}

func median(of []float64) float64 {
	slices.Sort(of)
	return (of[(len(of)-1)/2] + of[len(of)/2]) / 2
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
