package marathon

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func allFrames(r io.Reader, limit int) (got []string, err error) {
	f := newFrameReader(r)
	if limit > 0 {
		f.maxLine = limit
	}
	for {
		fr, err := f.next()
		if err != nil {
			return got, err
		}
		data := string(fr.data)
		if fr.data == nil {
			data = "(too long)"
		}
		got = append(got, fr.name+"="+data)
	}
}

func TestFrames(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for name, c := range map[string]struct {
		in    string
		limit int
		want  []string
	}{
		"as Marathon writes":   {"event: a\r\ndata: {\"x\":1}\r\n\r\n\r\nevent: b\r\ndata: {}\r\n\r\n", 0, []string{`a={"x":1}`, "b={}"}},
		"LF":                   {"event:a\ndata:1\n\n", 0, []string{"a=1"}},
		"CR":                   {"event: a\rdata: 1\r\revent: b\rdata: 2\r\r", 0, []string{"a=1", "b=2"}},
		"mixed":                {"event: a\ndata: 1\r\rdata: 2\n\r\n", 0, []string{"a=1", "=2"}},
		"mark":                 {"\xef\xbb\xbfevent: a\ndata: 1\n\n", 0, []string{"a=1"}},
		"keep-alives only":     {"\r\n\r\n\r\n", 0, nil},
		"comments":             {": hello\nevent: a\n:\ndata: 1\n\n", 0, []string{"a=1"}},
		"several data lines":   {"data: 1\ndata:\ndata:  3\n\n", 0, []string{"=1\n\n 3"}},
		"empty data":           {"event: a\ndata\n\n", 0, []string{"a="}},
		"name without data":    {"event: a\n\ndata: 1\n\n", 0, []string{"=1"}},
		"unknown fields":       {"id: 7\nretry: 1\nfoo\ndata: 1\n\n", 0, []string{"=1"}},
		"cut in a line":        {"data: 1\n\nevent: b\ndata: {\"half", 0, []string{"=1"}},
		"cut before the blank": {"data: 1\n\nevent: b\ndata: 2\n", 0, []string{"=1"}},
		"a line of 1 MiB":      {"data: " + long + "\n\n", 0, []string{"=" + long}},
		"too long a line":      {"event: a\ndata: " + long + "\n\nevent: b\ndata: 1\n\n", 100, []string{"a=(too long)", "b=1"}},
		"too many lines":       {"event: a\n" + strings.Repeat("data: 123456\n", 100) + "\ndata: 1\n\n", 100, []string{"a=(too long)", "=1"}},
	} {
		t.Run(name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{
				"at once": strings.NewReader(c.in), "byte by byte": iotest.OneByteReader(strings.NewReader(c.in)),
			} {
				got, err := allFrames(r, c.limit)
				if !errors.Is(err, io.EOF) {
					t.Errorf("%s: %v", how, err)
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("%s: %s", how, diff)
				}
			}
		})
	}
}

// A frame is handed on as soon as its empty line is there: the byte after a CR may be ten seconds away.
func TestFrameDoesNotWaitForMore(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	go func() { _, _ = io.WriteString(w, "event: a\r\ndata: 1\r\n\r") }()
	f := newFrameReader(r)
	fr, err := f.next()
	if err != nil || fr.name != "a" || string(fr.data) != "1" {
		t.Errorf("got %+v, %v", fr, err)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("event: a\r\ndata: {\"taskId\":7}\r\n\r\n: x\rdata\n\n"), uint8(3))
	f.Add([]byte("\xef\xbb\xbfevent: deployment_success\ndata: {\"id\":\"d\",\"plan\":{\"id\":\"p\"}}\n\n"), uint8(200))
	f.Fuzz(func(t *testing.T, b []byte, limit uint8) {
		whole, err := allFrames(bytes.NewReader(b), int(limit)+1)
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		pieces, _ := allFrames(iotest.OneByteReader(bytes.NewReader(b)), int(limit)+1)
		if diff := cmp.Diff(whole, pieces); diff != "" {
			t.Fatal(diff)
		}
		fr := newFrameReader(bytes.NewReader(b))
		fr.r = bufio.NewReader(bytes.NewReader(b))
		for {
			got, err := fr.next()
			if err != nil {
				return
			}
			got.event()
		}
	})
}
