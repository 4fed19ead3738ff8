//go:build !linux

package usage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/drover-project/drover/state"
)

// interval is the time between two looks of Await; each runs lsof.
const interval = 250 * time.Millisecond

// find asks lsof. There are no mount namespaces here, and files are told apart by their path alone. lsof sees the processes
// of other users only as root and does not say whom it left out.
func find(ctx context.Context, targets []Target) (Report, error) {
	r := Report{Found: make([]Found, len(targets))}
	out, err := exec.CommandContext(ctx, "lsof", "-n", "-P", "-w", "-F", "pRcfn").Output()
	if exit := (*exec.ExitError)(nil); err != nil && !(errors.As(err, &exit) && len(out) > 0) {
		return r, fmt.Errorf("lsof: %w", err)
	}
	paths := make([][]string, len(targets))
	for i, t := range targets {
		paths[i] = t.paths()
	}
	for f := range lsofFiles(out) {
		for i := range targets {
			if withinAny(f.path, paths[i]) && !ours(f.pid, f.parent, f.command) {
				add(&r.Found[i], state.User{PID: f.pid, Command: f.command, How: f.how})
			}
		}
	}
	return r, nil
}

func add(f *Found, u state.User) {
	for _, have := range f.Users {
		if have.PID == u.PID {
			return
		}
	}
	f.Users = append(f.Users, u)
}

func remain([]state.User, Target) bool { return false } // a look at some costs as much as one at all

// file is one use of one file by one process.
type file struct {
	pid, parent        int
	command, how, path string
}

// lsofFiles reads lsof's field output: lines of one letter and a value; p begins a process, f a file.
func lsofFiles(out []byte) func(func(file) bool) {
	return func(yield func(file) bool) {
		var f file
		for line := range bytes.Lines(out) {
			key, value := line[0], strings.TrimSuffix(string(line[1:]), "\n")
			switch key {
			case 'p':
				f = file{}
				f.pid, _ = strconv.Atoi(value)
			case 'R':
				f.parent, _ = strconv.Atoi(value)
			case 'c':
				f.command = value
			case 'f':
				f.how = how(value)
			case 'n':
				if f.path = value; !yield(f) {
					return
				}
			}
		}
	}
}

func how(fd string) string {
	switch fd {
	case "cwd":
		return "cwd"
	case "rtd":
		return "root"
	case "txt", "mem":
		return "mapped"
	}
	return "open"
}
