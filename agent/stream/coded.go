package stream

import (
	"io"
	"time"
)

// pieces are the chunks of a Writer that encodes: one that is read and encoded, one that waits, one that is written.
const pieces = 3

// piece is a chunk on its way.
type piece struct {
	plain []byte // a header and room for one chunk
	coded []byte // the same for what a codec makes of it
	frame []byte // of one of the two, what is sent
	n     int    // bytes of data
}

// coder encodes what a Writer sends while the choice is for a codec. While it is for plain data a coder only takes the time of each
// write, and tries a codec now and then: the data goes the way that it goes without a coder.
type coder struct {
	w        *Writer
	choice   *choice
	encoders map[Codec]encoder
	warm     map[Codec]bool // those that have their memory
	room     []byte         // for what a sample becomes
	free     chan *piece
	last     time.Time // when the last write ended
}

// Compress has ReadFrom encode data with one of the codecs whenever that makes the stream faster, which it finds out by itself: the network
// must be the bound, slower than the codec is here, and the data must shrink. elsewhere reports that the receiver's side is the bound.
func (w *Writer) Compress(codecs []Codec, elsewhere func() bool) error {
	if len(codecs) == 0 {
		return nil
	}
	c := &coder{w: w, choice: newChoice(codecs, elsewhere), encoders: map[Codec]encoder{}, warm: map[Codec]bool{}, last: time.Now()}
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

// send writes a frame of n bytes of data, and takes the time.
func (c *coder) send(frame []byte, n int) error {
	began := time.Now()
	_, err := c.w.w.Write(frame)
	now := time.Now()
	c.choice.wrote(n, len(frame), began.Sub(c.last), now.Sub(began))
	c.last = now
	return err
}

// ahead sends pieces of r, encoded, until it ends or plain data is faster. Reading and encoding go on while the piece before is written.
func (c *coder) ahead(r io.Reader) (int64, error) {
	if c.free == nil {
		c.free = make(chan *piece, pieces)
		for range pieces {
			c.free <- &piece{}
		}
	}
	full, failed, written := make(chan *piece, pieces), make(chan struct{}), make(chan error, 1)
	go func() { written <- c.write(full, failed) }()
	n, err := c.read(r, full, failed)
	close(full)
	if werr := <-written; werr != nil {
		return n, werr
	}
	return n, err
}

// read fills pieces until r ends, plain data is faster or a write has failed.
func (c *coder) read(r io.Reader, full chan<- *piece, failed <-chan struct{}) (total int64, err error) {
	for err == nil {
		codec := c.choice.codec()
		if codec == Plain {
			return total, nil
		}
		began := time.Now()
		p := <-c.free
		c.choice.waited(time.Since(began))
		select {
		case <-failed:
			return total, nil
		default:
		}
		p.n, err = r.Read(room(&p.plain, ChunkSize))
		if p.n == 0 {
			c.free <- p
			continue
		}
		c.sample(p.plain[headerSize : headerSize+p.n])
		c.encode(codec, p)
		c.w.n += uint64(p.n)
		total += int64(p.n)
		full <- p
	}
	return total, err
}

// encode makes a piece's frame.
func (c *coder) encode(codec Codec, p *piece) {
	if n := c.run(codec, p.plain[headerSize:headerSize+p.n], room(&p.coded, encodedRoom)); n < p.n {
		p.frame = p.coded[:headerSize+n]
		putHeader(p.frame, byte(codec), n)
		return
	}
	p.frame = p.plain[:headerSize+p.n]
	putHeader(p.frame, frameData, p.n)
}

// sample tries codecs that are not in use on the beginning of a chunk, if it is time to.
func (c *coder) sample(data []byte) {
	for _, codec := range c.choice.due() {
		c.run(codec, data[:min(len(data), sampleSize)], room(&c.room, encodedRoom))
	}
}

// run encodes data, and takes the time. It returns the size.
func (c *coder) run(codec Codec, data, into []byte) int {
	began, e := time.Now(), c.encoders[codec]
	if !c.warm[codec] {
		e.encode(into, data) // the first time takes longer
		c.warm[codec] = true
	}
	warm := time.Now()
	size := len(e.encode(into, data))
	now := time.Now()
	c.choice.encoded(codec, len(data), size, now.Sub(warm), now.Sub(began))
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
func (c *coder) write(full <-chan *piece, failed chan<- struct{}) (err error) {
	for p := range full {
		if err == nil {
			if err = c.send(p.frame, p.n); err != nil {
				close(failed)
			}
		}
		c.free <- p
	}
	return err
}
