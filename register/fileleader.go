package register

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/drover-project/drover/state"
)

const (
	campaignPause = 50 * time.Millisecond  // between two attempts to lead
	watchPause    = 250 * time.Millisecond // between two looks whether the lock is still the one that counts
)

// record is the last leadership that was given.
type record struct {
	Holder string
	Term   state.Term
}

// readLeader reads the record. It is there from the beginning: if it is missing, terms would begin anew.
func (f *File) readLeader() (record, error) {
	e, err := f.read(termFile)
	if errors.Is(err, ErrNotFound) {
		return record{}, fmt.Errorf("%w: %s is missing", ErrDamaged, f.path(termFile))
	}
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(e.Data, &r); err != nil {
		return record{}, fmt.Errorf("%w: %s: %w", ErrDamaged, f.path(termFile), err)
	}
	return r, nil
}

func (f *File) writeLeader(r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return f.write(termFile, encode(Entry{b, int64(r.Term) + 1}))
}

// Campaign implements [Store].
func (f *File) Campaign(ctx context.Context, holder string) (Leadership, error) {
	for {
		l, err := f.tryLead(ctx, holder)
		if err != nil {
			return nil, fmt.Errorf("campaign: %w", err)
		}
		if l != nil {
			l.watch()
			return l, nil
		}
		if !pause(ctx, campaignPause) {
			return nil, fmt.Errorf("campaign: %w", context.Cause(ctx))
		}
	}
}

// tryLead returns nil if somebody else leads. Lock and record change under the store's lock, so that nobody sees a leader of
// one with the name of another.
func (f *File) tryLead(ctx context.Context, holder string) (l *leadership, err error) {
	err = f.locked(ctx, syscall.LOCK_EX, func() error {
		lock, got, err := f.tryLeaderLock(syscall.LOCK_EX)
		if err != nil || !got {
			return err
		}
		r, err := f.readLeader()
		if err == nil {
			r = record{holder, r.Term + 1}
			err = f.writeLeader(r)
		}
		if err != nil {
			return errors.Join(err, lock.Close())
		}
		l = &leadership{term: r.Term, lock: lock, lost: make(chan struct{}), stop: make(chan struct{})}
		return nil
	})
	return l, err
}

func (f *File) tryLeaderLock(how int) (lock *os.File, got bool, err error) {
	lock, err = os.OpenFile(f.path(leaderFile), os.O_RDWR, 0)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if got, err = tryLock(lock, how); err != nil || !got {
		return nil, false, errors.Join(err, lock.Close())
	}
	return lock, true, nil
}

// Leader implements [Store].
func (f *File) Leader(ctx context.Context) (holder string, term state.Term, ok bool, err error) {
	var r record
	// Exclusively: two who probe the leader's lock at once would each take the other for a leader.
	err = f.locked(ctx, syscall.LOCK_EX, func() error {
		lock, free, err := f.tryLeaderLock(syscall.LOCK_EX)
		if err != nil {
			return err
		}
		if free {
			lock.Close() // nobody leads
		}
		ok = !free
		r, err = f.readLeader()
		return err
	})
	if err != nil {
		return "", 0, false, fmt.Errorf("leader: %w", err)
	}
	if !ok {
		r.Holder = ""
	}
	return r.Holder, r.Term, ok, nil
}

// leadership is the lock on leaderFile. The kernel does not take it away; but when the file is removed, the lock no longer
// keeps others out.
type leadership struct {
	term state.Term
	lock *os.File
	lost chan struct{}
	stop chan struct{}
	once sync.Once
	wg   sync.WaitGroup
	err  error
}

func (l *leadership) Term() state.Term      { return l.term }
func (l *leadership) Lost() <-chan struct{} { return l.lost }

func (l *leadership) Resign() error {
	l.once.Do(func() {
		close(l.stop)
		l.wg.Wait()
		l.err = l.lock.Close()
	})
	return l.err
}

func (l *leadership) watch() {
	l.wg.Go(func() {
		defer close(l.lost)
		t := time.NewTicker(watchPause)
		defer t.Stop()
		for l.counts() {
			select {
			case <-t.C:
			case <-l.stop:
				return
			}
		}
	})
}

func (l *leadership) counts() bool {
	ours, err := l.lock.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(l.lock.Name())
	return err == nil && os.SameFile(ours, now)
}
