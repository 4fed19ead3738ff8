package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrRunning says that a process has this lab already.
var ErrRunning = errors.New("this lab is running already")

// freeAddress returns a loopback address with the given port, or with a free one for port 0.
func freeAddress(ctx context.Context, port int) (string, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return "", fmt.Errorf("port %d is taken by another program (%w): stop that program, or start the lab with --any-port", port, err)
	}
	addr := ln.Addr().String()
	return addr, ln.Close()
}

// leftovers is how long parts of a lab that was killed may take to end: Marathon stops its tasks first.
const leftovers = 12 * time.Second

// stillFree makes sure that nobody else listens where this lab was before: its parts would wait for ever, and people would
// talk to another program.
func (l *Lab) stillFree(ctx context.Context, wait time.Duration) error {
	addrs := []string{l.plan.Marathon, l.plan.Mesos}
	for _, n := range l.plan.Nodes {
		addrs = append(addrs, n.Agent)
	}
	end := time.Now().Add(wait)
	for _, addr := range addrs {
		for {
			ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
			if err == nil {
				if err := ln.Close(); err != nil {
					return err
				}
				break
			}
			if time.Now().After(end) {
				return fmt.Errorf("another program has %s, where this lab was before (%w): stop that program, or remove the lab with drover lab reset", addr, err)
			}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

// chooseTaskPorts gives each node a range of its own in which, just now, nobody listens on the first port.
func (l *Lab) chooseTaskPorts(ctx context.Context) error {
	const span = 100
	low := 20000 + (os.Getpid()*7919)%25000/span*span
	for i := range l.plan.Nodes {
		for ; ; low += span {
			if low+span > 65000 {
				return errors.New("no free range of ports for tasks")
			}
			if _, err := freeAddress(ctx, low); err == nil {
				break
			}
		}
		l.plan.Nodes[i].Ports = fmt.Sprintf("%d-%d", low, low+span-1)
		low += span
	}
	return nil
}

// takeLock makes this process the only one that has a lab. The file names it.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lab: %w (process %s)", ErrRunning, holder(path)), f.Close())
	}
	if err := f.Truncate(0); err != nil {
		return nil, errors.Join(fmt.Errorf("lab: %w", err), f.Close())
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("lab: %w", err), f.Close())
	}
	return f, nil
}

func holder(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

// Holder returns the process that runs the lab in a folder; ok is false if none does.
func Holder(dir string) (pid int, ok bool, err error) {
	path := dir + "/lab.lock"
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	} else if err != nil {
		return 0, false, err
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		return 0, false, nil // closing gives it back
	}
	pid, err = strconv.Atoi(holder(path))
	return pid, err == nil, err
}
