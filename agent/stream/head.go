package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/drover-project/drover/state"
)

// HeadSize is the size of a zfs stream's first record, in bytes. It has no payload in a plain stream and is the same in every
// OpenZFS version that Drover knows.
const HeadSize = 312

// magic is the first record's second word, in the sender's byte order.
const magic = 0x2F5bacbac

// ErrHead says that a stream does not begin as a zfs stream of one snapshot does.
var ErrHead = errors.New("not a zfs stream of one snapshot")

// Head is what a zfs stream says about itself before any data: enough to refuse it before `zfs receive` is started.
type Head struct {
	To   state.GUID // the snapshot that it carries
	From state.GUID // its base, 0 for a full stream
}

// ReadHead reads a stream's first record from r and returns what it says and its bytes, which `zfs receive` needs too.
func ReadHead(r io.Reader) (Head, []byte, error) {
	b := make([]byte, HeadSize)
	if _, err := io.ReadFull(r, b); err != nil {
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			err = ErrHead
		}
		return Head{}, nil, fmt.Errorf("read the stream's first record: %w", err)
	}
	h, err := parseHead(b)
	return h, b, err
}

// Tail watches a stream go by and remembers its last record. What follows the end of a zfs stream is not seen by `zfs
// receive`, so it is looked for here.
type Tail struct {
	R    *Reader
	last [HeadSize]byte
	n    int
}

// Read reads from R.
func (t *Tail) Read(p []byte) (int, error) {
	n, err := t.R.Read(p)
	t.watch(p[:n])
	return n, err
}

func (t *Tail) watch(p []byte) {
	if len(p) >= HeadSize {
		copy(t.last[:], p[len(p)-HeadSize:])
		t.n = HeadSize
		return
	}
	copy(t.last[:], t.last[len(p):])
	copy(t.last[HeadSize-len(p):], p)
	t.n = min(HeadSize, t.n+len(p))
}

// Fill reads as [Reader.Fill] does.
func (t *Tail) Fill(p []byte) (int, error) {
	n, err := t.R.Fill(p)
	t.watch(p[:n])
	return n, err
}

// Ended reports whether the last record is the one that ends the stream of a snapshot.
func (t *Tail) Ended(to state.GUID) bool {
	const end = 5
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if t.n == HeadSize && order.Uint32(t.last[:]) == end && state.GUID(order.Uint64(t.last[40:])) == to {
			return true
		}
	}
	return false
}

func parseHead(b []byte) (Head, error) {
	order, err := byteOrder(b)
	if err != nil {
		return Head{}, err
	}
	const single = 1 // header type of a stream of one snapshot; 2 is a compound of several
	if order.Uint32(b) != 0 || order.Uint64(b[16:])&3 != single {
		return Head{}, fmt.Errorf("its first record is of another kind: %w", ErrHead)
	}
	return Head{To: state.GUID(order.Uint64(b[40:])), From: state.GUID(order.Uint64(b[48:]))}, nil
}

// byteOrder finds out whether the sender is a little-endian machine.
func byteOrder(b []byte) (binary.ByteOrder, error) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if order.Uint64(b[8:]) == magic {
			return order, nil
		}
	}
	return nil, fmt.Errorf("bad magic number: %w", ErrHead)
}
