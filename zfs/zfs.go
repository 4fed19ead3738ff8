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
	Log     *slog.Logger  // one line per command at level debug, warnings at level warn; nil for none
	Timeout time.Duration // of short commands, 0 for DefaultTimeout; a stream has none
}

// ZFS runs zfs and zpool. It holds no state of theirs and may be used by several goroutines at once.
type ZFS struct {
	path    string
	env     []string
	log     *slog.Logger
	timeout time.Duration
	lock    *os.File
}
