package zfs

import (
	"log/slog"
	"os"
	"time"
)

// DefaultTimeout bounds a short command if Options names no other: a busy pool of disks needs seconds per transaction group.
const DefaultTimeout = time.Minute

// Options says how the commands are found and run.
type Options struct {
	Path    string        // folder put first on PATH for zfs and zpool; "" takes PATH as it is
	Env     []string      // NAME=value, for the commands only, over this process's environment
	Log     *slog.Logger  // each command at level debug, warnings at level warn; nil for none
	Timeout time.Duration // of a short command, 0 for DefaultTimeout; a stream has none
}

// ZFS runs zfs and zpool. It remembers nothing of what they say but which copies are at rest, see written.go, and may be used by
// several goroutines at once.
type ZFS struct {
	path    string
	env     []string
	log     *slog.Logger
	timeout time.Duration
	grace   time.Duration // between SIGTERM and SIGKILL, and again until a child that cannot die is given up
	lock    *os.File
	noHolds bool
	proofs  *proofs
}

// New returns an adapter. It runs nothing: a missing zfs is found by the first command.
func New(o Options) *ZFS {
	z := &ZFS{path: absolute(o.Path), env: o.Env, log: o.Log, timeout: o.Timeout, grace: 5 * time.Second, proofs: &proofs{}}
	if z.log == nil {
		z.log = slog.New(slog.DiscardHandler)
	}
	if z.timeout <= 0 {
		z.timeout = DefaultTimeout
	}
	return z
}

// Holding returns a copy of z whose children inherit the lock's file descriptor. A flock on it then lives as long as any of
// them: an agent that starts again waits for what its predecessor left running.
func (z *ZFS) Holding(lock *os.File) *ZFS {
	c := *z
	c.lock = lock
	return &c
}

// WithoutHolds returns a copy of z that does not ask whose holds there are: the snapshots that it reads are not Held, whether they are or
// not. It saves a command for each copy.
func (z *ZFS) WithoutHolds() *ZFS {
	c := *z
	c.noHolds = true
	return &c
}
