package marathond

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// taskAttributes: a session of its own, and no life without its executor.
func taskAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}

// adoptOrphans makes this process the parent of everything its task leaves behind, even in other sessions.
func adoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	return nil
}

// statFields are the fields of /proc/PID/stat after the command name: state is 0, ppid 1, start time 19.
func statFields(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	i := bytes.LastIndexByte(data, ')')
	if i < 0 {
		return nil
	}
	return strings.Fields(string(data[i+1:]))
}

// processStart tells processes with the same id apart: clock ticks since boot, and the boot's id. Empty means that there
// is no such process.
func processStart(pid int) string {
	f := statFields(pid)
	if len(f) < 20 || f[0] == "Z" {
		return ""
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		boot = nil
	}
	return f[19] + "@" + strings.TrimSpace(string(boot))
}

func allProcesses() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			out = append(out, pid)
		}
	}
	return out
}

// killChildren ends every child of this process, adopted ones included.
func killChildren() error {
	var errs []error
	me := strconv.Itoa(os.Getpid())
	for _, pid := range allProcesses() {
		if f := statFields(pid); len(f) > 1 && f[1] == me && f[0] != "Z" {
			errs = append(errs, signalTo(pid, syscall.SIGKILL))
		}
	}
	return errors.Join(errs...)
}

// processesOf finds what runs with a task's id in its environment.
func processesOf(taskID string) []int {
	mark := []byte("MESOS_TASK_ID=" + taskID)
	var out []int
	for _, pid := range allProcesses() {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil {
			continue
		}
		for kv := range bytes.SplitSeq(env, []byte{0}) {
			if bytes.Equal(kv, mark) {
				out = append(out, pid)
			}
		}
	}
	return out
}
