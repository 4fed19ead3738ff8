package usage

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drover-project/drover/state"
)

// interval is the time between two looks of Await. Ten milliseconds are little beside an app's stop.
const interval = 10 * time.Millisecond

const proc = "/proc"

// device identifies a mounted filesystem in every namespace.
type device struct{ major, minor uint32 }

// place is what a target looks like from a process: files on its devices, or below its paths if it has no device of its own.
type place struct {
	devices map[device]bool
	paths   []string
}

func find(ctx context.Context, targets []Target) (Report, error) {
	r := Report{Found: make([]Found, len(targets))}
	l := look{targets: targets, places: make([]place, len(targets)), report: &r, spaces: map[string]bool{}}
	if err := l.own(); err != nil {
		return r, err
	}
	// A process that ends while it is looked for may have left a child that is not in the list: look at newcomers too.
	seen := map[int]bool{}
	for {
		fresh, err := newcomers(seen)
		if err != nil || len(fresh) == 0 {
			return r, err
		}
		if err := l.processes(ctx, fresh); err != nil {
			return r, err
		}
	}
}

// newcomers returns the processes that are not in seen, and adds them.
func newcomers(seen map[int]bool) ([]int, error) {
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	var fresh []int
	for _, pid := range pids {
		if !seen[pid] {
			seen[pid] = true
			fresh = append(fresh, pid)
		}
	}
	return fresh, nil
}

// processes looks at some processes. Their namespaces come first: they say which devices to look for.
func (l *look) processes(ctx context.Context, pids []int) error {
	for _, pid := range pids {
		l.namespace(pid)
	}
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.process(pid)
	}
	return nil
}

// remain reports whether one of the users is still there; it looks only at them.
func remain(users []state.User, t Target) bool {
	r := Report{Found: make([]Found, 1)}
	l := look{targets: []Target{t}, places: make([]place, 1), report: &r, spaces: map[string]bool{}}
	if err := l.own(); err != nil {
		return false // the full look says why
	}
	for _, u := range users {
		l.namespace(u.PID)
		l.process(u.PID)
	}
	return len(r.Found[0].Users) > 0
}

// look is one look at some processes.
type look struct {
	targets []Target
	places  []place
	spaces  map[string]bool // mount namespaces that were read
	report  *Report
}

// own reads the caller's namespace: a target that is a mount there is known by its device from then on, one that is not
// (a link, a plain folder) by its path.
func (l *look) own() error {
	mounts, err := readMounts(filepath.Join(proc, "self"))
	if err != nil {
		return err
	}
	space, err := os.Readlink(filepath.Join(proc, "self/ns/mnt"))
	if err != nil {
		return err
	}
	l.spaces[space] = true
	for i, t := range l.targets {
		l.places[i].devices = map[device]bool{}
		for _, m := range mounts {
			if t.has(m.source) {
				l.places[i].devices[m.device] = true
			}
		}
		if len(l.places[i].devices) == 0 {
			l.places[i].paths = t.paths()
		}
	}
	return nil
}

// namespace reads a process's mount table if its namespace was not seen yet.
func (l *look) namespace(pid int) {
	dir := filepath.Join(proc, strconv.Itoa(pid))
	space, err := os.Readlink(filepath.Join(dir, "ns/mnt"))
	if err != nil || l.spaces[space] {
		return // what cannot be read is counted when its files cannot be read
	}
	mounts, err := readMounts(dir)
	if err != nil {
		return
	}
	l.spaces[space] = true
	for i, t := range l.targets {
		for _, m := range mounts {
			if t.has(m.source) {
				l.places[i].devices[m.device] = true
				l.mounted(i, pid, m.point)
			}
		}
	}
}

// mounted records a mount in another namespace. It makes no user if the caller has it mounted itself, unless it should rest: services
// with a namespace of their own carry every mount of the machine and use none of them.
func (l *look) mounted(i, pid int, point string) {
	command, _, _ := status(pid)
	f := &l.report.Found[i]
	f.Mounts = append(f.Mounts, point+" of pid "+strconv.Itoa(pid)+" "+command)
	if l.targets[i].Path == "" || l.targets[i].Resting {
		f.Users = append(f.Users, state.User{PID: pid, Command: command, How: "mounted"})
	}
}

// process looks at what one process has open, in which folders it is, and what it has mapped.
func (l *look) process(pid int) {
	command, parent, thread := status(pid)
	if thread || ours(pid, parent, command) {
		return
	}
	dir := filepath.Join(proc, strconv.Itoa(pid))
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			l.report.Unseen++
		}
		return
	}
	links := make([]string, 0, len(fds)+2)
	for _, fd := range fds {
		links = append(links, "fd/"+fd.Name())
	}
	hows := map[string]string{"cwd": "cwd", "root": "root"}
	for _, link := range append(links, "cwd", "root") {
		l.link(pid, command, filepath.Join(dir, link), hows[link])
	}
	l.maps(pid, command, dir)
}

// link sees where one of /proc's links leads.
func (l *look) link(pid int, command, link, how string) {
	to, err := os.Readlink(link)
	if err != nil || !strings.HasPrefix(to, "/") {
		return // closed meanwhile; or a pipe, a socket
	}
	if how == "" {
		how = "open"
	}
	var dev *device
	for i := range l.places {
		if l.uses(i, to, link, &dev) {
			l.user(i, pid, command, how)
		}
	}
}

// uses reports whether a link leads into target i. The device is asked for at most once, and without going to a server that
// may be dead.
func (l *look) uses(i int, to, link string, dev **device) bool {
	if withinAny(to, l.places[i].paths) {
		return true
	}
	if len(l.places[i].devices) == 0 {
		return false
	}
	if *dev == nil {
		*dev = deviceOf(link)
	}
	return l.places[i].devices[**dev]
}

func deviceOf(path string) *device {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, 0, &st)
	if err != nil {
		return &device{} // 0:0 is nobody's
	}
	return &device{st.Dev_major, st.Dev_minor}
}

// user records a user once, by the first use that was found.
func (l *look) user(i, pid int, command, how string) {
	f := &l.report.Found[i]
	for j, u := range f.Users {
		if u.PID == pid {
			if u.How == "mounted" {
				f.Users[j].How = how
			}
			return
		}
	}
	f.Users = append(f.Users, state.User{PID: pid, Command: command, How: how})
}

// maps sees what a process has mapped: a mapping outlives its file descriptor.
func (l *look) maps(pid int, command, dir string) {
	b, err := os.ReadFile(filepath.Join(dir, "maps"))
	if err != nil {
		return // ended meanwhile; a lack of rights was seen at its file descriptors
	}
	for line := range bytes.Lines(b) {
		dev, path, ok := mapping(string(line))
		if !ok {
			continue
		}
		for i, p := range l.places {
			if withinAny(path, p.paths) || p.devices[dev] {
				l.user(i, pid, command, "mapped")
			}
		}
	}
}

// mapping reads a line of maps: "start-end perms offset major:minor inode   path".
func mapping(line string) (device, string, bool) {
	fields := strings.Fields(line)
	if len(fields) < 6 || fields[4] == "0" {
		return device{}, "", false
	}
	major, minor, ok := strings.Cut(fields[3], ":")
	ma, err1 := strconv.ParseUint(major, 16, 32)
	mi, err2 := strconv.ParseUint(minor, 16, 32)
	at := strings.IndexByte(line, '/')
	if !ok || err1 != nil || err2 != nil || at < 0 {
		return device{}, "", false
	}
	return device{uint32(ma), uint32(mi)}, strings.TrimSuffix(line[at:], "\n"), true
}

// status reads a process's name and parent, and whether it is a kernel thread.
func status(pid int) (command string, parent int, thread bool) {
	b, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", 0, false
	}
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return "", 0, false
	}
	command = string(b[open+1 : end])
	fields := strings.Fields(string(b[end+1:])) // state, parent, group, session, tty, tty group, flags
	if len(fields) < 7 {
		return command, 0, false
	}
	parent, _ = strconv.Atoi(fields[1])
	flags, _ := strconv.ParseUint(fields[6], 10, 64)
	const kernelThread = 0x00200000 // PF_KTHREAD
	return command, parent, flags&kernelThread != 0
}

func processes() ([]int, error) {
	d, err := os.Open(proc)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// mount is a line of a mount table.
type mount struct {
	device device
	point  string
	source string
}

// readMounts reads the mount table of the process whose /proc folder is dir.
func readMounts(dir string) ([]mount, error) {
	b, err := os.ReadFile(filepath.Join(dir, "mountinfo"))
	if err != nil {
		return nil, err
	}
	var mounts []mount
	for line := range strings.Lines(string(b)) {
		if m, ok := parseMount(line); ok {
			mounts = append(mounts, m)
		}
	}
	return mounts, nil
}

// parseMount reads "id parent major:minor root point options [tags] - type source options"; see proc(5).
func parseMount(line string) (mount, bool) {
	before, after, ok := strings.Cut(line, " - ")
	head, tail := strings.Fields(before), strings.Fields(after)
	if !ok || len(head) < 5 || len(tail) < 2 {
		return mount{}, false
	}
	major, minor, _ := strings.Cut(head[2], ":")
	ma, err1 := strconv.ParseUint(major, 10, 32)
	mi, err2 := strconv.ParseUint(minor, 10, 32)
	if err1 != nil || err2 != nil {
		return mount{}, false
	}
	return mount{device{uint32(ma), uint32(mi)}, unescape(head[4]), unescape(tail[1])}, true
}

// unescape undoes the octal escapes of mount tables (space, tab, newline, backslash).
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
