package marathond

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// store keeps the model in one file, replaced atomically.
type store struct {
	dir   string
	lock  *os.File
	saved []byte // what the file holds
}

// openStore makes the folder and takes it for this process, so that two servers never share one state.
func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("state folder %s is used by another server: %w", dir, err), f.Close())
	}
	return &store{dir: dir, lock: f}, nil
}

func (s *store) close() error { return s.lock.Close() }

func (s *store) path() string { return filepath.Join(s.dir, "state.json") }

// load reads the saved model, or makes a new one.
func (s *store) load() (*model, error) {
	m := newModel()
	data, err := os.ReadFile(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("read state %s: %w", s.path(), err)
	}
	return m, m.parseSpecs()
}

// parseSpecs restores what is derived from the definitions.
func (m *model) parseSpecs() error {
	var errs []error
	parse := func(a *app) {
		if a == nil {
			return
		}
		var err error
		if a.spec, err = parseSpec(a.Def); err != nil {
			errs = append(errs, err)
		}
	}
	for _, h := range m.Apps {
		for _, a := range h.Versions {
			parse(a)
		}
	}
	for _, d := range m.Deployments {
		for _, c := range d.Changes {
			parse(c.From)
			parse(c.To)
		}
	}
	return errors.Join(errs...)
}

// save writes the model so that a crash leaves the old or the new one.
func (s *store) save(m *model) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	if bytes.Equal(data, s.saved) {
		return nil
	}
	if err := writeFile(s.path(), data); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	s.saved = data
	return nil
}

// writeFile replaces a file atomically and durably.
func writeFile(path string, data []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
