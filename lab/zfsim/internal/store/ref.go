package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"maps"
	"slices"
)

// BlockSize is the size of a file's blocks in bytes, the default recordsize of OpenZFS.
const BlockSize = 128 << 10

// Ref addresses one stored block. A Ref of zero length is a hole: zeros that take no room.
type Ref struct {
	Birth uint64 `json:"b,omitempty"` // txg of the pack that holds it
	Off   uint64 `json:"o,omitempty"` // offset in the pack, bytes
	Len   uint32 `json:"l,omitempty"` // stored length, bytes
	Sum   uint64 `json:"s,omitempty"` // Sum of the content
}

// Stored reports whether the reference leads to bytes in a pack.
func (r Ref) Stored() bool { return r.Len > 0 }

// sameBytes reports whether two references have equal content, wherever they are stored.
func (r Ref) sameBytes(o Ref) bool { return r.Len == o.Len && r.Sum == o.Sum }

// size is the room that the block takes, in bytes: whole sectors.
func (r Ref) size() uint64 { return (uint64(r.Len) + sector - 1) / sector * sector }

const sector = 512

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Sum is a 64-bit checksum made of two CRCs with different polynomials. It finds changes far faster than a
// cryptographic hash; nobody forges blocks here.
func Sum(data []byte) uint64 {
	return uint64(crc32.Checksum(data, castagnoli))<<32 | uint64(crc32.ChecksumIEEE(data))
}

// Hist counts the bytes of a tree by the txg of their birth.
type Hist map[uint64]uint64

// Total returns all bytes.
func (h Hist) Total() uint64 { return h.Since(0) }

// Since returns the bytes born after txg.
func (h Hist) Since(txg uint64) uint64 {
	var n uint64
	for birth, bytes := range h {
		if birth > txg {
			n += bytes
		}
	}
	return n
}

// Gone returns the bytes born in (after, upto] that h has and next has no longer.
func (h Hist) Gone(next Hist, after, upto uint64) uint64 {
	var n uint64
	for birth, bytes := range h {
		if birth > after && birth <= upto && bytes > next[birth] {
			n += bytes - next[birth]
		}
	}
	return n
}

// Clone returns a copy.
func (h Hist) Clone() Hist { return maps.Clone(h) }

// Births returns the txgs in the histogram, ascending.
func (h Hist) Births() []uint64 { return slices.Sorted(maps.Keys(h)) }

var errCorrupt = errors.New("stored object is damaged")

// encoder appends fields in a compact form; decoder reads them back. A decoder that met bad data stays in error, so
// that callers check once.
type encoder struct{ b []byte }

func (e *encoder) uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)   { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) string(s string) {
	e.uint(uint64(len(s)))
	e.b = append(e.b, s...)
}
func (e *encoder) ref(r Ref) {
	e.uint(r.Birth)
	e.uint(r.Off)
	e.uint(uint64(r.Len))
	e.b = binary.LittleEndian.AppendUint64(e.b, r.Sum)
}
func (e *encoder) refs(rs []Ref) {
	e.uint(uint64(len(rs)))
	for _, r := range rs {
		e.ref(r)
	}
}

type decoder struct {
	b   []byte
	err error
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	return d.take(v, n)
}

func (d *decoder) take(v uint64, n int) uint64 {
	if n <= 0 {
		d.err, d.b = errCorrupt, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	return int64(d.take(uint64(v), n))
}

// count reads a number of items that take at least size bytes each, so that damaged data cannot ask for the moon.
func (d *decoder) count(size int) int {
	n := d.uint()
	if n > uint64(len(d.b)/size) {
		d.err, d.b = errCorrupt, nil
		return 0
	}
	return int(n)
}

func (d *decoder) string() string {
	n := d.count(1)
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) ref() Ref {
	r := Ref{Birth: d.uint(), Off: d.uint(), Len: uint32(d.uint())}
	if len(d.b) < 8 {
		d.err, d.b = errCorrupt, nil
		return Ref{}
	}
	r.Sum, d.b = binary.LittleEndian.Uint64(d.b), d.b[8:]
	return r
}

func (d *decoder) refs() []Ref {
	n := d.count(11)
	if n == 0 {
		return nil
	}
	rs := make([]Ref, n)
	for i := range rs {
		rs[i] = d.ref()
	}
	return rs
}
