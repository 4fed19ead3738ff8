package agent

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncFilesystem writes to disk what is in memory for the filesystem at path: pages written through a mapping are in no
// snapshot before, and would reach the disk when readonly is lifted again.
func syncFilesystem(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}

// immutable is FS_IMMUTABLE_FL of linux/fs.h.
const immutable = 0x10

// makeImmutable keeps even root from writing to a folder by mistake (chattr +i).
func makeImmutable(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	flags, err := unix.IoctlGetInt(int(d.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return err
	}
	if flags&immutable != 0 {
		return nil
	}
	return unix.IoctlSetPointerInt(int(d.Fd()), unix.FS_IOC_SETFLAGS, flags|immutable)
}
