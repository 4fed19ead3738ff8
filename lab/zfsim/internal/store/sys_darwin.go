package store

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// macOS numbers them the other way round than Linux.
const (
	seekHole = 3
	seekData = 4
)

func statTimes(u *unix.Stat_t) (mtime, ctime int64) { return u.Mtim.Nano(), u.Ctim.Nano() }

// keptXattr leaves out what the system itself puts on files.
func keptXattr(name string) bool { return !strings.HasPrefix(name, "com.apple.") }

// punch is not offered: the callers write zeros, or leave the room taken.
func punch(*os.File, int64, int64) error { return errors.ErrUnsupported }
