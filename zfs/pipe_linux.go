package zfs

import (
	"os"

	"golang.org/x/sys/unix"
)

// growPipe asks for a buffer of that size; the system caps it at /proc/sys/fs/pipe-max-size for those without privilege.
// It goes by SyscallConn, since Fd would make the file blocking and its Close useless against a blocked read.
func growPipe(f *os.File, size int) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(fd uintptr) {
		_, failed = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, size)
	}); err != nil {
		return err
	}
	return failed
}
