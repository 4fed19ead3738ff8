package stream

import (
	"errors"
	"io"
	"time"
)

// pieces are the chunks of a compressing Writer: one that is read and encoded, one that waits, one that is written.
const pieces = 3

// piece is a chunk on its way.
type piece struct {
	plain []byte // a header and room for one chunk
	coded []byte // the same for what a codec makes of it
	frame []byte // of one of the two, what is sent
	n     int    // bytes of data
}

// coder reads and encodes ahead of what is written.
type coder struct {
	w        *Writer
	choice   *choice
	encoders map[Codec]encoder
	warm     map[Codec]bool // those that have their memory
	free     chan *piece
	full     chan *piece
	failed   chan struct{} // closed by a write's error
}

// Compress has ReadFrom encode data with one of the codecs whenever that makes the stream faster, which it finds out by itself: the network
// must be the bound, slower than the codec is here, and the data must shrink. elsewhere reports that the receiver's side is the bound.
func (w *Writer) Compress(codecs []Codec, elsewhere func() bool) error {
	if len(codecs) == 0 {
		return nil
	}
	c := &coder{w: w, choice: newChoice(codecs, elsewhere), encoders: map[Codec]encoder{}, warm: map[Codec]bool{}}
	for _, codec := range codecs {
		e, err := newEncoder(codec)
		if err != nil {
			return err
		}
		c.encoders[codec] = e
	}
	w.coder = c
	return nil
}

// readFrom sends all of r. Reading and encoding go on while the piece before is written.
func (c *coder) readFrom(r io.Reader) (int64, error) {
	c.free, c.full, c.failed = make(chan *piece, pieces), make(chan *piece, pieces), make(chan struct{})
	for range pieces {
		c.free <- &piece{}
	}
	written := make(chan error, 1)
	go func() { written <- c.write() }()
	n, err := c.read(r)
	close(c.full)
	if werr := <-written; werr != nil {
		return n, werr
	}
	return n, err
}

// read fills pieces until r ends or a write has failed.
func (c *coder) read(r io.Reader) (total int64, err error) {
	for !errors.Is(err, io.EOF) {
		p := <-c.free
		select {
		case <-c.failed:
			return total, nil
		default:
		}
		p.n, err = r.Read(room(&p.plain, ChunkSize))
		if p.n > 0 {
			c.encode(p)
			c.w.n += uint64(p.n)
			total += int64(p.n)
			c.full <- p
		} else {
			c.free <- p
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return total, err
		}
	}
	return total, nil
}

// encode makes a piece's frame.
func (c *coder) encode(p *piece) {
	codec, try := c.choice.next()
	for _, t := range try {
		c.run(t, p, min(p.n, sampleSize))
	}
	if codec != Plain {
		if n := c.run(codec, p, p.n); n < p.n {
			p.frame = p.coded[:headerSize+n]
			putHeader(p.frame, byte(codec), n)
			return
		}
	}
	p.frame = p.plain[:headerSize+p.n]
	putHeader(p.frame, frameData, p.n)
}

// run encodes the first n bytes of a piece, and takes the time. It returns the size.
func (c *coder) run(codec Codec, p *piece, n int) int {
	data, into, e := p.plain[headerSize:headerSize+n], room(&p.coded, encodedRoom), c.encoders[codec]
	if !c.warm[codec] {
		e.encode(into, data) // the first time takes longer
		c.warm[codec] = true
	}
	began := time.Now()
	size := len(e.encode(into, data))
	c.choice.encoded(codec, n, size, time.Since(began))
	return size
}

// room returns the size bytes behind a header in a buffer, which is made when it is needed: many streams are short.
func room(buf *[]byte, size int) []byte {
	if *buf == nil {
		*buf = make([]byte, headerSize+size)
	}
	return (*buf)[headerSize:]
}

// write sends pieces until there are no more. After an error it only gives them back.
func (c *coder) write() (err error) {
	last := time.Now()
	for p := range c.full {
		if err == nil {
			began := time.Now()
			if _, err = c.w.w.Write(p.frame); err != nil {
				close(c.failed)
			}
			now := time.Now()
			c.choice.wrote(p.n, len(p.frame), began.Sub(last), now.Sub(began))
			last = now
		}
		c.free <- p
	}
	return err
}
