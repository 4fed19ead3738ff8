package todo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"golang.org/x/sys/unix"
)

// lockFolder takes the one lock that makes this process the only one with the database in dir open.
// It waits at most wait for a predecessor that is just leaving. The kernel lets go of the lock when the
// process ends, however it ends. A file of its own is needed: SQLite's locks on the database file are lost
// when a process closes any descriptor of that file.
func lockFolder(ctx context.Context, dir string, wait time.Duration) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "todo.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := flock(ctx, f, wait); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is open in another process (%s): %w", dir, owner(f), err), f.Close())
	}
	if err := sign(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func flock(ctx context.Context, f *os.File, wait time.Duration) error {
	try := func() error {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return backoff.Permanent(err)
		}
		return err
	}
	if wait <= 0 {
		return try()
	}
	pace := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(5*time.Millisecond),
		backoff.WithMaxInterval(50*time.Millisecond),
		backoff.WithMaxElapsedTime(wait))
	return backoff.Retry(try, backoff.WithContext(pace, ctx))
}

// sign leaves the process id in the file, only for the sentence that the next one prints.
func sign(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("sign lock: %w", err)
	}
	if _, err := f.WriteAt(fmt.Appendf(nil, "process %d\n", os.Getpid()), 0); err != nil {
		return fmt.Errorf("sign lock: %w", err)
	}
	return nil
}

func owner(f *os.File) string {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 64))
	if err != nil || len(text) == 0 {
		return "which did not leave its name"
	}
	return strings.TrimSpace(string(text))
}
