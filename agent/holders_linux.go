package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// holders returns the other processes that have a file open, as far as this one may look into them.
func holders(path string) []holder {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil // it is not: the pattern is good
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	var all []holder
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() || !opens(dir, path) {
			continue
		}
		words, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		since, ok := begun(dir)
		if err != nil || !ok {
			continue // it has ended meanwhile
		}
		all = append(all, holder{pid, strings.Split(strings.TrimRight(string(words), "\x00"), "\x00"), since})
	}
	return all
}

// opens reports whether a process has a file open.
func opens(dir, path string) bool {
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return false
	}
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join(dir, "fd", fd.Name())); err == nil && to == path {
			return true
		}
	}
	return false
}

// begun returns when a process began: field 22 of its stat, in hundredths of a second since boot on every system that Linux runs on.
func begun(dir string) (time.Time, bool) {
	b, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return time.Time{}, false
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // from field 3 on; the name before may hold anything
	if len(fields) < 20 {
		return time.Time{}, false
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	boot, ok := booted()
	return boot.Add(time.Duration(ticks) * 10 * time.Millisecond).Truncate(time.Second), ok && err == nil
}

// booted returns when the system was started.
func booted() (time.Time, bool) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}, false
	}
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(line, "btime "); ok {
			seconds, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			return time.Unix(seconds, 0), err == nil
		}
	}
	return time.Time{}, false
}
