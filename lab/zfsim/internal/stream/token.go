package stream

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Token says where an interrupted receive stands. Its text has the form and the encoding of OpenZFS:
// 1-CHECKSUM-LENGTH-HEX, the hex being a zlib-compressed nvlist.
type Token struct {
	Object, Offset, Bytes uint64
	ToGUID, FromGUID      uint64 // FromGUID 0: full stream
	ToName                string
	LargeBlock            bool
	Embed                 bool
	Compress              bool
	Raw                   bool
}

// TokenError says what is wrong with a token, in the words of OpenZFS.
type TokenError string

func (e TokenError) Error() string { return "resume token is corrupt (" + string(e) + ")" }

const maxToken = 64 << 10

// String returns the text of the token.
func (t Token) String() string {
	plain := t.nvlist().encode()
	var z bytes.Buffer
	zw := zlib.NewWriter(&z)
	zw.Write(plain) //nolint:errcheck // a buffer never fails
	zw.Close()
	var sum fletcher
	sum.add(z.Bytes())
	return fmt.Sprintf("1-%x-%x-%x", sum.a, len(plain), z.Bytes())
}

// ParseToken reads a token. Its errors are of type TokenError.
func ParseToken(s string) (Token, error) {
	sum, size, packed, err := splitToken(s)
	if err != nil {
		return Token{}, err
	}
	var f fletcher
	f.add(packed)
	if f.a != sum {
		return Token{}, TokenError("incorrect checksum")
	}
	zr, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return Token{}, TokenError("decompression failed")
	}
	plain := make([]byte, size)
	if _, err := io.ReadFull(zr, plain); err != nil {
		return Token{}, TokenError("decompression failed")
	}
	if _, err := zr.Read(make([]byte, 1)); err != io.EOF {
		return Token{}, TokenError("decompression failed") // its end, which the checksum may not cover, is cut
	}
	list, err := decodeNvlist(plain)
	if err != nil {
		return Token{}, TokenError("nvlist_unpack failed")
	}
	return fromNvlist(list)
}

func splitToken(s string) (sum uint64, size int, packed []byte, err error) {
	parts := strings.Split(s, "-")
	if len(parts) != 4 || parts[0] != "1" {
		return 0, 0, nil, TokenError("invalid format")
	}
	sum, err1 := strconv.ParseUint(parts[1], 16, 64)
	n, err2 := strconv.ParseUint(parts[2], 16, 32)
	packed, err3 := hex.DecodeString(parts[3])
	if errors.Join(err1, err2) != nil || n > maxToken {
		return 0, 0, nil, TokenError("invalid format")
	}
	if err3 != nil {
		return 0, 0, nil, TokenError("payload is not hex-encoded")
	}
	return sum, int(n), packed, nil
}

func (t Token) nvlist() nvlist {
	var l nvlist
	if t.FromGUID != 0 {
		l = append(l, pair{"fromguid", t.FromGUID})
	}
	l = append(l, pair{"object", t.Object}, pair{"offset", t.Offset}, pair{"bytes", t.Bytes}, pair{"toguid", t.ToGUID},
		pair{"toname", t.ToName})
	for _, f := range []struct {
		name string
		on   bool
	}{{"largeblockok", t.LargeBlock}, {"embedok", t.Embed}, {"compressok", t.Compress}, {"rawok", t.Raw}} {
		if f.on {
			l = append(l, pair{f.name, true})
		}
	}
	return l
}

func fromNvlist(l nvlist) (Token, error) {
	var t Token
	for _, p := range l {
		n, _ := p.value.(uint64)
		switch p.name {
		case "fromguid":
			t.FromGUID = n
		case "object":
			t.Object = n
		case "offset":
			t.Offset = n
		case "bytes":
			t.Bytes = n
		case "toguid":
			t.ToGUID = n
		case "toname":
			t.ToName, _ = p.value.(string)
		case "largeblockok":
			t.LargeBlock = true
		case "embedok":
			t.Embed = true
		case "compressok":
			t.Compress = true
		case "rawok":
			t.Raw = true
		}
	}
	if t.ToGUID == 0 || t.ToName == "" {
		return t, TokenError("missing data")
	}
	return t, nil
}

// Describe returns the text that "zfs send -nvt" prints of a token.
func (t Token) Describe() string {
	var b strings.Builder
	b.WriteString("resume token contents:\nnvlist version: 0\n")
	for _, p := range t.nvlist() {
		switch v := p.value.(type) {
		case uint64:
			fmt.Fprintf(&b, "\t%s = 0x%x\n", p.name, v)
		case string:
			fmt.Fprintf(&b, "\t%s = %s\n", p.name, v)
		case bool:
			fmt.Fprintf(&b, "\t%s = 1\n", p.name)
		}
	}
	return b.String()
}

// nvlist is the small part of libnvpair that tokens need.
type nvlist []pair

type pair struct {
	name  string
	value any // uint64, string, or true
}

// nvpair data types.
const (
	typeBoolean = 1
	typeUint64  = 8
	typeString  = 9
)

func (l nvlist) encode() []byte {
	b := []byte{0, 1, 0, 0}                    // native encoding of a little-endian host
	b = binary.LittleEndian.AppendUint32(b, 0) // version
	b = binary.LittleEndian.AppendUint32(b, 1) // unique names
	for _, p := range l {
		b = p.encode(b)
	}
	return append(b, make([]byte, 4)...)
}

const pairHead = 16

func (p pair) encode(b []byte) []byte {
	name, value := padded(p.name), []byte(nil)
	kind, count := uint32(typeBoolean), uint32(0)
	switch v := p.value.(type) {
	case uint64:
		kind, count, value = typeUint64, 1, binary.LittleEndian.AppendUint64(nil, v)
	case string:
		kind, count, value = typeString, 1, padded(v)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(pairHead+len(name)+len(value)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(p.name)+1))
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint32(b, count)
	b = binary.LittleEndian.AppendUint32(b, kind)
	return append(append(b, name...), value...)
}

// padded returns s with its terminating zero, filled to a multiple of eight.
func padded(s string) []byte {
	return append([]byte(s), make([]byte, 8-len(s)%8)...)
}

var errNvlist = errors.New("malformed nvlist")

func decodeNvlist(b []byte) (nvlist, error) {
	if len(b) < 12 || b[0] != 0 || b[1] != 1 {
		return nil, errNvlist
	}
	var l nvlist
	for b = b[12:]; ; {
		if len(b) < 4 {
			return nil, errNvlist
		}
		n := binary.LittleEndian.Uint32(b)
		if n == 0 {
			return l, nil
		}
		if n < pairHead || uint64(n) > uint64(len(b)) {
			return nil, errNvlist
		}
		p, err := decodePair(b[4:n])
		if err != nil {
			return nil, err
		}
		l, b = append(l, p), b[n:]
	}
}

// decodePair reads a pair without its leading length.
func decodePair(b []byte) (pair, error) {
	size, kind := int(binary.LittleEndian.Uint16(b)), binary.LittleEndian.Uint32(b[8:])
	b = b[12:]
	room := (size + 7) / 8 * 8
	if size < 1 || room > len(b) {
		return pair{}, errNvlist
	}
	name, value := string(b[:size-1]), b[room:]
	switch kind {
	case typeUint64:
		if len(value) < 8 {
			return pair{}, errNvlist
		}
		return pair{name, binary.LittleEndian.Uint64(value)}, nil
	case typeString:
		return pair{name, cstring(value)}, nil
	case typeBoolean:
		return pair{name, true}, nil
	}
	return pair{}, errNvlist
}
