package register_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drover-project/drover/register"
	"github.com/drover-project/drover/register/registertest"
)

func TestMain(m *testing.M) {
	if os.Getenv(crashAt) != "" {
		crash()
	}
	registertest.Main(m, func(dir string) (register.Store, error) { return register.OpenFile(dir) })
}

func TestFile(t *testing.T) {
	registertest.Run(t, func(t *testing.T) string { return filepath.Join(t.TempDir(), "register") })
}

func openFile(t testing.TB, dir string) *register.File {
	t.Helper()
	f, err := register.OpenFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The environment of a child that dies at the n-th point of an act: DIR, ACT and N.
const crashAt = "DROVER_REGISTER_CRASH_AT"

// acts are what can be interrupted. Before each, births/old has the value "old".
var acts = map[string]func(context.Context, *register.File) error{
	"create": func(ctx context.Context, f *register.File) error {
		_, err := f.Put(ctx, "marks/new", []byte("new"), 0)
		return err
	},
	"change": func(ctx context.Context, f *register.File) error {
		_, err := f.Put(ctx, "births/old", []byte("new"), 1)
		return err
	},
	"delete": func(ctx context.Context, f *register.File) error { return f.Delete(ctx, "births/old", 1) },
	"lead": func(ctx context.Context, f *register.File) error {
		_, err := f.Campaign(ctx, "victim") // the process's end resigns
		return err
	},
}

// crash is the child: it kills itself at the given point.
func crash() {
	var dir, act string
	var n int
	_, err := fmt.Sscan(os.Getenv(crashAt), &dir, &act, &n)
	var f *register.File
	if err == nil {
		f, err = register.OpenFile(dir)
	}
	if err == nil {
		f.AtPoint(func(string) {
			if n--; n < 0 {
				if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
					panic(err)
				}
				select {} // until it arrives
			}
		})
		err = acts[act](context.Background(), f)
	}
	fmt.Println("not killed:", err)
	os.Exit(3)
}

func points(t *testing.T, act string) []string {
	f := withOld(t, t.TempDir())
	var seen []string
	f.AtPoint(func(p string) { seen = append(seen, p) })
	must(t, acts[act](t.Context(), f))
	return seen
}

func withOld(t *testing.T, dir string) *register.File {
	f := openFile(t, dir)
	_, err := f.Put(t.Context(), "births/old", []byte("old"), 0)
	must(t, err)
	return f
}

func TestKilledAtEachPoint(t *testing.T) {
	for act := range acts {
		all := points(t, act)
		if len(all) < 2 {
			t.Errorf("%s has the points %v", act, all)
		}
		for n, point := range all {
			t.Run(fmt.Sprint(act, "/", n, "-", point), func(t *testing.T) {
				dir := t.TempDir()
				f := withOld(t, dir)
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", crashAt, dir, act, n))
				out, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("the child was not killed: %v, %s", err, out)
				}
				done := slices.Contains([]string{"renamed", "removed", "done"}, point)
				oldOrNew(t, f, act, done)
				oldOrNew(t, openFile(t, dir), act, done)
				works(t, f)
			})
		}
	}
}

// oldOrNew checks what an interrupted act left.
func oldOrNew(t *testing.T, f *register.File, act string, done bool) {
	t.Helper()
	value := func(key string) string {
		e, err := f.Get(t.Context(), key)
		if err != nil && !errors.Is(err, register.ErrNotFound) {
			t.Fatal(err)
		}
		return string(e.Data)
	}
	want := map[string]string{"births/old": "old", "marks/new": ""}
	term := uint64(0)
	if done {
		switch act {
		case "create":
			want["marks/new"] = "new"
		case "change":
			want["births/old"] = "new"
		case "delete":
			want["births/old"] = ""
		case "lead":
			term = 1
		}
	}
	for key, want := range want {
		if got := value(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if _, got, ok, err := f.Leader(t.Context()); err != nil || ok || uint64(got) != term {
		t.Errorf("leader: term %d, %v, %v; want %d and nobody", got, ok, err, term)
	}
}

// works checks that what the killed one left is in nobody's way.
func works(t *testing.T, f *register.File) {
	t.Helper()
	_, err := f.Put(t.Context(), "timings/x", []byte("x"), 0)
	must(t, err)
	l, err := f.Campaign(t.Context(), "next")
	must(t, err)
	must(t, l.Resign())
}

func TestDamagedFileIsNeverAbsent(t *testing.T) {
	damage := map[string]func(path string) error{
		"emptied": func(p string) error { return os.Truncate(p, 0) },
		"cut": func(p string) error {
			info, err := os.Stat(p)
			return errors.Join(err, os.Truncate(p, info.Size()-1))
		},
		"appended": func(p string) error {
			b, err := os.ReadFile(p)
			return errors.Join(err, os.WriteFile(p, append(b, '\n'), 0o644))
		},
		"another format": func(p string) error { return os.WriteFile(p, []byte(`{"Volume": "old"}`+"\n"), 0o644) },
		"one bit": func(p string) error {
			b, err := os.ReadFile(p)
			b[len(b)-1] ^= 1
			return errors.Join(err, os.WriteFile(p, b, 0o644))
		},
		"version": func(p string) error {
			b, err := os.ReadFile(p)
			return errors.Join(err, os.WriteFile(p, []byte(strings.Replace(string(b), "version 1", "version 0", 1)), 0o644))
		},
	}
	for name, do := range damage {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := withOld(t, dir)
			path := filepath.Join(dir, "entries", "births", "old")
			must(t, do(path))
			_, getErr := f.Get(t.Context(), "births/old")
			_, createErr := f.Put(t.Context(), "births/old", []byte("empty"), 0)
			_, changeErr := f.Put(t.Context(), "births/old", []byte("empty"), 1)
			for what, err := range map[string]error{"get": getErr, "create": createErr, "change": changeErr, "delete": f.Delete(t.Context(), "births/old", 1)} {
				if !errors.Is(err, register.ErrDamaged) || !strings.Contains(err.Error(), path) {
					t.Errorf("%s: %v, want ErrDamaged and the path", what, err)
				}
			}
			o := register.New(f).Observe(t.Context(), time.Now())
			if o.Answered() || o.Births != nil || !strings.Contains(o.Err, path) {
				t.Errorf("observed %+v, want an unknown register", o)
			}
		})
	}
	t.Run("term", func(t *testing.T) {
		for _, do := range []func(string) error{os.Remove, damage["one bit"]} {
			dir := t.TempDir()
			f := openFile(t, dir)
			must(t, do(filepath.Join(dir, "term")))
			if _, err := f.Campaign(t.Context(), "x"); !errors.Is(err, register.ErrDamaged) {
				t.Errorf("campaign: %v, want ErrDamaged", err)
			}
			if _, _, _, err := f.Leader(t.Context()); !errors.Is(err, register.ErrDamaged) {
				t.Errorf("leader: %v, want ErrDamaged", err)
			}
		}
	})
}

func TestFolderThatIsGoneOrReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "register")
	f := withOld(t, dir)
	l, err := f.Campaign(t.Context(), "a")
	must(t, err)
	defer func() { must(t, l.Resign()) }()
	must(t, os.Rename(dir, dir+".away"))
	gone := func() {
		t.Helper()
		if _, err := f.Get(t.Context(), "births/old"); !errors.Is(err, register.ErrGone) {
			t.Errorf("get: %v, want ErrGone", err)
		}
		if _, err := f.List(t.Context(), "births"); !errors.Is(err, register.ErrGone) {
			t.Errorf("list: %v, want ErrGone", err)
		}
	}
	gone()
	<-l.Lost() // or the test times out
	openFile(t, dir)
	gone() // a new, empty one took its place
	must(t, os.RemoveAll(dir))
	must(t, os.Rename(dir+".away", dir))
	if e, err := f.Get(t.Context(), "births/old"); err != nil || string(e.Data) != "old" {
		t.Errorf("when it is back: %q, %v", e.Data, err)
	}
}

func TestFolderOfSomethingElse(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "thesis.txt"), nil, 0o644))
	if _, err := register.OpenFile(dir); err == nil || !strings.Contains(err.Error(), "thesis.txt") {
		t.Errorf("got %v", err)
	}
	if found, err := os.ReadDir(dir); err != nil || len(found) != 1 {
		t.Errorf("it left %v there, %v", found, err)
	}
	lost := t.TempDir()
	withOld(t, lost)
	must(t, os.Remove(filepath.Join(lost, "drover-register")))
	if _, err := register.OpenFile(lost); !errors.Is(err, register.ErrDamaged) {
		t.Errorf("entries without a mark: %v, want ErrDamaged", err)
	}
}

func BenchmarkPut(b *testing.B) {
	f := openFile(b, b.TempDir())
	var version int64
	for b.Loop() {
		var err error
		version, err = f.Put(b.Context(), "births/a", []byte("x"), version)
		must(b, err)
	}
}
