package stream

import (
	"fmt"
	"strings"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Codec is how the payload of a data frame is encoded. It is the frame's type.
type Codec byte

// The codecs. Of text, S2 makes less than half at several hundred MB/s, Zstd less than a third at half that speed.
const (
	Plain Codec = Codec(frameData)
	S2    Codec = Codec(frameS2)
	Zstd  Codec = Codec(frameZstd)
)

// String returns the codec's name, the one that goes over the wire.
func (c Codec) String() string {
	switch c {
	case Plain:
		return "plain"
	case S2:
		return "s2"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("codec %q", byte(c))
}

// codecs are all but Plain, those that cost less first.
var codecs = []Codec{S2, Zstd}

// Understood names the codecs that a Reader knows, for a sender on another machine to parse.
func Understood() string {
	var names []string
	for _, c := range codecs {
		names = append(names, c.String())
	}
	return strings.Join(names, ",")
}

// ParseCodecs returns those of the named codecs that a Writer knows. Others are of a newer version and no mistake; who names none knows
// plain data only.
func ParseCodecs(names string) []Codec {
	named := map[string]bool{}
	for name := range strings.SplitSeq(names, ",") {
		named[strings.TrimSpace(name)] = true
	}
	var known []Codec
	for _, c := range codecs {
		if named[c.String()] {
			known = append(known, c)
		}
	}
	return known
}

// encoder encodes chunks, one at a time.
type encoder interface {
	// encode returns src encoded, in dst's memory as far as that reaches.
	encode(dst, src []byte) []byte
}

type encoderFunc func(dst, src []byte) []byte

func (f encoderFunc) encode(dst, src []byte) []byte { return f(dst, src) }

// newEncoder returns a codec's encoder at its fastest level. There are no checksums: TLS has its own, and so has a zfs stream.
func newEncoder(c Codec) (encoder, error) {
	if c == S2 {
		return encoderFunc(func(dst, src []byte) []byte { return s2.Encode(dst[:cap(dst)], src) }), nil
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(ChunkSize), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return encoderFunc(func(dst, src []byte) []byte { return z.EncodeAll(src, dst[:0]) }), nil
}

// encodedRoom is the most that a chunk may become; what has grown is sent plain.
var encodedRoom = s2.MaxEncodedLen(ChunkSize)

// decoder decodes the payloads of frames. What one holds is never more than a chunk, whatever it says of itself.
type decoder struct {
	z    *zstd.Decoder // nil before the first of its kind
	room []byte
}

// decode returns what a payload holds, at least one byte, until the next call. Its error is ErrFrame.
func (d *decoder) decode(c Codec, payload []byte) ([]byte, error) {
	if d.room == nil {
		d.room = make([]byte, ChunkSize)
	}
	plain, err := d.expand(c, payload)
	if err == nil && len(plain) == 0 {
		err = fmt.Errorf("%s of nothing: %w", c, ErrFrame)
	}
	return plain, err
}

func (d *decoder) expand(c Codec, payload []byte) ([]byte, error) {
	if c == S2 {
		n, err := s2.DecodedLen(payload)
		if err != nil || n > ChunkSize {
			return nil, fmt.Errorf("%s of %d bytes: %w", c, n, ErrFrame)
		}
		plain, err := s2.Decode(d.room, payload)
		return plain, malformed(c, err)
	}
	if err := d.zstd(); err != nil {
		return nil, err
	}
	plain, err := d.z.DecodeAll(payload, d.room[:0])
	return plain, malformed(c, err)
}

// zstd makes the decoder of zstd, which stops where its room ends.
func (d *decoder) zstd() (err error) {
	if d.z == nil {
		d.z, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(ChunkSize), zstd.WithDecoderMaxWindow(ChunkSize), zstd.WithDecodeAllCapLimit(true))
	}
	return err
}

func malformed(c Codec, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w: %w", c, ErrFrame, err)
}
