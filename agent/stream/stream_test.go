package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/drover-project/drover/state"
)

func framed(t *testing.T, data []byte, finish func(*Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	if _, err := w.ReadFrom(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if err := finish(w); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// drain passes on what fill gives until it ends.
func drain(w io.Writer, fill func([]byte) (int, error)) error {
	buf := make([]byte, ChunkSize/3)
	for {
		n, err := fill(buf)
		if _, werr := w.Write(buf[:n]); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func TestWhatIsSentArrives(t *testing.T) {
	for _, size := range []int{0, 1, ChunkSize - 1, ChunkSize, ChunkSize + 1, 3*ChunkSize + 7} {
		data := bytes.Repeat([]byte("abcdefg"), size/7+1)[:size]
		wire := framed(t, data, (*Writer).End)
		var got bytes.Buffer
		r := NewReader(iotest.HalfReader(bytes.NewReader(wire)))
		if _, err := io.Copy(&got, r); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if !bytes.Equal(got.Bytes(), data) || r.Count() != uint64(size) {
			t.Errorf("%d bytes: %d arrived, counted %d", size, got.Len(), r.Count())
		}
	}
}

func TestReadAndWriteByPieces(t *testing.T) {
	var wire bytes.Buffer
	w := NewWriter(&wire)
	data := bytes.Repeat([]byte("x"), ChunkSize+10)
	if n, err := w.Write(data); n != len(data) || err != nil {
		t.Fatal(n, err)
	}
	if err := w.End(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(iotest.OneByteReader(NewReader(&wire)))
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

// A stream that is cut at any byte is an error, never an end.
func TestEveryCutIsSeen(t *testing.T) {
	wire := framed(t, []byte("some data"), (*Writer).End)
	for i := range wire {
		_, err := io.Copy(io.Discard, NewReader(bytes.NewReader(wire[:i])))
		if !errors.Is(err, ErrCut) {
			t.Errorf("cut after %d of %d bytes: %v", i, len(wire), err)
		}
	}
}

func TestBrokenConnectionKeepsItsCause(t *testing.T) {
	cause := errors.New("reset by peer")
	r := NewReader(io.MultiReader(bytes.NewReader([]byte{frameData, 0, 0, 0, 9, 1}), iotest.ErrReader(cause)))
	_, err := io.ReadAll(r)
	if !errors.Is(err, ErrCut) || !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

func TestFailureIsTold(t *testing.T) {
	wire := framed(t, []byte("half"), func(w *Writer) error { return w.Fail(errors.New("disk on fire")) })
	got, err := io.ReadAll(NewReader(bytes.NewReader(wire)))
	var told *SenderError
	if !errors.As(err, &told) || told.Message != "disk on fire" || string(got) != "half" {
		t.Errorf("got %q, %v", got, err)
	}
	long := framed(t, nil, func(w *Writer) error { return w.Fail(errors.New(strings.Repeat("x", 2*maxWords))) })
	if _, err := io.ReadAll(NewReader(bytes.NewReader(long))); !errors.As(err, &told) || len(told.Message) != maxWords {
		t.Errorf("long explanation: %v", err)
	}
}

func TestPulsesAreNoData(t *testing.T) {
	var wire bytes.Buffer
	w := NewWriter(&wire)
	want := []Pulse{{}, {Taken: 1 << 40, Level: 7, Size: MaxRing}}
	for _, p := range want {
		if err := errors.Join(w.Pulse(p), write(w, "data")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.End(); err != nil {
		t.Fatal(err)
	}
	all := wire.Bytes()
	r := NewReader(&wire)
	var got []Pulse
	r.Pulses(func(p Pulse) { got = append(got, p) })
	if b, err := io.ReadAll(r); string(b) != "datadata" || err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, %v", b, err, got)
	}
	if _, err := io.ReadAll(NewReader(bytes.NewReader(all))); !errors.Is(err, ErrFrame) {
		t.Errorf("a pulse that nobody expects: %v", err)
	}
}

func write(w io.Writer, s string) error {
	_, err := io.WriteString(w, s)
	return err
}

func TestMalformedFramesAreRefused(t *testing.T) {
	end := func(n uint64) []byte {
		return binary.BigEndian.AppendUint64([]byte{frameEnd, 0, 0, 0, 8}, n)
	}
	for name, wire := range map[string][]byte{
		"unknown type":    {'?', 0, 0, 0, 0},
		"empty data":      {frameData, 0, 0, 0, 0},
		"oversized data":  {frameData, 0xff, 0xff, 0xff, 0xff},
		"oversized words": {frameFail, 0, 0xff, 0, 0},
		"short end":       {frameEnd, 0, 0, 0, 4, 0, 0, 0, 0},
		"wrong count":     end(1),
	} {
		if _, err := io.ReadAll(NewReader(bytes.NewReader(wire))); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNothingIsReadBeyondTheEnd(t *testing.T) {
	wire := append(framed(t, []byte("one"), (*Writer).End), framed(t, []byte("two"), (*Writer).End)...)
	src := bytes.NewReader(wire)
	for _, want := range []string{"one", "two"} {
		if got, err := io.ReadAll(NewReader(src)); string(got) != want || err != nil {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
}

func head(order binary.ByteOrder, kind uint64, to, from uint64) []byte {
	b := make([]byte, HeadSize)
	order.PutUint64(b[8:], magic)
	order.PutUint64(b[16:], kind)
	order.PutUint64(b[40:], to)
	order.PutUint64(b[48:], from)
	return b
}

func TestHead(t *testing.T) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		h, b, err := ReadHead(bytes.NewReader(append(head(order, 1|4<<2, 7, 9), "rest"...)))
		if err != nil || h != (Head{To: state.GUID(7), From: state.GUID(9)}) || len(b) != HeadSize {
			t.Errorf("%v: %+v, %v", order, h, err)
		}
	}
	for name, b := range map[string][]byte{
		"compound": head(binary.LittleEndian, 2, 7, 9),
		"garbage":  bytes.Repeat([]byte{0x55}, HeadSize),
		"short":    head(binary.LittleEndian, 1, 7, 9)[:100],
		"empty":    nil,
	} {
		if _, _, err := ReadHead(bytes.NewReader(b)); !errors.Is(err, ErrHead) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTail(t *testing.T) {
	end := make([]byte, HeadSize)
	binary.LittleEndian.PutUint32(end, 5)
	binary.LittleEndian.PutUint64(end[40:], 7)
	body := append(bytes.Repeat([]byte("x"), 5000), end...)
	for name, c := range map[string]struct {
		data []byte
		want bool
	}{
		"ends well": {body, true}, "padded": {append(bytes.Clone(body), 'x'), false}, "cut": {body[:len(body)-1], false},
		"short": {end[:100], false}, "nothing": {nil, false}, "only an end": {end, true},
	} {
		wire := framed(t, c.data, (*Writer).End)
		pieces, whole := &Tail{R: NewReader(bytes.NewReader(wire))}, &Tail{R: NewReader(bytes.NewReader(wire))}
		_, err1 := io.Copy(struct{ io.Writer }{io.Discard}, iotest.OneByteReader(pieces))
		err2 := drain(io.Discard, whole.Fill)
		if err1 != nil || err2 != nil || pieces.Ended(7) != c.want || whole.Ended(7) != c.want || whole.Ended(8) {
			t.Errorf("%s: %v %v, %v %v", name, pieces.Ended(7), whole.Ended(7), err1, err2)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte{frameData, 0, 0, 0, 1, 'a', frameEnd, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Add([]byte{frameFail, 0, 0, 0, 2, 'n', 'o'})
	f.Add([]byte{frameData, 0xff, 0xff, 0xff, 0xff})
	for _, c := range codecs {
		f.Add(encodedWith(f, c, bytes.Repeat([]byte("some data "), 40)))
		f.Add(encodedWith(f, c, text(ChunkSize)))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := NewReader(bytes.NewReader(wire))
		var got bytes.Buffer
		err := drain(&got, r.Fill)
		again, err2 := io.ReadAll(iotest.OneByteReader(NewReader(bytes.NewReader(wire))))
		if (err == nil) != (err2 == nil) || !bytes.Equal(got.Bytes(), again) {
			t.Fatalf("two ways to read disagree: %v, %v", err, err2)
		}
		if err == nil && !bytes.Contains(wire, []byte{frameEnd, 0, 0, 0, 8}) {
			t.Fatal("an end was read that nobody sent")
		}
		if frames := len(wire) / headerSize; uint64(got.Len()) != r.Count() || got.Len() > len(wire)+frames*ChunkSize {
			t.Fatal("bytes from nowhere")
		}
	})
}

func FuzzHead(f *testing.F) {
	f.Add(head(binary.LittleEndian, 1, 7, 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, raw, err := ReadHead(bytes.NewReader(b)); err == nil && (!bytes.HasPrefix(b, raw) || len(raw) != HeadSize) {
			t.Fatal(h)
		}
	})
}
