package openzfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience is how long a node may take for what it does in a second or two when nobody else needs the processors. It decides
// nothing while all is well.
const patience = 10 * time.Minute

// Node is one machine: a kernel under User-mode Linux with a disk file and an address. It is used by one goroutine at a time,
// but for commands, of which any number may run.
type Node struct {
	// Name is its host name, IP its address.
	Name, IP string

	c *Cluster
	*machine
}

// machine is a node apart from the test that looks at it.
type machine struct {
	number  int
	dir     string // appears in the node as /node
	hasPool bool
	serial  *os.File

	mu   sync.Mutex
	gone chan struct{} // closed when its processes have ended; nil if it was never started
	pid  int           // of its first process, and of the group of all
}

func (n *Node) path(elem ...string) string {
	return filepath.Join(append([]string{n.dir}, elem...)...)
}

func (n *Node) makeDisk(bytes int64) error {
	disk, err := os.Create(n.path("disk"))
	if err != nil {
		return err
	}
	if err := errors.Join(disk.Truncate(bytes), disk.Close()); err != nil {
		return err
	}
	if err := syscall.Mkfifo(n.path("serial"), 0o600); err != nil {
		return err
	}
	// For reading and writing, so that neither end ever sees it closed.
	n.serial, err = os.OpenFile(n.path("serial"), os.O_RDWR, 0)
	return err
}

// Start starts a node that was cut off or stopped, with the disk that it had, imports its pool and mounts what mounts by itself.
func (n *Node) Start() {
	n.c.t.Helper()
	n.c.must(n.start())
}

func (n *Node) start() error {
	if err := n.boot(); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	if n.c.o.NoPool {
		return nil
	}
	script := "zpool import -f -d /dev/ubda -o cachefile=none -N " + Pool + " && zfs mount -a"
	if !n.hasPool {
		script = "zpool create -f -o cachefile=none -O canmount=off -O mountpoint=none -O compression=lz4 " + Pool + " /dev/ubda"
	}
	if r := n.Try(n.c.t.Context(), script); r.Err != nil {
		return r.Err
	}
	n.hasPool = true
	return nil
}

// boot starts the kernel and waits until it takes commands.
func (n *Node) boot() error {
	if n.Alive() {
		return errors.New("it runs already")
	}
	if err := errors.Join(os.RemoveAll(n.path("up")), os.RemoveAll(n.path("jobs"))); err != nil {
		return err
	}
	console, err := os.OpenFile(n.path("console"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	cmd := n.command(console)
	if err := cmd.Start(); err != nil {
		return errors.Join(err, console.Close())
	}
	gone := make(chan struct{})
	n.mu.Lock()
	n.pid, n.gone = cmd.Process.Pid, gone
	n.mu.Unlock()
	go n.reap(cmd, console, gone)
	ctx, cancel := context.WithTimeout(n.c.t.Context(), patience)
	defer cancel()
	if !poll(ctx, func() bool { return exists(n.path("up")) }, gone) {
		return fmt.Errorf("it does not come up:\n%s", n.Console())
	}
	return nil
}

// image is the folder of what the node is made of.
func (n *Node) image() string { return n.c.images[(n.number-1)%len(n.c.images)] }

// command is the kernel's command line.
func (n *Node) command(console *os.File) *exec.Cmd {
	cmd := exec.Command(filepath.Join(n.image(), "linux"), //nolint:noctx // it outlives every context of the test; Cut ends it
		fmt.Sprintf("mem=%dM", n.c.o.Memory), "initrd="+filepath.Join(n.image(), "initrd"), "root=/dev/ram0", "quiet",
		"umid="+n.Name, "uml_dir="+n.path("uml"), "con=null", "con0=null,fd:1", "ssl=null", "ssl0=fd:3,null",
		fmt.Sprintf("vec0:transport=raw,ifname=%s,depth=128,gro=1,mac=%s", n.c.net.wire(n.number), n.c.net.mac(n.number)),
		"ubd0="+n.path("disk"), "node="+n.Name, "ip="+n.IP+"/24", "dir="+n.dir, "share="+n.c.Dir)
	cmd.Dir = n.dir
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+filepath.Join(n.image(), "epoll.so"))
	// A pipe, which the kernel can poll, as it cannot a file.
	cmd.Stdout = writer{console}
	cmd.Stderr = cmd.Stdout
	cmd.ExtraFiles = []*os.File{n.serial}
	// The group is the whole node.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// writer hides that the console is a file, so that os/exec makes a pipe.
type writer struct{ f *os.File }

func (w writer) Write(p []byte) (int, error) { return w.f.Write(p) }

// reap waits for the kernel's first process and then for all others of its group. They become children of this process, the
// first of its namespace, when their parents end.
func (n *Node) reap(cmd *exec.Cmd, console *os.File, gone chan<- struct{}) {
	defer close(gone)
	group := cmd.Process.Pid
	err := awaitEnd(group)
	// A kernel that ended by itself leaves the processes that it had traced, and they keep the console open.
	if kerr := syscall.Kill(-group, syscall.SIGKILL); !errors.Is(kerr, syscall.ESRCH) {
		err = errors.Join(err, kerr)
	}
	if werr := cmd.Wait(); cmd.ProcessState == nil {
		err = errors.Join(err, werr)
	}
	if err = errors.Join(err, reapGroup(group), console.Close()); err != nil {
		n.c.owner.Errorf("the end of %s: %v", n.Name, err)
	}
}

// Alive says whether the node's kernel runs.
func (n *Node) Alive() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gone == nil {
		return false
	}
	select {
	case <-n.gone:
		return false
	default:
		return true
	}
}

// running returns what is closed when the node's kernel ends.
func (n *Node) running() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.gone
}

// Cut cuts the power: all of the node is gone at once, but what its disk has. What this machine has taken from the node's kernel
// for its disk file counts as written, so that a missing flush of the disk is not found this way.
func (n *Node) Cut() {
	n.mu.Lock()
	pid, gone := n.pid, n.gone
	n.mu.Unlock()
	if !n.Alive() {
		return
	}
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		n.c.t.Errorf("cut %s: %v", n.Name, err)
	}
	<-gone
}

// Stop exports the node's pools and shuts it down.
func (n *Node) Stop() {
	n.c.t.Helper()
	gone := n.running()
	n.c.must(n.say("poweroff"))
	ctx, cancel := context.WithTimeout(n.c.t.Context(), patience)
	defer cancel()
	select {
	case <-gone:
	case <-ctx.Done():
		n.c.t.Fatalf("%s does not stop:\n%s", n.Name, n.Console())
	}
}

// Link puts the node's network cable in, or takes it out.
func (n *Node) Link(up bool) {
	n.c.t.Helper()
	n.c.must(n.c.net.link(n.number, up))
}

// end is the node's part of the end of the test.
func (n *Node) end() {
	if n.c.t.Failed() {
		n.c.t.Logf("console of %s:\n%s", n.Name, n.Console())
	}
	n.Cut()
	n.c.check(n.serial.Close())
}

// Console returns the end of what the node's kernel and daemons have printed.
func (n *Node) Console() string {
	const most = 16 << 10
	b, err := os.ReadFile(n.path("console"))
	if err != nil {
		return err.Error()
	}
	return strings.ToValidUTF8(string(b[max(0, len(b)-most):]), "?")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// ZFS runs zfs in the node, as an operator would, and returns what it printed. The test ends if it fails.
func (n *Node) ZFS(args ...string) string {
	n.c.t.Helper()
	return n.Sh("zfs " + quote(args))
}

// Sh runs a script of /bin/sh in the node and returns what it printed. The test ends if it fails.
func (n *Node) Sh(script string) string {
	n.c.t.Helper()
	r := n.Try(n.c.t.Context(), script)
	n.c.must(r.Err)
	return strings.TrimSpace(r.Out)
}

// Try runs a script of /bin/sh in the node.
func (n *Node) Try(ctx context.Context, script string) Result {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	j, err := n.Begin(script)
	if err != nil {
		return Result{Code: -1, Err: err}
	}
	return j.Wait(ctx)
}
