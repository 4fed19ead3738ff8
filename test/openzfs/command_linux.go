package openzfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrCut says that the node went away while a command ran; what it did until then is not known.
var ErrCut = errors.New("the node was cut off")

// Result is what a command in a node left.
type Result struct {
	Out, Stderr string
	Code        int   // exit code; -1 if there is none
	Err         error // nil if the code is 0
}

// Command is a command that was begun in a node.
type Command struct {
	n      *Node
	dir    string
	script string
	gone   <-chan struct{}
}

// Begin begins a script of /bin/sh in the node and does not wait for it.
func (n *Node) Begin(script string) (*Command, error) {
	gone := n.running()
	if !n.Alive() {
		return nil, fmt.Errorf("%s does not run", n.Name)
	}
	if err := os.MkdirAll(n.path("jobs"), 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(n.path("jobs"), "")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "cmd"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		return nil, err
	}
	return &Command{n: n, dir: dir, script: script, gone: gone}, n.say("jobs/" + filepath.Base(dir))
}

// say writes a line to the node's first process. A pipe takes a line whole.
func (n *Node) say(line string) error {
	_, err := n.serial.WriteString(line + "\n")
	return err
}

// Wait waits for the command's end, for the node's, or for the context's; then the command goes on.
func (c *Command) Wait(ctx context.Context) Result {
	rc := filepath.Join(c.dir, "rc")
	if poll(ctx, func() bool { return exists(rc) }, c.gone) {
		return c.result()
	}
	err := context.Cause(ctx)
	if err == nil {
		err = ErrCut
	}
	return Result{Code: -1, Out: c.read("out"), Stderr: c.read("err"), Err: fmt.Errorf("%s: %s: %w", c.n.Name, c.script, err)}
}

// result reads what a command that has ended left, and removes it.
func (c *Command) result() Result {
	r := Result{Out: c.read("out"), Stderr: c.read("err")}
	code, err := strconv.Atoi(strings.TrimSpace(c.read("rc")))
	r.Code = code
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d: %s", code, strings.TrimSpace(r.Stderr))
	}
	if err = errors.Join(err, os.RemoveAll(c.dir)); err != nil {
		r.Err = fmt.Errorf("%s: %s: %w", c.n.Name, c.script, err)
	}
	return r
}

// Signal sends a signal, such as "TERM" or "KILL", to all processes of the command's group. A command that has ended gets none,
// which is no error.
func (c *Command) Signal(ctx context.Context, name string) error {
	select {
	case <-c.gone:
		return ErrCut
	default:
	}
	dir := "/node/jobs/" + filepath.Base(c.dir)
	// Its group has no number until it begins, and no folder once its result was read.
	return c.n.Try(ctx, "cd "+dir+" 2>/dev/null || exit 0\n"+
		"while [ -e cmd ] && [ ! -s pid ]; do sleep 0.01; done\n"+
		"[ ! -e cmd ] || [ -e rc ] || kill -s "+name+" -- -$(cat pid) || [ -e rc ] || [ ! -e cmd ]").Err
}

// read returns a file of the command's; what is not there yet is empty.
func (c *Command) read(name string) string {
	b, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return string(b)
}

// quote writes words so that /bin/sh reads them as they are.
func quote(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}
