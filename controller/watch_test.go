package controller

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drover-project/drover/state"
)

// webYAML is a whole set: one app with so many instances.
func webYAML(instances int) string {
	return fmt.Sprintf("apiVersion: drover/v1\nkind: App\nmetadata: {name: /web}\nspec:\n  instances: %d\n  marathon: {cmd: run}\n", instances)
}

// watched is a folder of manifests and its watch.
type watched struct {
	*testing.T
	dir string
	m   *manifests
}

func (w *watched) do(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *watched) write(path, text string) {
	w.Helper()
	w.do(os.WriteFile(filepath.Join(w.dir, path), []byte(text), 0o644))
}

func (w *watched) path(name string) string { return filepath.Join(w.dir, name) }

// begin watches paths, by default the folder.
func (w *watched) begin(paths ...string) {
	w.Helper()
	if len(paths) == 0 {
		paths = []string{w.dir}
	}
	ctx, cancel := context.WithCancel(context.Background())
	m, err := watch(ctx, paths, slog.New(slog.DiscardHandler))
	w.do(err)
	w.m = m
	w.Cleanup(func() { cancel(); m.close() })
}

// await waits until what is in force is as wanted, woken by the watch alone.
func (w *watched) await(what string, ok func(set) bool) {
	w.Helper()
	deadline := time.NewTimer(20 * time.Second) // shorter than the time after which all is re-read anyway
	defer deadline.Stop()
	for !ok(w.m.current()) {
		select {
		case <-w.m.changed:
		case <-deadline.C:
			s := w.m.current()
			w.Fatalf("never: %s; desired %+v, refusal %v", what, s.desired, s.refusal)
		}
	}
}

func (w *watched) awaitInstances(n int) {
	w.Helper()
	w.await(fmt.Sprintf("%d instances are in force", n), func(s set) bool { return s.refusal == nil && instances(s) == n })
}

func instances(s set) int {
	if s.desired == nil {
		return -1
	}
	return s.desired.Apps["/web"].Instances
}

// The ways in which editors and Kubernetes change files.
func TestChangesAreSeen(t *testing.T) {
	cases := []struct {
		name   string
		before func(*watched) []string // makes the folder with one instance, and says what to watch
		change func(*watched)          // to two
	}{
		{"written in place", plain, func(w *watched) { w.write("web.yaml", webYAML(2)) }},
		{"replaced by a temporary file", plain, func(w *watched) {
			w.write(".web.yaml.swp", webYAML(2))
			w.do(os.Rename(w.path(".web.yaml.swp"), w.path("web.yaml")))
		}},
		{"the old one kept as a backup", plain, func(w *watched) {
			w.do(os.Rename(w.path("web.yaml"), w.path("web.yaml~")))
			w.write("web.yaml", webYAML(2))
		}},
		{"removed and made again", plain, func(w *watched) {
			w.do(os.Remove(w.path("web.yaml")))
			w.await("the empty set is refused", func(s set) bool { return s.refusal != nil })
			w.write("web.yaml", webYAML(2))
		}},
		{"renamed", plain, func(w *watched) {
			w.write("other.yaml", webYAML(2))
			w.do(os.Remove(w.path("web.yaml")))
		}},
		{"half-written for a while", plain, func(w *watched) {
			w.write("web.yaml", webYAML(2)[:40])
			w.await("the half is refused", func(s set) bool { return s.refusal != nil && instances(s) == 1 })
			w.write("web.yaml", webYAML(2))
		}},
		{"one file named", func(w *watched) []string { plain(w); return []string{w.path("web.yaml")} }, func(w *watched) {
			w.write("new", webYAML(2))
			w.do(os.Rename(w.path("new"), w.path("web.yaml")))
		}},
		{"a ConfigMap's links", configMap, func(w *watched) {
			w.do(os.Mkdir(w.path("..2026_02"), 0o755))
			w.write("..2026_02/web.yaml", webYAML(2))
			w.do(os.Symlink("..2026_02", w.path("..data_tmp")))
			w.do(os.Rename(w.path("..data_tmp"), w.path("..data")))
			w.do(os.RemoveAll(w.path("..2026_01")))
		}},
		{"the folder replaced", inner, func(w *watched) {
			w.do(os.Mkdir(w.path("next"), 0o755))
			w.write("next/web.yaml", webYAML(2))
			w.do(os.Rename(w.path("set"), w.path("previous")))
			w.do(os.Rename(w.path("next"), w.path("set")))
		}},
		{"written in a folder that was replaced", inner, func(w *watched) {
			w.do(os.RemoveAll(w.path("set")))
			w.await("no folder is refused", func(s set) bool { return s.refusal != nil && instances(s) == 1 })
			w.do(os.Mkdir(w.path("set"), 0o755))
			w.write("set/web.yaml", webYAML(3))
			w.awaitInstances(3)
			w.write("set/web.yaml", webYAML(2))
		}},
		{"the folder is a link that is turned", func(w *watched) []string {
			inner(w)
			w.do(os.Symlink("set", w.path("current")))
			return []string{w.path("current")}
		}, func(w *watched) {
			w.do(os.Mkdir(w.path("next"), 0o755))
			w.write("next/web.yaml", webYAML(2))
			w.do(os.Symlink("next", w.path("turned")))
			w.do(os.Rename(w.path("turned"), w.path("current")))
		}},
		{"a burst", plain, func(w *watched) {
			for i := range 100 {
				w.write("web.yaml", webYAML(100+i))
			}
			w.write("web.yaml", webYAML(2))
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := &watched{T: t, dir: t.TempDir()}
			w.begin(c.before(w)...)
			w.awaitInstances(1)
			c.change(w)
			w.awaitInstances(2)
		})
	}
}

func plain(w *watched) []string {
	w.write("web.yaml", webYAML(1))
	return nil
}

func inner(w *watched) []string {
	w.do(os.Mkdir(w.path("set"), 0o755))
	w.write("set/web.yaml", webYAML(1))
	return []string{w.path("set")}
}

func configMap(w *watched) []string {
	w.do(os.Mkdir(w.path("..2026_01"), 0o755))
	w.write("..2026_01/web.yaml", webYAML(1))
	w.do(os.Symlink("..2026_01", w.path("..data")))
	w.do(os.Symlink("..data/web.yaml", w.path("web.yaml")))
	return nil
}

// A file in the folder that is never still does not keep a change from being read.
func TestRestlessNeighbour(t *testing.T) {
	t.Parallel()
	w := &watched{T: t, dir: t.TempDir()}
	w.begin(plain(w)...)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if err := os.WriteFile(w.path("access.log"), []byte("x"), 0o644); err != nil {
				ended <- err
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
		ended <- nil
	}()
	w.write("web.yaml", webYAML(2))
	w.awaitInstances(2)
	cancel()
	w.do(<-ended)
}

// A refusal names file, line and field, and the set that was in force before stays so.
func TestRefusalNamesTheMistake(t *testing.T) {
	t.Parallel()
	w := &watched{T: t, dir: t.TempDir()}
	w.begin(plain(w)...)
	digest := w.m.current().desired.Digest
	w.write("web.yaml", strings.Replace(webYAML(2), "instances", "instanzen", 1))
	w.await("it is refused", func(s set) bool { return s.refusal != nil })
	s := w.m.current()
	for _, want := range []string{"web.yaml:5", "instanzen"} {
		if !strings.Contains(s.refusal.Error(), want) {
			t.Errorf("refusal %q, without %q", s.refusal, want)
		}
	}
	if s.desired.Digest != digest || s.desired.Apps[state.AppID("/web")].Instances != 1 {
		t.Errorf("in force is %+v", s.desired)
	}
}
