package store

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	seekData = unix.SEEK_DATA
	seekHole = unix.SEEK_HOLE
)

func statTimes(u *unix.Stat_t) (mtime, ctime int64) { return u.Mtim.Nano(), u.Ctim.Nano() }

// keptXattr leaves out what the host's security modules put on files.
func keptXattr(name string) bool { return strings.HasPrefix(name, "user.") }

// punch frees the room of a range and leaves zeros.
func punch(f *os.File, off, n int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}
