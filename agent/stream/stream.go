// Package stream frames a byte stream so that one that was cut never looks like one that ended. A zfs stream has an end of
// its own, but a pipe, a TLS connection and a killed process all end in the same silence; here the sender says that it has
// finished, or why it has not, and how many bytes there were.
//
// It is not a protocol: who may send what is decided before the first frame, in package agent.
//
// Invariants:
//   - [Reader] returns [io.EOF] only after the sender's end frame, with the sender's count of bytes.
//   - Anything else that ends a stream is an error: [ErrCut], or a [*SenderError] with the sender's own words.
//   - A reader takes memory in proportion to what is read from it, never to what a length field says; of encoded frames it keeps one, and
//     the chunk that it holds.
//   - No frame holds more than a chunk, encoded or not; the end frame counts the data itself.
package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ChunkSize is the most that one data frame carries, in bytes: large enough that the cost per frame vanishes, small enough
// that a frame fits the pipes on both sides.
const ChunkSize = 512 << 10

// headerSize is a frame's type and its length in big-endian order.
const headerSize = 5

// maxWords bounds a sender's explanation.
const maxWords = 4 << 10

const (
	frameData  byte = 'd'
	frameS2    byte = 's' // data encoded by S2
	frameZstd  byte = 'z' // data encoded by Zstd
	frameEnd   byte = 'e' // carries the count of data bytes
	frameFail  byte = 'x' // carries words
	framePulse byte = 'p' // carries three numbers; a sign of life beside the data
)

// ErrCut says that a stream broke off without the sender's word.
var ErrCut = errors.New("the stream was cut")

// ErrFrame says that what arrived is not a stream of frames, or that its counts contradict each other.
var ErrFrame = errors.New("malformed stream")

// SenderError is the sender's word why its stream does not end well.
type SenderError struct{ Message string }

// Error returns the sender's word.
func (e *SenderError) Error() string { return "the sender gave up: " + e.Message }

// Writer writes frames. Exactly one of End and Fail ends a stream.
type Writer struct {
	w   io.Writer
	n   uint64
	buf []byte // header and one chunk, so that each frame is a single write; made for the first data

	coder *coder // nil if nothing is ever encoded
}

// NewWriter returns a Writer onto w. Its memory is one chunk, and hardly any before there is data; that of one that encodes is some eight.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// room returns where the payload of a data frame goes.
func (w *Writer) room() []byte {
	if w.buf == nil {
		w.buf = make([]byte, headerSize+ChunkSize)
	}
	return w.buf[headerSize:]
}

// Write sends p as data, in chunks.
func (w *Writer) Write(p []byte) (int, error) {
	sent := 0
	for sent < len(p) {
		n := copy(w.room(), p[sent:])
		if err := w.data(n); err != nil {
			return sent, err
		}
		sent += n
	}
	return sent, nil
}

// ReadFrom sends all of r as data without copying it once more. It does not end the stream.
func (w *Writer) ReadFrom(r io.Reader) (total int64, err error) {
	for err == nil {
		var n int64
		if w.encodes() {
			n, err = w.coder.ahead(r)
		} else {
			n, err = w.pass(r)
		}
		total += n
	}
	if errors.Is(err, io.EOF) {
		return total, nil
	}
	return total, err
}

func (w *Writer) encodes() bool { return w.coder != nil && w.coder.choice.codec() != Plain }

// pass sends what one read of r gives.
func (w *Writer) pass(r io.Reader) (int64, error) {
	n, err := r.Read(w.room())
	if n == 0 {
		return 0, err
	}
	if w.coder != nil {
		w.coder.sample(w.room()[:n])
	}
	if werr := w.data(n); werr != nil {
		return 0, werr
	}
	return int64(n), err
}

// data sends the first n bytes of the payload that is in the buffer.
func (w *Writer) data(n int) error {
	w.n += uint64(n)
	putHeader(w.buf, frameData, n)
	if w.coder != nil {
		return w.coder.send(w.buf[:headerSize+n], n)
	}
	_, err := w.w.Write(w.buf[:headerSize+n])
	return err
}

// small sends a frame that is not data.
func (w *Writer) small(kind byte, payload []byte) error {
	b := make([]byte, headerSize, headerSize+len(payload))
	putHeader(b, kind, len(payload))
	_, err := w.w.Write(append(b, payload...))
	return err
}

func putHeader(b []byte, kind byte, n int) {
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:headerSize], uint32(n))
}

// End says that the stream is complete.
func (w *Writer) End() error { return w.small(frameEnd, binary.BigEndian.AppendUint64(nil, w.n)) }

// Fail says why the stream is not complete.
func (w *Writer) Fail(cause error) error {
	words := cause.Error()
	return w.small(frameFail, []byte(words[:min(len(words), maxWords)]))
}

// Pulse is what the receiver of a stream says of itself while it receives, in bytes.
type Pulse struct {
	Taken int64 // by whom the stream is for, so far
	Level int64 // wait in the receiver's ring
	Size  int64 // fit in it
}

const pulseSize = 24

// Pulse sends a sign of life. It is no data, and who reads data does not see it.
func (w *Writer) Pulse(p Pulse) error {
	var b []byte
	for _, n := range []int64{p.Taken, p.Level, p.Size} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return w.small(framePulse, b)
}

// Reader reads the data of one stream.
type Reader struct {
	r    io.Reader
	left int    // of the current data frame
	n    uint64 // data bytes so far
	err  error  // sticky, io.EOF after a proper end

	payload []byte // room for that of an encoded frame
	decoder decoder
	decoded []byte // what is left of an encoded frame's data

	pulse func(Pulse) // nil if none may come
}

// NewReader returns a Reader of the stream that r carries.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Pulses has f called with each pulse. A reader without it takes one for a malformed frame.
func (r *Reader) Pulses(f func(Pulse)) { r.pulse = f }

// Count returns how many data bytes were read.
func (r *Reader) Count() uint64 { return r.n }

// Read reads data. Its error is io.EOF only if the sender said that the stream is complete.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for r.left == 0 && len(r.decoded) == 0 && r.err == nil {
		r.err = r.next()
	}
	if r.err != nil {
		return 0, r.err
	}
	if len(r.decoded) > 0 {
		n := copy(p, r.decoded)
		r.decoded = r.decoded[n:]
		r.n += uint64(n)
		return n, nil
	}
	n, err := r.r.Read(p[:min(len(p), r.left)])
	r.left -= n
	r.n += uint64(n)
	if err != nil {
		r.err = cut(err)
	}
	return n, r.err
}

// Fill reads the rest of the current frame, as far as it fits: a TLS connection hands out no more than 16 KiB at a time, and
// a write of that size costs a system call each. Waiting for more than a frame would hold back what has arrived.
func (r *Reader) Fill(p []byte) (int, error) {
	n, err := r.Read(p)
	for err == nil && r.left > 0 && n < len(p) {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

// next reads a frame's header, and all of a frame that ends the stream.
func (r *Reader) next() error {
	var h [headerSize]byte
	if _, err := io.ReadFull(r.r, h[:]); err != nil {
		return cut(err)
	}
	n := binary.BigEndian.Uint32(h[1:])
	switch {
	case h[0] == frameData && n > 0 && n <= ChunkSize:
		r.left = int(n)
		return nil
	case (h[0] == frameS2 || h[0] == frameZstd) && n > 0 && n <= ChunkSize:
		return r.encoded(Codec(h[0]), int(n))
	case h[0] == frameEnd && n == 8:
		return r.end()
	case h[0] == frameFail && n <= maxWords:
		return r.fail(int(n))
	case h[0] == framePulse && n == pulseSize && r.pulse != nil:
		return r.beat()
	}
	return fmt.Errorf("frame of type %q and %d bytes: %w", h[0], n, ErrFrame)
}

// encoded reads a frame of encoded data, and decodes it.
func (r *Reader) encoded(c Codec, n int) (err error) {
	if r.payload == nil {
		r.payload = make([]byte, ChunkSize)
	}
	if _, err := io.ReadFull(r.r, r.payload[:n]); err != nil {
		return cut(err)
	}
	r.decoded, err = r.decoder.decode(c, r.payload[:n])
	return err
}

func (r *Reader) end() error {
	var b [8]byte
	if _, err := io.ReadFull(r.r, b[:]); err != nil {
		return cut(err)
	}
	if sent := binary.BigEndian.Uint64(b[:]); sent != r.n {
		return fmt.Errorf("%d bytes were sent, %d arrived: %w", sent, r.n, ErrFrame)
	}
	return io.EOF
}

func (r *Reader) beat() error {
	var b [pulseSize]byte
	if _, err := io.ReadFull(r.r, b[:]); err != nil {
		return cut(err)
	}
	n := func(at int) int64 { return int64(binary.BigEndian.Uint64(b[at:])) }
	r.pulse(Pulse{Taken: n(0), Level: n(8), Size: n(16)})
	return nil
}

func (r *Reader) fail(n int) error {
	words := make([]byte, n)
	if _, err := io.ReadFull(r.r, words); err != nil {
		return cut(err)
	}
	return &SenderError{Message: string(words)}
}

// cut keeps what broke the stream, and never lets it pass for an end.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrCut
	}
	return fmt.Errorf("%w: %w", ErrCut, err)
}
