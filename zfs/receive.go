package zfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"time"
)

// ReceiveRequest says where a stream goes.
type ReceiveRequest struct {
	Dataset    string            // is created by a full stream, must exist for an increment
	Properties map[string]string // set locally before any data; on each receive
	Exclude    []string          // properties not taken from the stream
}

func (q ReceiveRequest) args() ([]string, error) {
	if err := checkBelow(q.Dataset); err != nil {
		return nil, err
	}
	opts, err := options(q.Properties)
	if err != nil {
		return nil, err
	}
	for _, name := range q.Exclude {
		if _, both := q.Properties[name]; both || checkPropertyName(name) != nil {
			return nil, refuse("excluded property %q", name)
		}
		opts = append(opts, "-x", name)
	}
	return slices.Concat([]string{"zfs", "receive", "-s", "-u"}, opts, []string{q.Dataset}), nil
}

// Receive feeds a stream to `zfs receive -s -u`: what is cut can be resumed, nothing is mounted, nothing is rolled back or
// overwritten (never -F). It returns when zfs has ended and r has; nil says that both ended well, yet only the snapshot's guid
// proves what is there.
//
// Errors: ErrIncomplete, with r's own error as its cause; ErrModified, ErrNoBase, ErrExists, ErrNotFound (the parent; the
// dataset, for an increment), ErrPartial, ErrNoSpace, ErrTokenStale, ErrFeature, ErrBusy; ErrWarning if everything arrived but a
// property could not be set. The stream has no timeout but the context's.
//
// If zfs fails while r blocks, or the context ends, r is closed if it has a Close, and Receive returns without waiting for
// what r's Read still does if it has none.
func (z *ZFS) Receive(ctx context.Context, q ReceiveRequest, r io.Reader) error {
	args, err := q.args()
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	pr, pw, err := z.pipe()
	if err != nil {
		return fmt.Errorf("receive %s: %w", q.Dataset, err)
	}
	c, err := z.start(ctx, args, pr, nil)
	if err != nil {
		return errors.Join(err, pw.Close())
	}
	f := &feed{from: r, to: pw, grace: z.grace, done: make(chan error, 1)}
	go f.run()
	return f.verdict(q.Dataset, f.watch(ctx, c), c)
}

// feed carries a stream into a child's standard input.
type feed struct {
	from    io.Reader
	to      *os.File
	grace   time.Duration
	done    chan error
	err     error // of the reader or the pipe
	stopped bool  // by us: then err says nothing
}

// run copies until the stream ends or breaks, and closes the pipe, which tells zfs so. The pipe is wrapped: its own ReadFrom
// would copy with a small buffer.
func (f *feed) run() {
	_, err := io.CopyBuffer(struct{ io.Writer }{f.to}, f.from, make([]byte, pipeSize))
	_ = f.to.Close()
	f.done <- err
}

// watch waits until both have ended and returns how zfs did.
func (f *feed) watch(ctx context.Context, c *child) error {
	select {
	case f.err = <-f.done:
		return c.outcome()
	case <-c.ended:
		f.finish(ctx, c.err != nil)
		return c.err
	case <-ctx.Done():
		f.stop()
		return c.outcome()
	}
}

// finish waits for a reader that outlived zfs. A stream that zfs took whole may still have to say that it ended well.
func (f *feed) finish(ctx context.Context, failed bool) {
	if failed {
		f.stop()
		return
	}
	select {
	case f.err = <-f.done:
	case <-ctx.Done():
		f.stop()
		f.stopped, f.err = false, context.Cause(ctx)
	}
}

// stop makes the copying end, if it can.
func (f *feed) stop() {
	f.stopped = true
	_ = f.to.Close() // lets go of a write that nobody reads
	closer, ok := f.from.(io.Closer)
	if !ok {
		return
	}
	_ = closer.Close() // how the stream broke is known already
	select {
	case <-f.done: //nolint:errcheck // how it broke is known already
	case <-time.After(f.grace): // a reader that ignores its Close is its owner's
	}
}

// verdict makes one error of zfs's and the reader's.
func (f *feed) verdict(dataset string, err error, c *child) error {
	broken := f.err != nil && !f.stopped
	var its *Error
	switch {
	case err == nil && !broken:
		return c.warning()
	case err == nil && errors.Is(f.err, syscall.EPIPE):
		return fmt.Errorf("receive %s: the stream goes on after its end: %w", dataset, f.err)
	case err == nil:
		return fmt.Errorf("receive %s: zfs took the stream, but its source broke: %w", dataset, f.err)
	case broken && !errors.Is(f.err, syscall.EPIPE) && errors.As(err, &its) && its.Cause == nil:
		its.Cause = f.err
	}
	return err
}

// AbortReceive drops a half-received stream, and with it a dataset that it was to create. It is no error if there is none.
// Errors: ErrNotFound; ErrPartial or ErrBusy while the receive still runs.
func (z *ZFS) AbortReceive(ctx context.Context, dataset string) error {
	if err := checkBelow(dataset); err != nil {
		return fmt.Errorf("abort receive: %w", err)
	}
	err := z.do(ctx, "zfs", "receive", "-A", dataset)
	if onlySays(err, "does not have any resumable receive state") {
		return nil
	}
	return err
}
