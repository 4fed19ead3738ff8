package lab

import (
	"os/exec"
	"syscall"
)

// dieWithParent has no such signal on macOS: after a kill -9 of the lab its parts must be stopped by hand. A process group of its
// own keeps a terminal's Ctrl-C from the part: the lab stops it in order.
func dieWithParent(cmd *exec.Cmd) (release func()) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return func() {}
}
