package marathond

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// taskAttributes: a session of its own. macOS has no death signal; a task whose executor was killed is ended by the server.
func taskAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// adoptOrphans does nothing: macOS has no subreaper, so only the task's process group is ended with it.
func adoptOrphans() error { return nil }

// processStart tells processes with the same id apart. Empty means that there is no such process.
func processStart(pid int) string {
	k, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil || int(k.Proc.P_pid) != pid {
		return ""
	}
	return fmt.Sprintf("%d.%06d", k.Proc.P_starttime.Sec, k.Proc.P_starttime.Usec)
}

// killChildren does nothing: the group was signalled, and nothing else can be found.
func killChildren() error { return nil }

// processesOf finds nothing: macOS does not show environments.
func processesOf(string) []int { return nil }
