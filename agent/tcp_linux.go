package agent

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// vanishing has a connection broken when what was sent on it is not acknowledged for so long: keep-alives only go over a connection that
// waits for nothing, and the kernel by itself sends again for a quarter of an hour.
func vanishing(_, _ string, conn syscall.RawConn) error {
	var err error
	cerr := conn.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(vanishedAfter.Milliseconds()))
	})
	return errors.Join(cerr, err)
}
