//go:build !linux

package zfsim

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// inUse asks lsof whether another process uses something under head.
func inUse(head string) (bool, error) {
	who, err := lsof(head, func(string) bool { return true })
	return len(who) > 0, err
}

// writers names the processes that have files under head open for writing.
func writers(head string) ([]string, error) {
	return lsof(head, func(access string) bool { return access == "w" || access == "u" })
}

// lsof lists the processes with descriptors under head. It leaves with 1 when it finds none.
func lsof(head string, want func(access string) bool) ([]string, error) {
	path, err := exec.LookPath("lsof")
	if err != nil {
		return nil, fmt.Errorf("whether %s is in use cannot be told: lsof is not installed", head)
	}
	out, err := exec.Command(path, "-w", "-F", "pcan", "+D", head).Output()
	var code *exec.ExitError
	if err != nil && !errors.As(err, &code) {
		return nil, err
	}
	var who []string
	pid, name := "", ""
	for line := range strings.SplitSeq(string(out), "\n") {
		if line == "" {
			continue
		}
		switch value := line[1:]; line[0] {
		case 'p':
			pid = value
		case 'c':
			name = value
		case 'a':
			if pid != strconv.Itoa(os.Getpid()) && name != "zfs" && want(strings.TrimSpace(value)) {
				who = append(who, fmt.Sprintf("%s (%s)", pid, name))
			}
		}
	}
	return who, nil
}

// mappedForWriting cannot be told here.
func mappedForWriting(string) map[string]bool { return nil }
