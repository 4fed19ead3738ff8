package controller

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/state/manifest"
)

// set is the manifests as they are in force.
type set struct {
	desired *state.Desired // the last good set; nil if there has been none
	refusal error          // why the newest set is not in force
}

// manifests watches folders and files and keeps the last good set.
type manifests struct {
	paths   []string
	log     *slog.Logger
	watcher *fsnotify.Watcher
	changed chan struct{} // pulsed after each change that was read
	done    chan struct{}

	mu  sync.Mutex
	set set
}

// calm is how long the files must be still before they are read: editors write, rename and remove in bursts.
const calm = 150 * time.Millisecond

// restless is how long a burst may last before the files are read all the same: something in the folder may never be still.
const restless = 2 * time.Second

// reread is how often the files are read though nothing was heard of them: watches are lost when folders are replaced.
const reread = 30 * time.Second

// watch reads the manifests and goes on reading them when they change, until ctx ends.
func watch(ctx context.Context, paths []string, log *slog.Logger) (*manifests, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch manifests: %w", err)
	}
	m := &manifests{paths: paths, log: log, watcher: w, changed: make(chan struct{}, 1), done: make(chan struct{})}
	m.watchAll()
	m.read(ctx)
	go m.run(ctx)
	return m, nil
}

// close ends the watch.
func (m *manifests) close() {
	if err := m.watcher.Close(); err != nil {
		m.log.Warn("watch was not closed", "err", err)
	}
	<-m.done
}

// current returns the set in force.
func (m *manifests) current() set {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.set
}

func (m *manifests) run(ctx context.Context) {
	defer close(m.done)
	timer := time.NewTimer(reread)
	defer timer.Stop()
	var stirred time.Time // when the burst began that is not read yet
	stir := func() {
		if stirred.IsZero() {
			stirred = time.Now()
		}
		timer.Reset(min(calm, max(restless-time.Since(stirred), 0)))
	}
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-m.watcher.Events:
			if !ok {
				return
			}
			m.log.DebugContext(ctx, "manifests stir", "file", e.Name, "op", e.Op.String())
			stir()
		case err, ok := <-m.watcher.Errors:
			if !ok {
				return
			}
			m.log.WarnContext(ctx, "manifest watch", "err", err)
			stir()
		case <-timer.C:
			stirred = time.Time{}
			m.watchAll()
			m.read(ctx)
			timer.Reset(reread)
		}
	}
}

// watchAll watches the folders that hold the manifests and, if they are reached through links (as in a Kubernetes ConfigMap),
// the folders that the links lead to. Adding a watch again is harmless.
func (m *manifests) watchAll() {
	for _, p := range m.paths {
		for _, dir := range folders(p) {
			if err := m.watcher.Add(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				m.log.Warn("a folder of manifests cannot be watched; it is re-read now and then", "folder", dir, "err", err)
			}
		}
	}
}

// folders returns the folders in which a change may change what is at path.
func folders(path string) []string {
	var out []string
	for _, p := range []string{path, resolved(path)} {
		if info, err := os.Stat(p); err == nil && info.IsDir() {
			out = append(out, p)
		}
		out = append(out, filepath.Dir(p))
	}
	return out
}

func resolved(path string) string {
	if r, err := filepath.EvalSymlinks(path); err == nil {
		return r
	}
	return path
}

// read loads the manifests and puts them in force if they are valid.
func (m *manifests) read(ctx context.Context) {
	d, err := manifest.Load(m.paths...)
	m.mu.Lock()
	before := m.set
	if err != nil {
		m.set.refusal = err
	} else {
		m.set = set{desired: &d}
	}
	after := m.set
	m.mu.Unlock()
	if same(before, after) {
		return
	}
	if err != nil {
		m.log.WarnContext(ctx, "manifests refused; the last good set stays in force", "err", err)
	} else {
		m.log.InfoContext(ctx, "manifests in force", "digest", d.Digest, "apps", len(d.Apps), "volumes", len(d.Volumes))
	}
	poke(m.changed)
}

func same(a, b set) bool {
	if (a.desired == nil) != (b.desired == nil) || a.desired != nil && a.desired.Digest != b.desired.Digest {
		return false
	}
	if a.refusal == nil || b.refusal == nil {
		return a.refusal == nil && b.refusal == nil
	}
	return a.refusal.Error() == b.refusal.Error()
}
