package todo

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func openTest(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := OpenStore(t.Context(), dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStoreNeverCreatesItsFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	_, err := OpenStore(t.Context(), dir, 0)
	if !errors.Is(err, ErrNoFolder) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want ErrNoFolder that names %s", err, dir)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is there now: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(t.Context(), file, 0); !errors.Is(err, ErrNoFolder) {
		t.Errorf("a file: got %v, want ErrNoFolder", err)
	}
}

func TestStoreIsOpenOnce(t *testing.T) {
	// A path that SQLite would take for parameters, were it not escaped.
	dir := filepath.Join(t.TempDir(), "a?b=c%41 d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, dir)
	if _, err := OpenStore(t.Context(), dir, 0); err == nil || !strings.Contains(err.Error(), "open in another process") {
		t.Errorf("second open: got %v, want that another process has it", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := openTest(t, dir).Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, DatabaseFile)); err != nil {
		t.Error(err)
	}
}

func TestStoreWaitsForItsPredecessor(t *testing.T) {
	dir := t.TempDir()
	first := openTest(t, dir)
	second := make(chan error, 1)
	go func() {
		s, err := OpenStore(t.Context(), dir, deadline)
		if err == nil {
			err = s.Close()
		}
		second <- err
	}()
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := <-second; err != nil {
		t.Error(err)
	}
}

func TestStoreKeepsOneFile(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	if _, _, err := s.Add(t.Context(), Todo{ID: "a", Title: "x"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "todo.db*"))
	if err != nil || len(left) != 1 {
		t.Errorf("after Close: %v %v, want todo.db alone", left, err)
	}
}

func TestAddTwiceIsOnce(t *testing.T) {
	s := openTest(t, t.TempDir())
	defer s.Close()
	order := int64(-3)
	want := Todo{ID: "a", Title: "x", Order: &order}
	for i, wantAdded := range []bool{true, false} {
		got, added, err := s.Add(t.Context(), want)
		if err != nil || added != wantAdded {
			t.Errorf("add no. %d: added %v, %v", i+1, added, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("add no. %d: -want +got\n%s", i+1, diff)
		}
	}
	l, err := s.List(t.Context(), Query{})
	if err != nil || len(l.Todos) != 1 {
		t.Errorf("list: %v %v, want one", l, err)
	}
}

func TestListSelects(t *testing.T) {
	s := openTest(t, t.TempDir())
	defer s.Close()
	one := int64(1)
	for _, todo := range []Todo{
		{ID: "a", Title: "a"}, {ID: "b", Title: "b", Completed: true},
		{ID: "c", Title: "c"}, {ID: "d", Title: "d", Order: &one},
	} {
		if _, _, err := s.Add(t.Context(), todo); err != nil {
			t.Fatal(err)
		}
	}
	yes, no := true, false
	for name, c := range map[string]struct {
		q    Query
		want string
	}{
		"all":       {Query{}, "dabc"},
		"last two":  {Query{Last: 2}, "bc"},
		"completed": {Query{Completed: &yes}, "b"},
		"active":    {Query{Completed: &no, Last: 2}, "ac"},
	} {
		l, err := s.List(t.Context(), c.q)
		var got string
		for _, todo := range l.Todos {
			got += todo.ID
		}
		if err != nil || got != c.want || l.Total != 4 || l.Completed != 1 {
			t.Errorf("%s: got %q, %d of %d completed, %v; want %q, 1 of 4", name, got, l.Completed, l.Total, err, c.want)
		}
	}
}

func TestCheckNoticesAnotherFile(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	defer s.Close()
	if err := s.Check(t.Context()); err != nil {
		t.Fatal("fresh:", err)
	}
	path := filepath.Join(dir, DatabaseFile)
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err == nil {
		t.Error("file gone: no error")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "another volume") {
		t.Errorf("another file: got %v", err)
	}
}
