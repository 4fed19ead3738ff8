package marathon

import (
	"bufio"
	"bytes"
	"io"
)

// maxLine is how much of one line of an event stream is kept. Before 1.7 Marathon can put two whole group trees into one.
const maxLine = 16 << 20

// frame is one event as it stands in the stream.
type frame struct {
	name string
	data []byte // nil if it was longer than maxLine
}

// frameReader reads a server-sent event stream as the HTML standard defines it: lines end with CRLF, LF or CR, an empty line ends a
// frame, lines that begin with a colon say nothing. A frame that the stream ends in is not an event.
type frameReader struct {
	r       *bufio.Reader
	maxLine int
	line    []byte
	long    bool // the current line is longer than maxLine
	started bool // past the byte order mark
	afterCR bool // a LF that comes next belongs to the line before
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, 32<<10), maxLine: maxLine}
}

// next returns the next frame that has data.
func (f *frameReader) next() (frame, error) {
	var fr frame
	var lines [][]byte
	long, size := false, 0
	for {
		line, err := f.readLine()
		if err != nil {
			return frame{}, err
		}
		if len(line) == 0 && !f.long {
			if lines != nil {
				return fr.with(lines, long), nil
			}
			fr, long, size = frame{}, false, 0
			continue
		}
		switch field, value := splitField(line); field {
		case "event":
			fr.name = string(value)
		case "data":
			size += len(value)
			long = long || f.long || size > f.maxLine
			if long {
				value = nil
			}
			lines = append(lines, bytes.Clone(value))
		}
	}
}

func (fr frame) with(lines [][]byte, long bool) frame {
	if !long {
		fr.data = append([]byte{}, bytes.Join(lines, []byte("\n"))...) // empty is not nil
	}
	return fr
}

func splitField(line []byte) (string, []byte) {
	field, value, _ := bytes.Cut(line, []byte(":"))
	return string(field), bytes.TrimPrefix(value, []byte(" "))
}

// readLine returns a line without its end, valid until the next call. It never waits for the byte after a CR: that may be long in
// coming.
func (f *frameReader) readLine() ([]byte, error) {
	f.line, f.long = f.line[:0], false
	for {
		c, err := f.r.ReadByte()
		if err != nil {
			return nil, err
		}
		after := f.afterCR
		f.afterCR = c == '\r'
		switch {
		case c == '\n' && after:
		case c == '\n' || c == '\r':
			return f.withoutMark(), nil
		case len(f.line) >= f.maxLine:
			f.long = true
		default:
			f.line = append(f.line, c)
		}
	}
}

func (f *frameReader) withoutMark() []byte {
	line := f.line
	if !f.started {
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		f.started = true
	}
	return line
}
