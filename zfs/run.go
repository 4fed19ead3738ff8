package zfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Bounds on what is kept of a command's words. A pool of 10,000 copies lists some 30 MB.
const (
	maxOutput = 256 << 20
	maxStderr = 16 << 10
)

// run runs a short command to its end and returns what it printed, which after an error is what it printed before.
func (z *ZFS) run(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, z.timeout, fmt.Errorf("not done in %v", z.timeout))
	defer cancel()
	out := &output{max: maxOutput}
	said := &excerpt{max: maxStderr}
	cmd := z.command(ctx, args)
	cmd.Stdout, cmd.Stderr = out, said
	begin := time.Now()
	err := z.finish(ctx, cmd, args, said)
	z.log.Debug("zfs command", "command", spoken(args), "took", time.Since(begin), "bytes", out.Len(), "err", err)
	switch {
	case errors.Is(err, errGivenUp):
		return nil, err // the buffer is still the child's
	case err == nil && out.cut:
		return nil, fmt.Errorf("%s: more than %d bytes: %w", spoken(args), maxOutput, ErrOutput)
	}
	return out.Bytes(), err
}

// do runs a short command whose output does not matter.
func (z *ZFS) do(ctx context.Context, args ...string) error {
	_, err := z.run(ctx, args...)
	return err
}

// finish runs a prepared command. What it said though it succeeded is logged: it has no other reader.
func (z *ZFS) finish(ctx context.Context, cmd *exec.Cmd, args []string, said *excerpt) error {
	err := z.bounded(ctx, cmd.Run)
	if errors.Is(err, errGivenUp) {
		return &Error{Command: args, Exit: -1, Kind: ErrTimeout, Cause: err}
	}
	if err == nil && said.Len() > 0 {
		z.log.Warn("zfs warned", "command", spoken(args), "said", plain(said.String()))
	}
	return failure(ctx, args, err, said.String())
}

// command prepares a command. A cancelled context sends SIGTERM, and SIGKILL when the grace is over.
func (z *ZFS) command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, z.find(args[0]), args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Env = z.environ()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = z.grace
	// A group of its own: an interrupt typed at the agent's terminal is not meant for a receive under way.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if z.lock != nil {
		cmd.ExtraFiles = []*os.File{z.lock}
	}
	return cmd
}

var errGivenUp = errors.New("it does not even end on SIGKILL")

// bounded runs f, which ends soon after ctx does, unless its child sleeps in the kernel and cannot be killed: a suspended
// pool does that. Then it is left to itself, with the descriptors that it inherited, and its lock stays held.
func (z *ZFS) bounded(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(2*z.grace + time.Second):
		return errGivenUp
	}
}

// find returns where a command is. The folder of the options goes first, as in overrides, for the child's own children.
func (z *ZFS) find(name string) string {
	if z.path == "" {
		return name
	}
	if at, err := exec.LookPath(filepath.Join(z.path, name)); err == nil {
		return at
	}
	return name
}

// environ is this process's environment and, over it, the commands' own.
func (z *ZFS) environ() []string { return append(os.Environ(), z.overrides()...) }

// overrides are what the commands' environment has differently: messages untranslated, the options' variables, and the
// options' folder first on PATH.
func (z *ZFS) overrides() []string {
	vars := append([]string{"LC_ALL=C"}, z.env...)
	if z.path != "" {
		vars = append(vars, "PATH="+z.path+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	return vars
}

// absolute keeps a folder meaning the same wherever a command runs.
func absolute(dir string) string {
	if dir == "" {
		return ""
	}
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

// output keeps what a command prints, up to a bound; then it swallows, so that the command still ends.
type output struct {
	bytes.Buffer
	max int
	cut bool
}

func (o *output) Write(p []byte) (int, error) {
	if o.Len()+len(p) > o.max {
		o.cut = true
		return len(p), nil
	}
	return o.Buffer.Write(p)
}

// excerpt keeps the first and the last of what a command says: the error stands at one end, a usage text fills the rest.
type excerpt struct {
	head, tail []byte
	max        int
	cut        bool
}

func (e *excerpt) Write(p []byte) (int, error) {
	n := min(len(p), e.max/2-len(e.head))
	e.head = append(e.head, p[:n]...)
	e.tail = append(e.tail, p[n:]...)
	if over := len(e.tail) - e.max/2; over > 0 {
		e.tail, e.cut = append([]byte(nil), e.tail[over:]...), true
	}
	return len(p), nil
}

// Len returns how much is kept.
func (e *excerpt) Len() int { return len(e.head) + len(e.tail) }

// String returns what is kept, with a mark where something is left out.
func (e *excerpt) String() string {
	if e.cut {
		return string(e.head) + "\n[...]\n" + string(e.tail)
	}
	return string(e.head) + string(e.tail)
}
