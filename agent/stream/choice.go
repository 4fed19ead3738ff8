package stream

import (
	"sync"
	"time"
)

// sampleSize is how much of a chunk a codec is tried on that is not in use, in bytes.
const sampleSize = 128 << 10

// How long is measured before a decision, at first and later: a link's buffers swallow the first megabytes at any speed.
const (
	firstWindow = 20 * time.Millisecond
	lastWindow  = 160 * time.Millisecond
)

// How often a codec that is not in use is tried: one that might be worth it, and one that was slower than the link.
const (
	trySoon  = time.Second
	tryLater = 4 * time.Second
)

// How long a codec is used on a link that it does not fill before plain data shows whether the link has become faster. Each time that it
// has not, it takes twice as long until the next.
const (
	firstDoubt = 5 * time.Second
	lastDoubt  = time.Minute
)

// A codec must promise takeGain times the rate without it to be taken, and keepGain times to be kept: what it takes of the processors is
// not all measured.
const (
	takeGain = 1.10
	keepGain = 1.03
)

// measure is what is known of a codec on this stream's data.
type measure struct {
	rate   float64 // bytes of data per second that it encodes
	shrink float64 // what it leaves of them, as a share
	at     time.Time
}

// choice decides with which codec a stream's data goes out. The rate of the link is what is written per second while it is the link that
// holds the stream up; a codec's rate and what it leaves are measured on the data itself.
type choice struct {
	elsewhere func() bool

	mu    sync.Mutex
	now   Codec
	seen  []measured // those that cost less first
	link  float64    // bytes per second; 0 if it is not the link that holds the stream up
	known time.Time  // when link was last measured
	doubt time.Duration
	span  time.Duration // of a window
	win   window
}

type measured struct {
	codec Codec
	measure
}

// window is what was written in a span of time.
type window struct {
	data, wire int
	writes     int
	idle, busy time.Duration
}

func newChoice(codecs []Codec, elsewhere func() bool) *choice {
	c := &choice{elsewhere: elsewhere, now: Plain, span: firstWindow, doubt: firstDoubt}
	for _, codec := range codecs {
		c.seen = append(c.seen, measured{codec: codec})
	}
	return c
}

// next returns the codec of the next chunk, and those to try on a sample of it. None is tried while the link is fast enough.
func (c *choice) next() (use Codec, try []Codec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == 0 {
		return c.now, nil
	}
	for _, m := range c.seen {
		if m.codec != c.now && time.Since(m.at) >= m.pause(c.link) {
			try = append(try, m.codec)
		}
	}
	return c.now, try
}

// pause is how long to wait between samples.
func (m measure) pause(link float64) time.Duration {
	if m.rate > link {
		return trySoon
	}
	return tryLater
}

// encoded takes note of data that was encoded.
func (c *choice) encoded(codec Codec, data, wire int, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rate, shrink := perSecond(data, max(took, time.Nanosecond)), float64(wire)/float64(data)
	for i := range c.seen {
		if m := &c.seen[i]; m.codec == codec {
			if codec == c.now && m.rate > 0 {
				rate, shrink = (3*m.rate+rate)/4, (3*m.shrink+shrink)/4
			}
			m.measure = measure{rate: rate, shrink: shrink, at: time.Now()}
		}
	}
}

func perSecond(n int, took time.Duration) float64 { return float64(n) / took.Seconds() }

// wrote takes note of a frame that was written, after an idle time in which there was none, and decides anew from time to time.
func (c *choice) wrote(data, wire int, idle, busy time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &c.win
	w.data, w.wire, w.writes, w.idle, w.busy = w.data+data, w.wire+wire, w.writes+1, w.idle+idle, w.busy+busy
	if w.writes < 2 || w.idle+w.busy < c.span {
		return
	}
	c.learn(*w, time.Now())
	c.span, c.win = min(2*c.span, lastWindow), window{}
	c.decide()
}

// learn finds out what held the stream up in a window. A link that a codec's output does not fill is known from before, for a while.
func (c *choice) learn(w window, now time.Time) {
	total := w.idle + w.busy
	switch {
	case c.elsewhere():
		c.link = 0
	case w.busy >= total/4*3:
		rate := perSecond(w.wire, w.busy)
		if c.link > 0 {
			rate = (c.link + rate) / 2
		}
		c.link, c.known = rate, now
	case c.now == Plain:
		c.link, c.doubt = 0, firstDoubt
	default:
		c.slowed(perSecond(w.data, total))
		if now.Sub(c.known) >= c.doubt {
			c.link, c.doubt = 0, min(2*c.doubt, lastDoubt)
		}
	}
}

// slowed takes note that no more data came through the codec than that, for whatever reason.
func (c *choice) slowed(rate float64) {
	for i := range c.seen {
		if m := &c.seen[i]; m.codec == c.now {
			m.rate = min(m.rate, rate)
		}
	}
}

func (c *choice) decide() {
	best, most := Plain, c.link
	for _, m := range c.seen {
		if m.rate == 0 || c.link == 0 {
			continue
		}
		gain := takeGain
		if m.codec == c.now {
			gain = keepGain
		}
		if rate := min(m.rate, c.link/m.shrink); rate > most*gain {
			best, most = m.codec, rate
		}
	}
	c.now = best
}
