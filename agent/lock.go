package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// lockWait is how long a step waits for a volume's lock. What holds it longer is a stream, an orphan of an earlier agent
// or a command that does not end; the sender is told and asks again.
const lockWait = 3 * time.Second

var errLocked = errors.New("locked")

// locks are the volumes' locks: one file each, held by flock, which zfs children inherit. They are never unlocked, only
// closed, so that a lock lives until the last child has ended.
type locks struct {
	dir  string
	mu   sync.Mutex
	held map[state.UUID]string // what holds it in this process
	turn map[state.UUID]uint64 // how often it was taken in this process
}

// volumeLock is one held lock.
type volumeLock struct {
	file *os.File
	turn uint64 // this is the how many-th time that it was taken since the agent began
	free func()
}

func (l *volumeLock) release() { l.free() }

// zfs returns an adapter whose children hold the lock too.
func (l *volumeLock) zfs(z *zfs.ZFS) *zfs.ZFS { return z.Holding(l.file) }

// take locks a volume. The error is ErrBusy and says what holds it.
func (l *locks) take(ctx context.Context, uuid state.UUID, what string) (*volumeLock, error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	f, err := lockFile(ctx, l.path(uuid))
	if errors.Is(err, errLocked) {
		return nil, errorf(CodeBusy, "%s; ask again", l.why(uuid))
	}
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held, l.turn = map[state.UUID]string{}, map[state.UUID]uint64{}
	}
	l.held[uuid] = what
	l.turn[uuid]++
	return &volumeLock{file: f, turn: l.turn[uuid], free: func() { l.drop(uuid, f) }}, nil
}

func (l *locks) drop(uuid state.UUID, f *os.File) {
	l.mu.Lock()
	delete(l.held, uuid)
	l.mu.Unlock()
	f.Close() // nothing was written to it
}

func (l *locks) path(uuid state.UUID) string { return filepath.Join(l.dir, string(uuid)) }

func (l *locks) why(uuid state.UUID) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if what := l.held[uuid]; what != "" {
		return what + " is under way"
	}
	return "a command that an earlier agent started, or that timed out, has not ended"
}

// orphaned reports whether somebody who is not in this process holds a volume's lock.
func (l *locks) orphaned(uuid state.UUID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[uuid] != "" {
		return false
	}
	f, err := os.OpenFile(l.path(uuid), os.O_RDWR, 0)
	if err != nil {
		return false // nobody ever locked it
	}
	defer f.Close()
	return errors.Is(flock(f), syscall.EWOULDBLOCK)
}

// lockFile locks a file, made if absent, and tries until ctx ends; then the error is errLocked.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	tick := time.NewTicker(5 * time.Millisecond) // flock cannot be waited for and cancelled
	defer tick.Stop()
	for err = flock(f); errors.Is(err, syscall.EWOULDBLOCK); err = flock(f) {
		select {
		case <-ctx.Done():
			return nil, errors.Join(errLocked, f.Close())
		case <-tick.C:
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
