package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Apply makes a head that equals the tree from equal the tree to, block by block where files differ. It may be
// repeated after a crash: what was done already is done again with the same outcome.
func (s *Store) Apply(head string, from, to Ref) error {
	if err := os.MkdirAll(head, 0o755); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	a := &applier{s: s, head: head, near: map[string]int64{}}
	if err := s.Diff(from, to, a.step); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	return a.finish()
}

type applier struct {
	s    *Store
	head string
	dirs []*Entry         // whose times are set last, children first
	near map[string]int64 // times of directories whose entries were touched
	buf  []byte
}

func (a *applier) full(path string) string { return filepath.Join(a.head, filepath.FromSlash(path)) }

func (a *applier) step(from, to *Entry) error {
	if to == nil {
		if from == nil {
			return nil
		}
		return a.writable(from.Path, func() error { return removeAll(a.full(from.Path)) })
	}
	if from != nil && from.equal(to) {
		return nil
	}
	if to.Path == "" {
		a.dirs = append(a.dirs, to)
		return nil
	}
	return a.writable(to.Path, func() error { return a.put(from, to) })
}

func removeAll(path string) error {
	err := os.RemoveAll(path)
	if errors.Is(err, fs.ErrPermission) {
		err = forceRemove(path)
	}
	if errors.Is(err, unix.ENOTDIR) {
		return nil // the directory above it gave way to something else
	}
	return err
}

// forceRemove removes trees that have directories without write permission.
func forceRemove(path string) error {
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			return os.Chmod(p, 0o700)
		}
		return nil
	})
	return errors.Join(err, os.RemoveAll(path))
}

// writable runs fn, and runs it again with the parent directory made writable if it was refused; the parent's own
// entry, if it changed, sets its mode at the end.
func (a *applier) writable(path string, fn func() error) error {
	parent := filepath.Dir(a.full(path))
	a.noteTime(parent)
	err := fn()
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	st, serr := os.Stat(parent)
	if serr != nil {
		return err
	}
	if cerr := os.Chmod(parent, 0o700); cerr != nil {
		return err
	}
	return errors.Join(fn(), os.Chmod(parent, st.Mode().Perm()))
}

// noteTime remembers the time of a directory, which must not change only because an entry in it is made anew.
func (a *applier) noteTime(dir string) {
	if _, ok := a.near[dir]; ok {
		return
	}
	if st, err := lstat(dir); err == nil {
		a.near[dir] = st.mtime
	}
}

func (a *applier) put(from, to *Entry) error {
	full := a.full(to.Path)
	if err := a.clear(full, from, to); err != nil {
		return err
	}
	switch to.Kind {
	case Dir:
		a.dirs = append(a.dirs, to)
		if err := os.Mkdir(full, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	case Symlink:
		return first(os.Symlink(to.Target, full), func() error { return setTimes(full, to) })
	case HardLink:
		return os.Link(a.full(to.Target), full)
	}
	return a.putFile(full, from, to)
}

// clear removes what is in the way. A file stays if it was this same file before: its blocks are needed.
func (a *applier) clear(full string, from, to *Entry) error {
	st, err := os.Lstat(full)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if to.Kind == Dir && st.IsDir() || to.Kind == File && st.Mode().IsRegular() && from != nil && from.Kind == File {
		return nil
	}
	return removeAll(full)
}

func (a *applier) putFile(full string, from, to *Entry) error {
	f, err := openForWriting(full)
	if err != nil {
		return err
	}
	if err := a.blocks(f, from, to); err != nil {
		f.Close() // the write error says more
		return fmt.Errorf("%s: %w", to.Path, err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	return setMeta(full, to)
}

func openForWriting(full string) (*os.File, error) {
	f, err := os.OpenFile(full, os.O_WRONLY|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		if cerr := os.Chmod(full, 0o600); cerr == nil {
			f, err = os.OpenFile(full, os.O_WRONLY, 0)
		}
	}
	return f, err
}

func (a *applier) blocks(f *os.File, from, to *Entry) error {
	var old []Ref
	if from != nil && from.Kind == File {
		if err := a.s.EachBlock(from, 0, func(_ int64, r Ref) error { old = append(old, r); return nil }); err != nil {
			return err
		}
	}
	if err := f.Truncate(to.Size); err != nil {
		return err
	}
	i := 0
	return a.s.EachBlock(to, 0, func(off int64, r Ref) error {
		was := at(old, i)
		i++
		if was == r || !was.Stored() && !r.Stored() {
			return nil
		}
		return a.block(f, off, min(BlockSize, to.Size-off), r)
	})
}

func (a *applier) block(f *os.File, off, n int64, r Ref) (err error) {
	if !r.Stored() {
		return zeroRange(f, off, n)
	}
	if a.buf, err = a.s.Read(r, a.buf); err != nil {
		return err
	}
	_, err = f.WriteAt(a.buf, off)
	return err
}

func zeroRange(f *os.File, off, n int64) error {
	if punch(f, off, n) == nil {
		return nil
	}
	_, err := f.WriteAt(make([]byte, n), off)
	return err
}

func (a *applier) finish() error {
	for dir, mtime := range a.near {
		if err := setTimes(dir, &Entry{Mtime: mtime}); err != nil && !gone(err) {
			return fmt.Errorf("apply: %w", err)
		}
	}
	for _, e := range slices.Backward(a.dirs) {
		if err := setMeta(a.full(e.Path), e); err != nil {
			return fmt.Errorf("apply %s: %w", e.Path, err)
		}
	}
	return nil
}

func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) }

func setMeta(full string, e *Entry) error {
	if os.Geteuid() == 0 {
		if err := os.Lchown(full, int(e.UID), int(e.GID)); err != nil {
			return err
		}
	}
	if err := setXattrs(full, e.Xattrs); err != nil {
		return err
	}
	if err := unix.Chmod(full, e.Mode); err != nil {
		return &os.PathError{Op: "chmod", Path: full, Err: err}
	}
	return setTimes(full, e)
}

func setTimes(full string, e *Entry) error {
	ts := []unix.Timespec{unix.NsecToTimespec(time.Now().UnixNano()), unix.NsecToTimespec(e.Mtime)}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, full, ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimes", Path: full, Err: err}
	}
	return nil
}

func setXattrs(full string, want []Xattr) error {
	have, err := readXattrs(full)
	if err != nil {
		return err
	}
	for _, x := range have {
		if !slices.ContainsFunc(want, func(w Xattr) bool { return w.Name == x.Name }) {
			if err := unix.Removexattr(full, x.Name); err != nil {
				return &os.PathError{Op: "removexattr", Path: full, Err: err}
			}
		}
	}
	for _, x := range want {
		if err := unix.Setxattr(full, x.Name, []byte(x.Value), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return &os.PathError{Op: "setxattr", Path: full, Err: err}
		}
	}
	return nil
}

// Restat returns the tree with the stat data that the head has now, for a head that Apply has just made equal to it.
// Only entries born after since are looked at.
func (s *Store) Restat(head string, root Ref, since uint64, pack *Pack) (Ref, error) {
	a := &applier{head: head}
	var latest int64
	root, err := s.Rewrite(pack, root, func(e *Entry) (*Entry, error) {
		if e.Kind == Gone || e.Birth <= since {
			return e, nil
		}
		st, err := lstat(a.full(e.Path))
		if err != nil {
			return nil, err
		}
		e.Ino, e.Ctime = st.ino, st.ctime
		latest = max(latest, st.ctime)
		return e, nil
	})
	waitForClock(latest)
	return root, err
}

// waitForClock returns when a write would get a later time stamp than ctime, so that it cannot hide behind it.
func waitForClock(ctime int64) {
	time.Sleep(time.Until(time.Unix(0, ctime).Add(raceWindow)))
}
