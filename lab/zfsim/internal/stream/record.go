// Package stream is the wire format between the stand-in's send and receive, and its resume tokens.
//
// The head of a stream and its END record have the layout of OpenZFS (312 bytes, little-endian), so that whoever looks
// at a stream before handing it on reads the same fields. What lies between is the stand-in's own: OpenZFS does not
// understand it, nor the stand-in the records of OpenZFS. Every record is checksummed, and the END record covers all
// record heads, so a stream that is cut, damaged, reordered or spliced never looks complete.
package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// HeadSize is the size of BEGIN and END records in bytes.
const HeadSize = 312

// Record types. Begin and End are those of OpenZFS.
const (
	typeBegin = 0
	typeEnd   = 5

	Put    = 0x40 // an entry follows as payload
	Data   = 0x41 // one block of the current entry
	Hole   = 0x42 // Offset: block of zeros
	Remove = 0x43 // payload: a path that is gone
)

const (
	magic     = 0x2F5bacbac
	substream = 1
	compound  = 2
	dmuZFS    = 2
	flags     = 0xc // spill blocks, freerecords
	chunkHead = 32
)

// Features of a stream, the bits of OpenZFS.
const (
	FeatureSpill       = 1 << 2
	FeatureEmbed       = 1 << 16
	FeatureLargeBlocks = 1 << 19
	FeatureResuming    = 1 << 20
	FeatureCompressed  = 1 << 22

	Features = FeatureSpill | FeatureEmbed | FeatureLargeBlocks | FeatureResuming | FeatureCompressed // all that are known here
)

// MaxPayload limits what one record may carry, in bytes; more is taken for damage.
const MaxPayload = 1 << 20

// Errors of Reader.
var (
	ErrChecksum = errors.New("checksum mismatch")
	ErrMagic    = errors.New("bad magic number")
	ErrRecord   = errors.New("unknown record")
)

// Begin is the head of a stream.
type Begin struct {
	Compound bool // a package of several streams follows, each with its own head
	Features uint64
	Creation uint64 // of the snapshot, seconds since 1970
	ToGUID   uint64
	FromGUID uint64 // 0 in a full stream
	ToName   string
	Object   uint64 // where a resuming stream goes on
	Offset   uint64
}

// Resuming reports whether the stream continues one that was cut.
func (b Begin) Resuming() bool { return b.Features&FeatureResuming != 0 }

func (b Begin) encode() []byte {
	out := make([]byte, HeadSize, HeadSize+16)
	kind := uint64(substream)
	if b.Compound {
		kind = compound
	}
	binary.LittleEndian.PutUint64(out[8:], magic)
	binary.LittleEndian.PutUint64(out[16:], kind|b.Features<<2)
	binary.LittleEndian.PutUint64(out[24:], b.Creation)
	binary.LittleEndian.PutUint32(out[32:], dmuZFS)
	binary.LittleEndian.PutUint32(out[36:], flags)
	binary.LittleEndian.PutUint64(out[40:], b.ToGUID)
	binary.LittleEndian.PutUint64(out[48:], b.FromGUID)
	copy(out[56:HeadSize-1], b.ToName)
	if b.Resuming() {
		binary.LittleEndian.PutUint32(out[4:], 16)
		out = binary.LittleEndian.AppendUint64(out, b.Object)
		out = binary.LittleEndian.AppendUint64(out, b.Offset)
	}
	return out
}

func decodeBegin(h []byte) (Begin, error) {
	if binary.LittleEndian.Uint64(h[8:]) != magic || binary.LittleEndian.Uint32(h) != typeBegin {
		return Begin{}, ErrMagic
	}
	v := binary.LittleEndian.Uint64(h[16:])
	b := Begin{Compound: v&3 == compound, Features: v >> 2, Creation: binary.LittleEndian.Uint64(h[24:]),
		ToGUID: binary.LittleEndian.Uint64(h[40:]), FromGUID: binary.LittleEndian.Uint64(h[48:]), ToName: cstring(h[56:])}
	if n := binary.LittleEndian.Uint32(h[4:]); b.Resuming() != (n == 16) || n > 16 {
		return Begin{}, ErrRecord
	}
	return b, nil
}

func cstring(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// Writer writes one stream after the other. Sent counts the bytes.
type Writer struct {
	w    io.Writer
	sum  fletcher
	buf  []byte
	Sent int64
}

// NewWriter returns a writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

func (w *Writer) write(b []byte) error {
	n, err := w.w.Write(b)
	w.Sent += int64(n)
	return err
}

// Begin starts a stream.
func (w *Writer) Begin(b Begin) error {
	w.sum = fletcher{}
	head := b.encode()
	w.sum.add(head)
	return w.write(head)
}

// Record writes one record. object and offset say where in the stream's order it belongs.
func (w *Writer) Record(kind uint32, object, offset uint64, payload []byte) error {
	w.buf = append(w.buf[:0], make([]byte, chunkHead)...)
	binary.LittleEndian.PutUint32(w.buf, kind)
	binary.LittleEndian.PutUint32(w.buf[4:], uint32(len(payload)))
	binary.LittleEndian.PutUint64(w.buf[8:], object)
	binary.LittleEndian.PutUint64(w.buf[16:], offset)
	binary.LittleEndian.PutUint32(w.buf[24:], crc32.Checksum(payload, castagnoli))
	w.sum.add(w.buf)
	w.buf = append(w.buf, payload...)
	return w.write(w.buf)
}

// Skip counts a record with a payload of n bytes without writing it, for estimates.
func (w *Writer) Skip(n int) { w.Sent += chunkHead + int64(n) }

// End ends the stream.
func (w *Writer) End(toGUID uint64) error {
	out := make([]byte, HeadSize)
	binary.LittleEndian.PutUint32(out, typeEnd)
	for i, word := range w.sum.words() {
		binary.LittleEndian.PutUint64(out[8+8*i:], word)
	}
	binary.LittleEndian.PutUint64(out[40:], toGUID)
	return w.write(out)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Record is one record between BEGIN and END.
type Record struct {
	Kind           uint32 // 0 at the end of the stream
	Object, Offset uint64
	Payload        []byte // valid until the next call
}

// Reader reads what Writer wrote. Read counts the bytes.
type Reader struct {
	r    io.Reader
	sum  fletcher
	guid uint64
	head [HeadSize]byte
	buf  []byte
	Read int64
}

// NewReader returns a reader from r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

func (r *Reader) fill(b []byte) error {
	n, err := io.ReadFull(r.r, b)
	r.Read += int64(n)
	return err
}

// Begin reads the head of a stream. io.EOF: nothing follows; io.ErrUnexpectedEOF: less than a head.
func (r *Reader) Begin() (Begin, error) {
	if err := r.fill(r.head[:]); err != nil {
		return Begin{}, err
	}
	b, err := decodeBegin(r.head[:])
	if err != nil {
		return Begin{}, err
	}
	r.sum, r.guid = fletcher{}, b.ToGUID
	r.sum.add(r.head[:])
	if b.Resuming() {
		err = r.resumePoint(&b)
	}
	return b, err
}

func (r *Reader) resumePoint(b *Begin) error {
	var at [16]byte
	if err := r.fill(at[:]); err != nil {
		return unexpected(err)
	}
	r.sum.add(at[:])
	b.Object, b.Offset = binary.LittleEndian.Uint64(at[:]), binary.LittleEndian.Uint64(at[8:])
	return nil
}

// Next reads one record. io.ErrUnexpectedEOF: the stream is cut; ErrChecksum: it is damaged.
func (r *Reader) Next() (Record, error) {
	h := r.head[:chunkHead]
	if err := r.fill(h); err != nil {
		return Record{}, unexpected(err)
	}
	kind, n := binary.LittleEndian.Uint32(h), binary.LittleEndian.Uint32(h[4:])
	if kind == typeEnd && n == 0 {
		return Record{}, r.end()
	}
	if kind < Put || kind > Remove || n > MaxPayload {
		return Record{}, ErrChecksum
	}
	if cap(r.buf) < int(n) {
		r.buf = make([]byte, n)
	}
	rec := Record{Kind: kind, Object: binary.LittleEndian.Uint64(h[8:]), Offset: binary.LittleEndian.Uint64(h[16:]), Payload: r.buf[:n]}
	r.sum.add(h)
	want := binary.LittleEndian.Uint32(h[24:])
	if err := r.fill(rec.Payload); err != nil {
		return Record{}, unexpected(err)
	}
	if crc32.Checksum(rec.Payload, castagnoli) != want {
		return Record{}, ErrChecksum
	}
	return rec, nil
}

func (r *Reader) end() error {
	if err := r.fill(r.head[chunkHead:]); err != nil {
		return unexpected(err)
	}
	for i, word := range r.sum.words() {
		if binary.LittleEndian.Uint64(r.head[8+8*i:]) != word {
			return ErrChecksum
		}
	}
	if binary.LittleEndian.Uint64(r.head[40:]) != r.guid {
		return ErrChecksum
	}
	return nil
}

// EndPackage reads the END record of a compound stream if it is next, and returns whether it was. head is what Begin
// returned ErrMagic for.
func (r *Reader) EndPackage() bool { return binary.LittleEndian.Uint32(r.head[:]) == typeEnd }

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return fmt.Errorf("read stream: %w", err)
}

// fletcher is the fletcher-4 checksum of OpenZFS.
type fletcher struct{ a, b, c, d uint64 }

func (f *fletcher) add(p []byte) {
	for ; len(p) >= 4; p = p[4:] {
		f.a += uint64(binary.LittleEndian.Uint32(p))
		f.b += f.a
		f.c += f.b
		f.d += f.c
	}
}

func (f *fletcher) words() [4]uint64 { return [4]uint64{f.a, f.b, f.c, f.d} }
