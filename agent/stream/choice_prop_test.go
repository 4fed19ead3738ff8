package stream

import (
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// world is a link, what comes before it and what codecs do there, all by the bubble's clock. Of each period others have the processors for
// a share: then nothing is encoded, encoded for TLS or given to the link.
type world struct {
	link, source float64 // bytes per second
	buffer       int     // of the link
	s2, zstd     able
	period       time.Duration
	others       float64
	size         int64
	began        time.Time
}

// able is what a codec does of a sample, and how many times slower it is when all data goes through it, since who reads, encrypts and
// decodes wants the same processors.
type able struct {
	perSecond, slower float64
	leaves            [2]float64 // of data of two kinds that take turns
	turn              int        // bytes
}

func (w world) String() string {
	return fmt.Sprintf("%d bytes, link %.0f MB/s with %d bytes, source %.0f MB/s, others have %.2f of each %v\ns2 %v\nzstd %v",
		w.size, w.link/mb, w.buffer, w.source/mb, w.others, w.period, w.s2, w.zstd)
}

func (a able) String() string {
	return fmt.Sprintf("%.0f MB/s, %.2f times slower in use, leaves %.2f and %.2f by turns of %d", a.perSecond/mb, a.slower, a.leaves[0], a.leaves[1], a.turn)
}

// work takes so much time of a processor.
func (w world) work(d time.Duration) {
	for d > 0 {
		in := time.Since(w.began) % w.period
		if theirs := time.Duration(w.others * float64(w.period)); in < theirs {
			time.Sleep(theirs - in)
			in = theirs
		}
		now := min(d, w.period-in)
		time.Sleep(now)
		d -= now
	}
}

func (w world) encoder(a able) encoder {
	seen := 0
	return encoderFunc(func(dst, src []byte) []byte {
		rate := a.perSecond
		if len(src) > sampleSize {
			rate /= a.slower
		}
		w.work(span(len(src), rate))
		seen += len(src)
		return dst[:int(float64(len(src))*a.leaves[seen/a.turn%2])]
	})
}

// untouched is data that nobody looks at.
type untouched struct{}

func (untouched) Read(p []byte) (int, error) { return len(p), nil }

// took returns how long a stream takes, and which frames it is made of.
func (w world) took(t *testing.T, compress bool) (took time.Duration, kinds map[Codec]int) {
	synctest.Test(t, func(t *testing.T) {
		w.began = time.Now()
		l := &link{perSecond: w.link, buffer: w.buffer}
		out := NewWriter(writerFunc(func(p []byte) (int, error) {
			w.work(span(len(p), 1500*mb)) // TLS
			return l.Write(p)
		}))
		if compress {
			out.choose(t, false, w.encoder(w.s2), w.encoder(w.zstd))
		}
		if _, err := out.ReadFrom(&piped{Reader: io.LimitReader(untouched{}, w.size), perSecond: w.source, ready: w.began}); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Until(l.free))
		took, kinds = time.Since(w.began), l.kinds
	})
	return took, kinds
}

// Whatever link, source, codecs and data: a stream takes no longer than without codecs, but for a small part and the first trials. On a
// busy machine both are measured less exactly.
func TestChoiceIsNeverSlowerThanPlain(t *testing.T) {
	for name, c := range map[string]struct {
		others float64
		part   time.Duration // one more of so many
		trials time.Duration
	}{
		"a machine of its own": {others: 0, part: 33, trials: 100 * time.Millisecond},
		"a busy machine":       {others: 0.5, part: 10, trials: 250 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				w := anyWorld(rt, c.others)
				plain, _ := w.took(t, false)
				if chosen, kinds := w.took(t, true); chosen > plain+plain/c.part+c.trials {
					rt.Fatalf("%v, %v plain: %v\n%v", chosen, plain, kinds, w)
				}
			})
		})
	}
}

func anyWorld(rt *rapid.T, others float64) world {
	rate := func(name string, from, to float64) float64 {
		return mb * rapid.Float64Range(from, to).Draw(rt, name)
	}
	codec := func(name string, from, to float64) able {
		part := rapid.Float64Range(0.02, 1)
		return able{perSecond: rate(name, from, to), slower: rapid.Float64Range(1, 4).Draw(rt, name+" slower"),
			leaves: [2]float64{part.Draw(rt, name+" leaves"), part.Draw(rt, name+" leaves then")}, turn: rapid.IntRange(1<<20, 1<<30).Draw(rt, name+" turn")}
	}
	return world{link: rate("link", 1, 2000), source: rate("source", 1, 8000), buffer: rapid.IntRange(64<<10, 8<<20).Draw(rt, "buffer"),
		s2: codec("s2", 50, 2000), zstd: codec("zstd", 40, 800), size: rapid.Int64Range(1, 1<<30).Draw(rt, "size"),
		period: time.Duration(rapid.IntRange(1, 200).Draw(rt, "period")) * time.Millisecond, others: rapid.Float64Range(0, others).Draw(rt, "others")}
}
