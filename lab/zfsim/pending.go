package zfsim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/drover-project/drover/lab/zfsim/internal/store"
)

// op is a step outside the state file. It is written into the state together with the change that needs it, carried
// out, and then taken out again; after a crash the next command carries it out. So each is harmless to repeat.
type op struct {
	Do    string
	Path  string    `json:",omitempty"`
	ID    uint64    `json:",omitempty"` // dataset
	Txg   uint64    `json:",omitempty"`
	Since uint64    `json:",omitempty"` // opApply: stat data of what is older are known
	From  store.Ref `json:",omitzero"`
	To    store.Ref `json:",omitzero"`
}

// What ops do.
const (
	opLink   = "link"   // put the link to head ID at Path
	opUnlink = "unlink" // leave an empty directory without write permission at Path
	opRmdir  = "rmdir"  // remove Path if it is an empty directory
	opApply  = "apply"  // make head ID, which equals From, equal To
	opNoHead = "nohead" // remove head ID
	opNoPack = "nopack" // remove pack Txg
	opNoRecv = "norecv" // remove the folder of the receive into ID
)

func (p *pool) then(o op) { p.Pending = append(p.Pending, o) }

// complete carries out the pending ops and saves the state without them.
func (m *machine) complete(p *pool, s *store.Store) error {
	if len(p.Pending) == 0 {
		return nil
	}
	for _, o := range p.Pending {
		if err := m.carryOut(p, s, o); err != nil {
			return fmt.Errorf("%s %s: %w", o.Do, o.Path, err)
		}
	}
	p.Pending = nil
	return m.save(p)
}

func (m *machine) carryOut(p *pool, s *store.Store, o op) error {
	id := strconv.FormatUint(o.ID, 10)
	head := m.path("heads", p.Name, id)
	switch o.Do {
	case opLink:
		return keepTimes(filepath.Dir(o.Path), func() error { return putLink(head, o.Path) })
	case opUnlink:
		return keepTimes(filepath.Dir(o.Path), func() error { return putEmpty(o.Path) })
	case opRmdir:
		return keepTimes(filepath.Dir(o.Path), func() error { return removeMountpoint(o.Path) })
	case opApply:
		return m.applyTo(p, s, o, head)
	case opNoHead:
		return removeTree(head)
	case opNoPack:
		return s.Remove(o.Txg)
	case opNoRecv:
		return os.RemoveAll(m.path("recv", p.Name, id))
	}
	return fmt.Errorf("unknown step %q", o.Do)
}

// applyTo brings a head to a tree and notes its stat data.
func (m *machine) applyTo(p *pool, s *store.Store, o op, head string) error {
	d := p.byID(o.ID)
	if d == nil {
		return nil
	}
	if err := s.Apply(head, o.From, o.To); err != nil {
		return err
	}
	pack, err := s.Append(o.Txg)
	if err != nil {
		return err
	}
	root, err := s.Restat(head, o.To, o.Since, pack)
	if cerr := pack.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	d.Tree = root
	return nil
}

func removeTree(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	werr := filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if e != nil && e.IsDir() {
			return os.Chmod(p, 0o700)
		}
		return nil
	})
	return errors.Join(werr, os.RemoveAll(path))
}

// keepTimes runs fn, which changes what is in dir, and gives dir its time back: mounting a child must not look like
// a change of the parent's data.
func keepTimes(dir string, fn func() error) error {
	st, err := os.Stat(dir)
	if ferr := fn(); ferr != nil || err != nil {
		return ferr
	}
	if err := os.Chtimes(dir, st.ModTime(), st.ModTime()); !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil // not our directory, so not inside a head
}

// inWritable runs fn, once more with its directory made writable if permission was refused.
func inWritable(path string, fn func() error) error {
	err := fn()
	dir := filepath.Dir(path)
	st, serr := os.Stat(dir)
	if !errors.Is(err, fs.ErrPermission) || serr != nil {
		return err
	}
	if os.Chmod(dir, 0o755) != nil {
		return err
	}
	return errors.Join(fn(), os.Chmod(dir, st.Mode().Perm()))
}

func putLink(head, path string) error {
	if have, err := os.Readlink(path); err == nil && have == head {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return inWritable(path, func() error {
		if err := removeEmpty(path); err != nil {
			return err
		}
		return os.Symlink(head, path)
	})
}

// removeEmpty removes a directory that holds nothing but empty directories, or a link.
func removeEmpty(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.IsDir() {
		inner, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		if len(inner) > 0 && os.Chmod(path, 0o755) != nil {
			return fs.ErrPermission
		}
		for _, e := range inner {
			if !e.IsDir() {
				return fmt.Errorf("%s: directory is not empty", path)
			}
			if err := removeEmpty(filepath.Join(path, e.Name())); err != nil {
				return err
			}
		}
	}
	return os.Remove(path)
}

// onlyEmpty reports whether a mountpoint may be covered: absent, a link of ours, or nothing but empty directories.
func onlyEmpty(path string) bool {
	st, err := os.Lstat(path)
	if err != nil {
		return true
	}
	if st.Mode()&fs.ModeSymlink != 0 {
		return true
	}
	inner, err := os.ReadDir(path)
	if err != nil {
		return false
	}
	for _, e := range inner {
		if !e.IsDir() || !onlyEmpty(filepath.Join(path, e.Name())) {
			return false
		}
	}
	return true
}

func putEmpty(path string) error {
	st, err := os.Lstat(path)
	if err == nil && st.IsDir() {
		return nil
	}
	return inWritable(path, func() error {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return errors.Join(os.Chtimes(path, time.Unix(0, 0), time.Unix(0, 0)), os.Chmod(path, store.MountpointMode))
	})
}

// removeMountpoint removes an empty directory; one that is in use stays, as with OpenZFS.
func removeMountpoint(path string) error {
	if st, err := os.Lstat(path); err != nil || !st.IsDir() {
		return nil //nolint:nilerr // what cannot be looked at stays too
	}
	return inWritable(path, func() error {
		if err := os.Remove(path); errors.Is(err, fs.ErrPermission) {
			return err
		}
		return nil
	})
}
