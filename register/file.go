package register

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// What is in the folder of a File store.
const (
	markFile    = "drover-register" // made last: whatever has it is a whole register
	lockFile    = "lock"            // locked for each access: shared to read, exclusive to write
	leaderFile  = "leader"          // locked by the leader for as long as it leads
	termFile    = "term"            // the last leadership given
	entryFolder = "entries"         // entries/KIND/NAME
	newFile     = "new"             // what is being written; only who has the exclusive lock touches it
)

const lockPause = time.Millisecond // between two attempts at a lock: accesses are short

// File is a [Store] in files of one machine, for any number of processes on it. Locks are flock's: the kernel frees them when
// a process ends, however it ends. A stopped process (SIGSTOP) keeps them.
type File struct {
	dir  string
	lock *os.File // kept open so that its inode number is not given to another file
	at   func(point string)
}

// OpenFile opens the store in dir, and makes it if dir is absent or empty. A folder with other things in it is refused.
func OpenFile(dir string) (*File, error) {
	f := &File{dir: dir, at: func(string) {}}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("open register %s: %w", dir, err)
	}
	return f, nil
}

func (f *File) open() error {
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return err
	}
	if err := f.mayBeRegister(); err != nil {
		return err
	}
	lock, err := os.OpenFile(f.path(lockFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	f.lock = lock
	return f.locked(context.Background(), syscall.LOCK_EX, f.make)
}

// mayBeRegister refuses a folder that has other things in it before anything is written there.
func (f *File) mayBeRegister() error {
	found, err := os.ReadDir(f.dir)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(found, func(e fs.DirEntry) bool { return e.Name() == markFile }) {
		return nil
	}
	ours := []string{lockFile, leaderFile, termFile, entryFolder, newFile}
	for _, e := range found {
		if !slices.Contains(ours, e.Name()) {
			return fmt.Errorf("there is %q in this folder, so it is not one of a register", e.Name())
		}
	}
	return nil
}

// make makes what a new register needs, the mark last. It goes on where a maker before it was interrupted.
func (f *File) make() error {
	if _, err := os.Stat(f.path(markFile)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if kinds, err := os.ReadDir(f.path(entryFolder)); len(kinds) > 0 {
		return errors.Join(fmt.Errorf("%w: it has entries, but %s is missing", ErrDamaged, markFile), err)
	}
	if err := os.MkdirAll(f.path(entryFolder), 0o755); err != nil {
		return err
	}
	if err := f.write(leaderFile, nil); err != nil {
		return err
	}
	if err := f.writeLeader(record{}); err != nil {
		return err
	}
	return f.write(markFile, []byte("a Drover register, format 1\n"))
}

func (f *File) path(names ...string) string {
	return filepath.Join(append([]string{f.dir}, names...)...)
}

func entryPath(key string) string { return filepath.Join(entryFolder, filepath.FromSlash(key)) }

// locked runs do under the store's lock, shared or exclusive.
func (f *File) locked(ctx context.Context, how int, do func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	lock, err := os.OpenFile(f.path(lockFile), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s is missing; is its disk mounted?", ErrGone, f.path(lockFile))
	}
	if err != nil {
		return err
	}
	defer lock.Close() // which unlocks
	if err := f.same(lock); err != nil {
		return err
	}
	for {
		got, err := tryLock(lock, how)
		if err != nil {
			return fmt.Errorf("lock %s: %w", lock.Name(), err)
		}
		if got {
			return do()
		}
		if !pause(ctx, lockPause) {
			return fmt.Errorf("wait for %s: %w", lock.Name(), context.Cause(ctx))
		}
	}
}

// same refuses a register that took the place of the one that was opened: it may be empty, and is not ours.
func (f *File) same(lock *os.File) error {
	is, err := lock.Stat()
	if err != nil {
		return err
	}
	was, err := f.lock.Stat()
	if err == nil && !os.SameFile(is, was) {
		return fmt.Errorf("%w: %s was replaced by another one; start again if that was meant", ErrGone, f.dir)
	}
	return err
}

func tryLock(file *os.File, how int) (bool, error) {
	err := syscall.Flock(int(file.Fd()), how|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return false, nil
	}
	return err == nil, err
}

// pause waits for d, and reports whether ctx lasted.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// Get implements [Store].
func (f *File) Get(ctx context.Context, key string) (e Entry, err error) {
	if err := CheckKey(key); err != nil {
		return Entry{}, err
	}
	// Under the lock: what is seen has reached the disk.
	err = f.locked(ctx, syscall.LOCK_SH, func() error {
		e, err = f.read(entryPath(key))
		return err
	})
	return e, wrap("read", key, err)
}

// Put implements [Store].
func (f *File) Put(ctx context.Context, key string, data []byte, version int64) (int64, error) {
	if err := CheckKey(key); err != nil {
		return 0, err
	}
	next := version + 1
	err := f.locked(ctx, syscall.LOCK_EX, func() error {
		e, err := f.read(entryPath(key))
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if e.Version != version {
			return conflict(e.Version, version)
		}
		return f.write(entryPath(key), encode(Entry{data, next}))
	})
	if err != nil {
		return 0, wrap("write", key, err)
	}
	return next, nil
}

// Delete implements [Store].
func (f *File) Delete(ctx context.Context, key string, version int64) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	return wrap("delete", key, f.locked(ctx, syscall.LOCK_EX, func() error {
		e, err := f.read(entryPath(key))
		if err != nil {
			return err
		}
		if e.Version != version {
			return conflict(e.Version, version)
		}
		return f.remove(entryPath(key))
	}))
}

func conflict(is, want int64) error {
	return fmt.Errorf("version %d, not %d: %w", is, want, ErrConflict)
}

func wrap(what, key string, err error) error {
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, key, err)
	}
	return nil
}

// List implements [Store].
func (f *File) List(ctx context.Context, kind string) (keys []string, err error) {
	if err := CheckKey(kind + "/x"); err != nil {
		return nil, err
	}
	err = f.locked(ctx, syscall.LOCK_SH, func() error {
		found, err := os.ReadDir(f.path(entryFolder, kind)) // sorted
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		for _, e := range found {
			if !strings.HasPrefix(e.Name(), ".") { // what an editor or a network file system left
				keys = append(keys, kind+"/"+e.Name())
			}
		}
		return err
	})
	return keys, wrap("list", kind, err)
}
