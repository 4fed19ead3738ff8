//go:build unix

package gate

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// share lets several gates of one user listen on the same address, as all nodes of the lab do on one loopback, and lets a
// restarted gate listen where connections of its predecessor are still ending.
func share(_, _ string, c syscall.RawConn) error {
	var set error
	err := c.Control(func(fd uintptr) {
		set = errors.Join(
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		)
	})
	return errors.Join(err, set)
}
