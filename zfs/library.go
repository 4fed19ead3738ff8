package zfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	gozfs "github.com/mistifyio/go-zfs/v4"

	"github.com/drover-project/drover/state"
)

// library is taken while go-zfs runs a command. It finds zfs by this process's PATH, passes on
// this process's environment, and has one Runner for all.
var library = make(chan struct{}, 1)

// byLibrary runs a read of go-zfs's. It has no contexts, so that the deadline becomes its timeout; a cancel is seen before and
// after only.
func byLibrary[T any](ctx context.Context, z *ZFS, command []string, read func() (T, error)) (T, error) {
	var found T
	ctx, cancel := context.WithTimeoutCause(ctx, z.timeout, fmt.Errorf("not done in %v", z.timeout))
	defer cancel()
	err := z.bounded(ctx, func() error {
		select {
		case library <- struct{}{}:
			defer func() { <-library }()
		case <-ctx.Done():
			return ctx.Err()
		}
		giveBack, err := z.borrowEnvironment(ctx)
		if err != nil {
			return err
		}
		found, err = guarded(read)
		return errors.Join(err, giveBack())
	})
	if errors.Is(err, errGivenUp) {
		var none T
		return none, &Error{Command: command, Exit: -1, Kind: ErrTimeout, Cause: err}
	}
	return found, libraryFailure(ctx, command, err)
}

// borrowEnvironment makes this process's environment and go-zfs's Runner as z's children would have them, until the returned
// function is called.
func (z *ZFS) borrowEnvironment(ctx context.Context) (giveBack func() error, err error) {
	runner := &gozfs.Runner{Timeout: z.timeout, Grace: z.grace}
	if end, ok := ctx.Deadline(); ok {
		runner.Timeout = max(time.Until(end), time.Millisecond)
	}
	gozfs.SetRunner(runner)
	var undo []func() error
	giveBack = func() error { return undoAll(undo) }
	for _, v := range z.overrides() {
		name, text, _ := strings.Cut(v, "=")
		undo = append(undo, restore(name))
		if err := os.Setenv(name, text); err != nil {
			return nil, errors.Join(err, giveBack())
		}
	}
	return giveBack, nil
}

// restore returns what makes a variable as it is now.
func restore(name string) func() error {
	old, was := os.LookupEnv(name)
	if !was {
		return func() error { return os.Unsetenv(name) }
	}
	return func() error { return os.Setenv(name, old) }
}

// undoAll undoes the latest first: a variable may have been set twice.
func undoAll(undo []func() error) error {
	var errs []error
	for _, f := range slices.Backward(undo) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// guarded makes an error of a panic: go-zfs indexes the fields of a line without counting them.
func guarded[T any](read func() (T, error)) (found T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v: %w", p, ErrOutput)
		}
	}()
	return read()
}

// libraryFailure turns go-zfs's error, which does not unwrap, into ours.
func libraryFailure(ctx context.Context, command []string, err error) error {
	var its *gozfs.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &its):
		return failure(ctx, command, its.Err, its.Stderr)
	case ctx.Err() != nil:
		return failure(ctx, command, err, "")
	case errors.Is(err, ErrOutput):
		return fmt.Errorf("%v: %w", command, err)
	}
	return fmt.Errorf("%v: %w: %w", command, err, ErrOutput)
}

// Pool returns a pool's health, and how many bytes its file systems have and can still take: what is left after redundancy
// and reserves, which is less than the pool's own count. A pool that is neither ONLINE nor DEGRADED has nothing to give: its
// Free is 0 and its Size the pool's own. Errors: ErrNoPool.
func (z *ZFS) Pool(ctx context.Context, name string) (state.Pool, error) {
	if err := checkDataset(name); err != nil {
		return state.Pool{}, fmt.Errorf("pool: %w", err)
	}
	pool, err := byLibrary(ctx, z, []string{"zpool", "get", name}, func() (*gozfs.Zpool, error) {
		return gozfs.GetZpool(name)
	})
	if err != nil {
		return state.Pool{}, err
	}
	if pool.Health == "" || pool.Size == 0 {
		return state.Pool{}, fmt.Errorf("zpool get %s: no health or no size: %w", name, ErrOutput)
	}
	found := state.Pool{Name: name, Health: pool.Health, Size: int64(pool.Size)}
	if pool.Health != gozfs.ZpoolOnline && pool.Health != gozfs.ZpoolDegraded {
		return found, nil
	}
	top, err := z.dataset(ctx, name)
	if err != nil {
		return state.Pool{}, err
	}
	found.Size, found.Free = int64(top.Used+top.Avail), int64(top.Avail)
	return found, nil
}

// Origin returns the snapshot that a dataset is a clone of, or "". Errors: ErrNotFound.
func (z *ZFS) Origin(ctx context.Context, dataset string) (string, error) {
	if err := checkDataset(dataset); err != nil {
		return "", fmt.Errorf("origin: %w", err)
	}
	d, err := z.dataset(ctx, dataset)
	if err != nil {
		return "", err
	}
	return d.Origin, nil
}

// Facts are what is known of any dataset, Drover's or not: what somebody who adopts it has to look at.
type Facts struct {
	Volume     bool   // a block device, not a file system
	Mountpoint string // "", "none" or "legacy" if it has none of its own
	Used       int64  // bytes, snapshots and children included
	Referenced int64  // bytes of the live data
	Quota      int64  // bytes, 0 for none; it counts children and snapshots, unlike a copy's
	Origin     string // the snapshot that it is a clone of, or ""
}

// Facts returns what is known of any dataset. Errors: ErrNotFound.
func (z *ZFS) Facts(ctx context.Context, dataset string) (Facts, error) {
	if err := checkDataset(dataset); err != nil {
		return Facts{}, fmt.Errorf("facts: %w", err)
	}
	d, err := z.dataset(ctx, dataset)
	if err != nil {
		return Facts{}, err
	}
	return Facts{
		Volume:     d.Type == gozfs.DatasetVolume,
		Mountpoint: d.Mountpoint,
		Used:       int64(d.Used),
		Referenced: int64(d.Referenced),
		Quota:      int64(d.Quota),
		Origin:     d.Origin,
	}, nil
}

func (z *ZFS) dataset(ctx context.Context, name string) (*gozfs.Dataset, error) {
	d, err := byLibrary(ctx, z, []string{"zfs", "list", name}, func() (*gozfs.Dataset, error) {
		return gozfs.GetDataset(name)
	})
	if err == nil && d.Type == "" {
		err = fmt.Errorf("zfs list %s: no type: %w", name, ErrOutput)
	}
	return d, err
}
