package stream

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func sample(tb testing.TB) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, err := range []error{
		w.Begin(Begin{ToGUID: 7, FromGUID: 3, ToName: "a/v@1", Features: FeatureSpill}),
		w.Record(Put, 1, 0, []byte("entry")),
		w.Record(Data, 1, 0, bytes.Repeat([]byte("x"), 1000)),
		w.Record(Remove, 2, 0, []byte("gone")),
		w.End(7),
	} {
		if err != nil {
			tb.Fatal(err)
		}
	}
	return b.Bytes()
}

// readAll reads a stream to its end and returns how many records it had.
func readAll(b []byte) (int, error) {
	r := NewReader(bytes.NewReader(b))
	if _, err := r.Begin(); err != nil {
		return 0, err
	}
	for n := 0; ; n++ {
		rec, err := r.Next()
		if err != nil || rec.Kind == 0 {
			return n, err
		}
	}
}

func TestEveryTruncationIsFound(t *testing.T) {
	whole := sample(t)
	if n, err := readAll(whole); n != 3 || err != nil {
		t.Fatalf("whole stream: %d records, %v", n, err)
	}
	for i := range whole {
		if _, err := readAll(whole[:i]); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			t.Errorf("cut after %d bytes: %v", i, err)
		}
	}
}

func TestEveryChangedByteIsFound(t *testing.T) {
	whole := sample(t)
	for i := range whole {
		if i >= HeadSize+5*32 && i >= len(whole)-HeadSize+48 {
			continue // the unused rest of the END record
		}
		b := bytes.Clone(whole)
		b[i] ^= 1
		if _, err := readAll(b); err == nil {
			t.Errorf("byte %d changed: not found", i)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(sample(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := readAll(b)
		if err == nil && n > len(b) {
			t.Errorf("%d records in %d bytes", n, len(b))
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add(realToken)
	f.Add(Token{Object: 1, ToGUID: 2, ToName: "a@b", LargeBlock: true}.String())
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := ParseToken(s)
		if err != nil {
			var te TokenError
			if !errors.As(err, &te) {
				t.Errorf("error of another type: %v", err)
			}
			return
		}
		if again, err := ParseToken(tok.String()); err != nil || again != tok {
			t.Errorf("%+v comes back as %+v, %v", tok, again, err)
		}
	})
}
