package zfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
)

// SendRequest says what to send. Names are full.
type SendRequest struct {
	Snapshot string   // dataset@name; "" with a Token
	Base     string   // dataset@name or dataset#name that the receiver has; "" sends everything
	Token    string   // of a half-received stream to go on with; flags, snapshot and base are in it
	Flags    []string // -L -c -e -w, also joined as in -Lce; others are refused. Once sent with -L, always with -L.
}

// args returns the words that follow `zfs send` and its own flags.
func (q SendRequest) args() ([]string, error) {
	if q.Token != "" {
		return q.resume()
	}
	for _, f := range q.Flags {
		if !sendFlag.MatchString(f) {
			return nil, refuse("flag %q", f)
		}
	}
	if err := checkSnapshot(q.Snapshot); err != nil {
		return nil, err
	}
	args := slices.Clone(q.Flags)
	if q.Base != "" {
		if err := checkBase(q.Base); err != nil {
			return nil, err
		}
		args = append(args, "-i", q.Base)
	}
	return append(args, q.Snapshot), nil
}

func (q SendRequest) resume() ([]string, error) {
	if q.Snapshot != "" || q.Base != "" || len(q.Flags) > 0 {
		return nil, refuse("a token with a snapshot, base or flags")
	}
	if err := checkToken(q.Token); err != nil {
		return nil, err
	}
	return []string{"-t", q.Token}, nil
}

// Estimate returns about how many bytes Send would write; of an increment, with -c, it was a few percent off at most. Errors
// as of Send.
func (z *ZFS) Estimate(ctx context.Context, q SendRequest) (int64, error) {
	args, err := q.args()
	if err != nil {
		return 0, fmt.Errorf("estimate: %w", err)
	}
	out, err := z.run(ctx, slices.Concat([]string{"zfs", "send", "-n", "-v", "-P"}, args)...)
	if err != nil {
		return 0, err
	}
	n, err := parseEstimate(out)
	if err != nil {
		return 0, fmt.Errorf("zfs send -nvP: %w", err)
	}
	return n, nil
}

// parseEstimate reads the last line, "size", TAB and bytes. What stands before depends on what is sent.
func parseEstimate(out []byte) (int64, error) {
	text := strings.TrimSuffix(string(out), "\n")
	last := text[strings.LastIndexByte(text, '\n')+1:]
	size, ok := strings.CutPrefix(last, "size\t")
	if !ok {
		return 0, fmt.Errorf("last line %q: want size: %w", clip(last), ErrOutput)
	}
	return number(size)
}

// Sending is a stream under way. Close it in any case.
type Sending struct {
	pipe *os.File
	c    *child
	end  context.CancelCauseFunc
	once sync.Once
	err  error // of Close
}

var errClosedEarly = errors.New("closed before its end")

// Send starts `zfs send`. A resume token that came from another machine is looked at with [ZFS.TokenContents] before: it
// may name any dataset. Errors of the request are ErrUsage; zfs's own come from Read and Wait: ErrNotFound, ErrNoBase,
// ErrTokenStale, ErrTokenCorrupt, ErrKey. The stream has no timeout but the context's.
func (z *ZFS) Send(ctx context.Context, q SendRequest) (*Sending, error) {
	args, err := q.args()
	if err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	r, w, err := z.pipe()
	if err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	ctx, end := context.WithCancelCause(ctx)
	c, err := z.start(ctx, slices.Concat([]string{"zfs", "send"}, args), nil, w)
	if err != nil {
		end(err)
		return nil, errors.Join(err, r.Close())
	}
	// Not only signalled: some kernels write into the pipe from a thread that no signal reaches, until its reader is gone.
	context.AfterFunc(ctx, func() { _ = r.Close() })
	return &Sending{pipe: r, c: c, end: end}, nil
}

// Read reads the stream. It ends with io.EOF only when zfs has exited with 0; else with an *[Error], so that a stream that
// broke is not taken for one that ended.
func (s *Sending) Read(p []byte) (int, error) {
	n, err := s.pipe.Read(p)
	switch {
	case err == nil || n > 0:
		return n, nil
	case errors.Is(err, io.EOF):
		return 0, cmp.Or(s.Wait(), io.EOF)
	case errors.Is(err, os.ErrClosed): // by Close or by the context; zfs may have ended well just before
		return 0, cmp.Or(s.Wait(), errClosedEarly)
	}
	return 0, fmt.Errorf("read from zfs send: %w", err)
}

// Wait waits until zfs has ended and returns how: nil, or an *[Error]. Nobody else reads the stream: zfs does not end before
// it is read to its end or closed. After an early Close it is ErrTimeout.
func (s *Sending) Wait() error { return s.c.outcome() }

// Close ends the stream, early if it has not ended, and waits for zfs. An early end on purpose is no error; a failure of zfs
// before it is, and so is a zfs that cannot be killed.
func (s *Sending) Close() error {
	s.once.Do(func() { s.err = s.close() })
	return s.err
}

func (s *Sending) close() error {
	early := !s.c.hasEnded()
	_ = s.pipe.Close() // before the wait, see Send; it was closed already if the context ended
	s.end(errClosedEarly)
	err := s.Wait()
	if early && !errors.Is(err, errGivenUp) {
		return nil
	}
	return err
}
