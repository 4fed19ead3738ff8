package zfsim

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// inUse reports whether a process has its working or root directory, an open file or a mapping under head. Of
// processes of other users only what the kernel lets us see counts.
func inUse(head string) (bool, error) {
	pids, err := processes()
	if err != nil {
		return false, err
	}
	self := executable("self")
	for _, pid := range pids {
		if dirUnder(pid, "cwd", head) || dirUnder(pid, "root", head) {
			return true, nil
		}
		if executable(pid) == self {
			continue // another zfs that looks at the head passes
		}
		if len(openUnder(pid, head)) > 0 || mapsUnder(pid, head) {
			return true, nil
		}
	}
	return false, nil
}

// writers names the processes that have files under head open for writing.
func writers(head string) ([]string, error) {
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	var who []string
	for _, pid := range pids {
		for _, fd := range openUnder(pid, head) {
			if openForWriting(pid, fd) {
				comm, _ := os.ReadFile(filepath.Join("/proc", pid, "comm")) // it may just have ended
				who = append(who, fmt.Sprintf("%s (%s)", pid, strings.TrimSpace(string(comm))))
				break
			}
		}
	}
	return who, nil
}

func processes() ([]string, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer d.Close() // only read
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	pids := names[:0]
	for _, n := range names {
		if _, err := strconv.Atoi(n); err == nil {
			pids = append(pids, n)
		}
	}
	return pids, nil
}

func executable(pid string) string {
	s, err := os.Readlink(filepath.Join("/proc", pid, "exe"))
	if err != nil {
		return "?" + pid
	}
	return s
}

func dirUnder(pid, what, head string) bool {
	s, err := os.Readlink(filepath.Join("/proc", pid, what))
	return err == nil && under(s, head)
}

// openUnder returns the descriptors of a process that lead under head, files that were deleted meanwhile included.
func openUnder(pid, head string) []string {
	dir := filepath.Join("/proc", pid, "fd")
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close() // only read
	fds, err := d.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var found []string
	for _, fd := range fds {
		if s, err := os.Readlink(filepath.Join(dir, fd)); err == nil && under(s, head) {
			found = append(found, fd)
		}
	}
	return found
}

func mapsUnder(pid, head string) bool {
	b, err := os.ReadFile(filepath.Join("/proc", pid, "maps"))
	return err == nil && bytes.Contains(b, []byte(" "+head+"/"))
}

func openForWriting(pid, fd string) bool {
	b, err := os.ReadFile(filepath.Join("/proc", pid, "fdinfo", fd))
	if err != nil {
		return false
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if octal, ok := strings.CutPrefix(line, "flags:"); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(octal), 8, 64)
			return err == nil && n&3 != 0
		}
	}
	return false
}

// mappedForWriting returns the paths below head that a process has mapped shared and writable.
func mappedForWriting(head string) map[string]bool {
	pids, err := processes()
	if err != nil {
		return nil // without /proc nothing can be told
	}
	mapped := map[string]bool{}
	for _, pid := range pids {
		b, err := os.ReadFile(filepath.Join("/proc", pid, "maps"))
		if err != nil || !bytes.Contains(b, []byte(head)) {
			continue
		}
		for line := range strings.SplitSeq(string(b), "\n") {
			if i := strings.Index(line, " "+head+"/"); i > 0 && strings.Contains(line[:i], " rw-s ") {
				mapped[line[i+len(head)+2:]] = true
			}
		}
	}
	return mapped
}
