package zfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
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
	said  excerpt
	ended chan struct{} // closed when it has, or when it was given up; err may be read from then on
	err   error
}

// start starts a command with these ends of pipes, and closes them here: they are the child's.
func (z *ZFS) start(ctx context.Context, args []string, stdin, stdout *os.File) (*child, error) {
	c := &child{args: args, cmd: z.command(ctx, args), said: excerpt{max: maxStderr}, ended: make(chan struct{})}
	c.cmd.Stderr = &c.said
	if stdin != nil {
		c.cmd.Stdin = stdin
		defer stdin.Close()
	}
	if stdout != nil {
		c.cmd.Stdout = stdout
		defer stdout.Close()
	}
	if err := c.cmd.Start(); err != nil {
		return nil, &Error{Command: args, Exit: -1, Cause: err}
	}
	z.log.Debug("zfs stream begins", "command", spoken(args))
	go c.await(ctx, z)
	return c, nil
}

func (c *child) await(ctx context.Context, z *ZFS) {
	defer close(c.ended)
	begin := time.Now()
	err := z.bounded(ctx, c.cmd.Wait)
	if errors.Is(err, errGivenUp) {
		c.err = &Error{Command: c.args, Exit: -1, Kind: ErrTimeout, Cause: err}
	} else {
		c.err = failure(ctx, c.args, err, c.said.String())
	}
	z.log.Debug("zfs stream ended", "command", spoken(c.args), "took", time.Since(begin), "err", c.err)
}

// outcome waits for the end and returns how it was.
func (c *child) outcome() error {
	<-c.ended
	return c.err
}

func (c *child) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// warning makes an error of what a command said though it succeeded.
func (c *child) warning() error {
	if c.said.Len() == 0 {
		return nil
	}
	return &Error{Command: c.args, Stderr: c.said.String(), Kind: ErrWarning}
}
