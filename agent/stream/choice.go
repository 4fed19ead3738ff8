package stream

import (
	"sync"
	"time"
)

// sampleSize is how much of a chunk a codec is tried on that is not in use, in bytes.
const sampleSize = 128 << 10

// What is tried in vain takes a hundredth of the time: a codec that is not in use is tried on a sample once in a second or more seldom, and
// one that was slower in use than it promised is left alone for a hundred times as long as it was in use, though not for ever.
const (
	inVain   = 100
	tryEvery = time.Second
	tryAgain = time.Minute
)

// How long is measured before a decision. The first windows are short, so that a codec that does not keep what it promised is given up
// soon, and a short stream over a slow link gets one; plain data after a codec is given a long one, since the link's buffers are empty then
// and swallow megabytes at any speed.
const (
	firstWindow = 20 * time.Millisecond
	lastWindow  = 160 * time.Millisecond
)

// How long a codec is used on a link that it does not fill before plain data shows whether the link has become faster. Each time that it
// has not, it takes twice as long until the next.
const (
	firstDoubt = time.Second
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
	codec  Codec
	rate   float64   // bytes of data per second that it encodes, or that came through while it was in use
	shrink float64   // what it leaves of them, as a share
	next   time.Time // when it may be tried again
}

// choice decides with which codec a stream's data goes out. The rate of the link is what is written per second while it is the link that
// holds the stream up; a codec's rate and what it leaves are measured on the data itself.
type choice struct {
	elsewhere func() bool

	mu    sync.Mutex
	now   Codec
	since time.Time
	seen  []measure // those that cost less first
	link  float64   // bytes per second; 0 if it is not the link that holds the stream up
	known time.Time // when link was last measured
	doubt time.Duration
	span  time.Duration // of a window
	win   window
}

// window is what was written in a span of time.
type window struct {
	data, wire int
	writes     int
	idle, busy time.Duration
	held       time.Duration // that encoding waited for writes
}

func newChoice(codecs []Codec, elsewhere func() bool) *choice {
	c := &choice{elsewhere: elsewhere, now: Plain, since: time.Now(), span: firstWindow, doubt: firstDoubt}
	for _, codec := range codecs {
		c.seen = append(c.seen, measure{codec: codec})
	}
	return c
}

// codec returns the codec of the next chunk.
func (c *choice) codec() Codec {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// due returns the codecs to try on a sample of the next chunk. None is tried while the link is fast enough.
func (c *choice) due() (try []Codec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == 0 {
		return nil
	}
	for _, m := range c.seen {
		if m.codec != c.now && !time.Now().Before(m.next) {
			try = append(try, m.codec)
		}
	}
	return try
}

// of returns what is known of a codec; nil for Plain.
func (c *choice) of(codec Codec) *measure {
	for i := range c.seen {
		if m := &c.seen[i]; m.codec == codec {
			return m
		}
	}
	return nil
}

// encoded takes note of data that was encoded, of the time that it took, and of all the time that the stream was held up by it.
func (c *choice) encoded(codec Codec, data, wire int, took, all time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, rate, shrink := c.of(codec), perSecond(data, max(took, time.Nanosecond)), float64(wire)/float64(data)
	if codec == c.now && m.rate > 0 {
		m.rate, m.shrink = (3*m.rate+rate)/4, (3*m.shrink+shrink)/4
		return
	}
	m.rate, m.shrink, m.next = rate, shrink, time.Now().Add(max(tryEvery, inVain*all))
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
	now := time.Now()
	c.learn(*w, now)
	c.span, c.win = min(2*c.span, lastWindow), window{}
	c.use(c.best(), now)
}

// waited takes note of a time in which encoding waited for writes.
func (c *choice) waited(held time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.win.held += held
}

// learn finds out what held the stream up in a window: the link, if plain data waited for writes most of the time or encoding waited for
// them at all. A link that a codec's output does not fill is known from before, for a while.
func (c *choice) learn(w window, now time.Time) {
	total := w.idle + w.busy
	switch {
	case c.elsewhere():
		c.link = 0
	case c.now == Plain && w.busy >= total/4*3, c.now != Plain && w.held >= total/4:
		c.link, c.known = carries(c.link, perSecond(w.wire, w.busy)), now
	case c.now == Plain:
		c.link, c.doubt = 0, firstDoubt
	default:
		m := c.of(c.now)
		m.rate = min(m.rate, perSecond(w.data, total)) // no more came through, for whatever reason
		if now.Sub(c.known) >= c.doubt {
			c.link, c.doubt = 0, min(2*c.doubt, lastDoubt)
		}
	}
}

// carries returns what a link carries that was thought to carry link and has just carried rate. A machine that is busy makes it look
// slower than it is, and nothing makes it look faster for long.
func carries(link, rate float64) float64 {
	if link == 0 || rate > link {
		return rate
	}
	return (3*link + rate) / 4
}

// best returns what the data would go out fastest with.
func (c *choice) best() Codec {
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
	return best
}

// use has the data go out with a codec from now on. A sample of one that was slower in use than it promised would promise the same again.
func (c *choice) use(codec Codec, now time.Time) {
	if codec == c.now {
		return
	}
	if m := c.of(c.now); m != nil && m.rate < c.link/m.shrink {
		m.next = now.Add(min(inVain*now.Sub(c.since), tryAgain))
	}
	c.now, c.since, c.span = codec, now, firstWindow
	if codec == Plain {
		c.span = lastWindow
	}
}
