package openzfs

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// awaitEnd waits until a child has ended, and leaves it to be waited for.
func awaitEnd(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// reapGroup waits for all of a group's processes that are this process's children, born or inherited.
func reapGroup(group int) error {
	for {
		_, err := syscall.Wait4(-group, nil, 0, nil)
		switch {
		case errors.Is(err, syscall.ECHILD):
			return nil
		case err != nil && !errors.Is(err, syscall.EINTR):
			return err
		}
	}
}
