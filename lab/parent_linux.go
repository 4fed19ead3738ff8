package lab

import (
	"os/exec"
	"runtime"
	"syscall"
)

// dieWithParent has the kernel stop a part when the lab itself is killed. The signal is tied to the thread that starts the
// part, which is kept until release. A process group of its own keeps a terminal's Ctrl-C from the part: the lab stops it in order.
func dieWithParent(cmd *exec.Cmd) (release func()) {
	runtime.LockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	return runtime.UnlockOSThread
}
