package zfs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// pipeSize is asked for of the pipe between this process and a stream's command. It is set before any data is in it:
// resizing a pipe in use has hung kernels.
const pipeSize = 1 << 20

// pipe returns a pipe of pipeSize where the system grants it, else of its default size.
func (z *ZFS) pipe() (r, w *os.File, err error) {
	r, w, err = os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("pipe: %w", err)
	}
	if err := growPipe(w, pipeSize); err != nil {
		z.log.Debug("pipe keeps its size", "err", err)
	}
	return r, w, nil
}

// child is a command under way whose end is awaited in the background.
type child struct {
	args  []string
	cmd   *exec.Cmd
	ctx   context.Context // of the command only, made and cancelled here
	end   context.CancelCauseFunc
	said  *excerpt
	ended chan struct{} // closed when it has; then err and said may be read
	err   error
}

// start starts a command with these ends of pipes, and closes them here: they are the child's. The caller calls end when
// it is done with the child.
func (z *ZFS) start(ctx context.Context, args []string, stdin, stdout *os.File) (*child, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	c := &child{args: args, ctx: ctx, end: cancel, said: &excerpt{max: maxStderr}, ended: make(chan struct{})}
	c.cmd = z.command(ctx, args)
	c.cmd.Stderr = c.said
	if stdin != nil {
		c.cmd.Stdin = stdin
		defer stdin.Close()
	}
	if stdout != nil {
		c.cmd.Stdout = stdout
		defer stdout.Close()
	}
	if err := c.cmd.Start(); err != nil {
		cancel(err)
		return nil, failure(context.WithoutCancel(ctx), args, err, "")
	}
	begin := time.Now()
	z.log.Debug("zfs stream begins", "command", strings.Join(args, " "))
	go func() {
		err := c.cmd.Wait()
		c.err = failure(ctx, args, err, c.said.String())
		z.log.Debug("zfs stream ended", "command", strings.Join(args, " "), "took", time.Since(begin), "err", c.err)
		close(c.ended)
	}()
	return c, nil
}

func (c *child) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// outcome waits for the end, but not for a child that cannot be killed.
func (c *child) outcome(z *ZFS) error {
	err := z.bounded(c.ctx, func() error { <-c.ended; return nil })
	if err != nil {
		return &Error{Command: c.args, Exit: -1, Kind: ErrTimeout, Cause: err}
	}
	return c.err
}

// warning makes an error of what a command said though it succeeded.
func (c *child) warning() error {
	if c.said.Len() == 0 {
		return nil
	}
	return &Error{Command: c.args, Stderr: c.said.String(), Kind: ErrWarning}
}
