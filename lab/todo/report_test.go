package todo

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReportMeasuresGaps(t *testing.T) {
	began := time.Unix(1000, 0)
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	var r Report
	for _, s := range []Stamp{{at(500), "a"}, {at(510), "a"}, {at(1760), "b"}, {at(1770), "b"}} {
		r.note(s)
	}
	r.finish(began, at(2000))
	from, to := at(510), at(1760)
	want := Report{Acknowledged: 4, LongestGapMS: 1250, GapFrom: &from, GapTo: &to, Took: 2,
		First: &Stamp{at(500), "a"}, Last: &Stamp{at(1770), "b"},
		Moves: []Move{{From: Stamp{from, "a"}, To: Stamp{to, "b"}, OutageMS: 1250}}}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	r.finish(began, at(9770))
	if r.LongestGapMS != 8000 || !r.GapOpen {
		t.Errorf("a list that never came back: %v ms, open %v; want 8000, true", r.LongestGapMS, r.GapOpen)
	}
}

func TestCompare(t *testing.T) {
	entry := Entry{ID: "1", Title: "one"}
	for name, c := range map[string]struct {
		list []Todo
		want string
	}{
		"there":       {[]Todo{{ID: "0", Title: "zero"}, {ID: "1", Title: "one"}}, ""},
		"missing":     {[]Todo{{ID: "0", Title: "zero"}}, "missing"},
		"twice":       {[]Todo{{ID: "1", Title: "one"}, {ID: "1", Title: "one"}}, "there more than once"},
		"same title":  {[]Todo{{ID: "1", Title: "one"}, {ID: "2", Title: "one"}}, "there more than once"},
		"other title": {[]Todo{{ID: "1", Title: "two"}}, "has another title: two"},
	} {
		var want []Loss
		if c.want != "" {
			want = []Loss{{Entry: entry, What: c.want}}
		}
		if diff := cmp.Diff(want, Compare([]Entry{entry}, c.list)); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

func TestReadLedger(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []Entry
		fail bool
	}{
		"empty":        {"", nil, false},
		"half a line":  {"{\"id\":\"1\",\"title\":\"x\"}\n{\"id\":\"2", []Entry{{ID: "1", Title: "x"}}, false},
		"broken line":  {"{\"id\":\n{\"id\":\"2\"}\n", nil, true},
		"foreign file": {"hello\n", nil, true},
	} {
		path := filepath.Join(t.TempDir(), "ledger")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadLedger(path)
		if diff := cmp.Diff(c.want, got); diff != "" || (err != nil) != c.fail {
			t.Errorf("%s: err %v, -want +got\n%s", name, err, diff)
		}
	}
}
