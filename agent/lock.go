package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	held map[state.UUID]*volumeLock // by whom in this process
	turn map[state.UUID]uint64      // how often it was taken in this process
}

// volumeLock is one held lock. The streams of one transfer hold it together, each for a dataset of its own: it is free when
// the last of them has let go, and the children of all have ended.
type volumeLock struct {
	file     *os.File
	what     string // holds it
	transfer string // "" if it is not shared
	holders  int
	turn     uint64 // this is the how many-th time that it was taken since the agent began
	free     func()
}

func (l *volumeLock) release() { l.free() }

// zfs returns an adapter whose children hold the lock too.
func (l *volumeLock) zfs(z *zfs.ZFS) *zfs.ZFS { return z.Holding(l.file) }

// take locks a volume. The error is ErrBusy and says what holds it.
func (l *locks) take(ctx context.Context, uuid state.UUID, what string) (*volumeLock, error) {
	return l.share(ctx, uuid, "", what)
}

// share locks a volume for a stream of a transfer, together with the other streams of the same transfer. "" shares with nobody.
func (l *locks) share(ctx context.Context, uuid state.UUID, transfer, what string) (lock *volumeLock, err error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	err = untilUnlocked(ctx, func() (err error) { lock, err = l.try(uuid, transfer, what); return err })
	if errors.Is(err, errLocked) {
		return nil, errorf(CodeBusy, "%s; ask again", l.why(uuid))
	}
	return lock, err
}

// try locks a volume if it is free now; else the error is errLocked.
func (l *locks) try(uuid state.UUID, transfer, what string) (*volumeLock, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lock := l.held[uuid]; lock != nil {
		if transfer == "" || lock.transfer != transfer {
			return nil, errLocked
		}
		lock.holders++
		return lock, nil
	}
	f, err := lockFile(l.path(uuid))
	if err != nil {
		return nil, err
	}
	if l.held == nil {
		l.held, l.turn = map[state.UUID]*volumeLock{}, map[state.UUID]uint64{}
	}
	l.turn[uuid]++
	lock := &volumeLock{file: f, what: what, transfer: transfer, holders: 1, turn: l.turn[uuid], free: func() { l.drop(uuid) }}
	l.held[uuid] = lock
	return lock, nil
}

func (l *locks) drop(uuid state.UUID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lock := l.held[uuid]
	if lock.holders--; lock.holders > 0 {
		return
	}
	delete(l.held, uuid)
	lock.file.Close() // nothing was written to it
}

func (l *locks) path(uuid state.UUID) string { return filepath.Join(l.dir, string(uuid)) }

func (l *locks) why(uuid state.UUID) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lock := l.held[uuid]; lock != nil {
		return lock.what + " is under way"
	}
	return orphanOf(l.path(uuid), uuid).String() + ", has not ended"
}

// orphans returns the commands that hold a lock of a volume and are no part of a step that is under way here.
func (l *locks) orphans() ([]state.Orphan, error) {
	files, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, fmt.Errorf("locks: %w", err)
	}
	var all []state.Orphan
	for _, f := range files {
		uuid := state.UUID(f.Name())
		if !l.orphaned(uuid) {
			continue
		}
		o := orphanOf(l.path(uuid), uuid)
		// A step that took the lock just now is not noted yet, and a command may have ended meanwhile.
		if o.PID != 0 || l.orphaned(uuid) {
			all = append(all, o)
		}
	}
	return all, nil
}

// orphanOf finds out which process holds a lock's file open. A command may have children; it is the oldest.
func orphanOf(path string, uuid state.UUID) state.Orphan {
	o := state.Orphan{UUID: uuid}
	for _, p := range holders(path) {
		if o.PID == 0 || p.since.Before(o.Since) {
			o.PID, o.Command, o.Since = p.pid, spoken(p.words), p.since
		}
	}
	return o
}

// holder is a process that has a file open.
type holder struct {
	pid   int
	words []string // of its command
	since time.Time
}

// spoken shortens a command for people: what it does stands at its beginning, to which dataset at its end.
func spoken(words []string) string {
	const most = 120
	s := strings.Join(words, " ")
	if len(s) > most {
		s = s[:most/2] + " ... " + s[len(s)-most/2:]
	}
	return strings.ToValidUTF8(s, "?")
}

// orphaned reports whether somebody who is not in this process holds a volume's lock.
func (l *locks) orphaned(uuid state.UUID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[uuid] != nil {
		return false
	}
	f, err := os.OpenFile(l.path(uuid), os.O_RDWR, 0)
	if err != nil {
		return false // nobody ever locked it
	}
	defer f.Close()
	return errors.Is(flock(f), syscall.EWOULDBLOCK)
}

// untilUnlocked tries until the error is not errLocked, or ctx ends.
func untilUnlocked(ctx context.Context, try func() error) error {
	tick := time.NewTicker(5 * time.Millisecond) // flock cannot be waited for and cancelled
	defer tick.Stop()
	for {
		if err := try(); !errors.Is(err, errLocked) {
			return err
		}
		select {
		case <-ctx.Done():
			return errLocked
		case <-tick.C:
		}
	}
}

// lockFile locks a file, made if absent. If somebody has it the error is errLocked.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	switch err := flock(f); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, errors.Join(errLocked, f.Close())
	case err != nil:
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
