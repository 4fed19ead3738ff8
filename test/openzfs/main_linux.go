package openzfs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
)

// envFolder tells a test process that it is alone in its namespaces, and where its clusters keep their files.
const envFolder = "DROVER_OPENZFS_FOLDER"

var (
	// unavailable says why there can be no nodes; nil if there can.
	unavailable error
	skipped     atomic.Int64
)

// Main runs a package's tests where they can have nodes, and ends the process.
func Main(m *testing.M) {
	if code, ok := role(os.Args[1:]); ok {
		os.Exit(code)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if Native() {
		unavailable = errors.New("DROVER_TEST_ZFS=native asks for this machine's own OpenZFS, which cannot be cut off")
		return summarize(m.Run())
	}
	if os.Getenv(envFolder) != "" {
		if err := settle(); err != nil {
			fmt.Fprintln(os.Stderr, "openzfs:", err)
			return 1
		}
		return m.Run()
	}
	if unavailable = possible(); unavailable != nil {
		return summarize(m.Run())
	}
	code, err := alone()
	if err != nil {
		fmt.Fprintln(os.Stderr, "openzfs:", err)
		return 1
	}
	return code
}

// summarize says at the end what was not tested.
func summarize(code int) int {
	if n := skipped.Load(); n > 0 {
		fmt.Fprintf(os.Stderr, "SKIPPED %d tests on nodes with OpenZFS: %v\n", n, unavailable)
	}
	return code
}

// possible returns why this machine cannot have nodes.
func possible() error {
	if os.Geteuid() != 0 {
		return errors.New("nodes with OpenZFS need root, for network namespaces")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return errors.New("nodes with OpenZFS need the program ip, of Debian's iproute2")
	}
	_, err := image(DefaultRelease)
	return err
}

// alone runs this program's tests once more, as the first process of namespaces of its own, and returns its exit code.
func alone() (code int, err error) {
	folder, lock, err := claimFolder()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder), lock.Close()) }()
	// The death signal goes with the thread that started the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, os.Args[1:]...) //nolint:noctx // it is the tests themselves, and ends with this process
	cmd.Env = append(os.Environ(), envFolder+"="+folder)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("namespaces: %w", err)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	go forward(signals, cmd.Process)
	err = cmd.Wait()
	signal.Stop(signals)
	close(signals)
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		if ended.ExitCode() < 0 {
			return 0, fmt.Errorf("the process of the tests: %w", err)
		}
		return ended.ExitCode(), nil
	}
	return 0, err
}

func forward(signals <-chan os.Signal, to *os.Process) {
	for s := range signals {
		if err := to.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
			fmt.Fprintln(os.Stderr, "openzfs:", err)
		}
	}
}

// settle makes itself at home in new namespaces: no mount gets out, /proc shows the processes that are here.
func settle() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts in: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// Where nodes mount volumes. Marathon looks there for the folders of volumes before it starts a task, though on this side.
	if err := syscall.Mount("tmpfs", "/mnt", "tmpfs", 0, "size=1m"); err != nil {
		return fmt.Errorf("mount /mnt: %w", err)
	}
	// Marathon takes a port for a moment to see that it is free, on an address that a node has.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_nonlocal_bind", []byte("1"), 0); err != nil {
		return err
	}
	return ip("link set lo up")
}

const folderPattern = "drover-openzfs-"

// claimFolder makes a folder for the disks of nodes, and removes those of processes that were killed before they could. It is
// this process's for as long as the lock is open. Its path is short because the kernels of nodes make sockets in it.
func claimFolder() (folder string, lock *os.File, err error) {
	olds, err := filepath.Glob(filepath.Join(os.TempDir(), folderPattern+"*"))
	if err != nil {
		return "", nil, err
	}
	for _, old := range olds {
		if lock, err := lockFolder(old); err == nil {
			err = errors.Join(os.RemoveAll(old), lock.Close())
			if err != nil {
				return "", nil, err
			}
		}
	}
	if folder, err = os.MkdirTemp("", folderPattern); err != nil {
		return "", nil, err
	}
	lock, err = lockFolder(folder)
	return folder, lock, err
}

// lockFolder fails if another process has the folder.
func lockFolder(folder string) (*os.File, error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
