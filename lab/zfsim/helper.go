package zfsim

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// TB is what Build and NewMachine need of a testing.TB. It is an interface of its own so that the program does not
// carry the testing package.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	TempDir() string
	Cleanup(func())
}

var build = sync.OnceValues(func() (string, error) {
	cache := filepath.Join(os.TempDir(), fmt.Sprintf("drover-zfsim-%d", os.Getuid()))
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(cache, "new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp) // moved away, or of no use
	if err := BuildInto(tmp); err != nil {
		return "", err
	}
	return keep(cache, tmp)
})

// keep moves a freshly built folder to a name made of its content, so that equal builds share one and others do not
// meet. It removes builds that nobody has made for a day.
func keep(cache, tmp string) (string, error) {
	b, err := os.ReadFile(filepath.Join(tmp, "zfs"))
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, fmt.Sprintf("%x", sha256.Sum256(b))[:16])
	if err := os.Rename(tmp, dir); err != nil {
		if _, serr := os.Stat(filepath.Join(dir, "zpool")); serr != nil {
			return "", err
		}
	}
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err != nil {
		return "", err
	}
	olds, err := os.ReadDir(cache)
	for _, o := range olds {
		if st, serr := o.Info(); serr == nil && now.Sub(st.ModTime()) > 24*time.Hour {
			os.RemoveAll(filepath.Join(cache, o.Name())) // another process may be quicker
		}
	}
	return dir, err
}

// Build compiles the stand-in, once per process, into a folder with the names zfs and zpool, and returns the folder,
// to be put in front of PATH. Equal builds share a folder below the system's folder for temporary files; those that
// are a day old go.
func Build(t TB) string {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatalf("build the zfs stand-in: %v", err)
	}
	return dir
}

// BuildInto compiles the stand-in into dir as zfs, with a link named zpool. It needs the go command and this module's
// source.
func BuildInto(dir string) error {
	bin := filepath.Join(dir, "zfs")
	cmd := exec.Command("go", "build", "-o", bin, "github.com/drover-project/drover/lab/cmd/zfs") //nolint:noctx // a build goes to its end
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	if err := os.Symlink("zfs", filepath.Join(dir, "zpool")); err != nil && !os.IsExist(err) {
		return err
	}
	return nil
}

// Machine is a node's ZFS for a test: one pool, whose datasets mount below Mounts.
type Machine struct {
	Dir    string // for DROVER_LAB_ZFS and WriteFaults
	Bin    string // folder with zfs and zpool
	Pool   string
	Mounts string // mountpoint of the pool's root dataset; that dataset itself is not mounted
	// Env is the environment to run commands in, as os.Environ gives it, with PATH and DROVER_LAB_ZFS set.
	Env []string
}

// NewMachine makes a machine with a pool on a file of so many bytes (64 MiB or more; OpenZFS, and so the stand-in,
// keeps an eighth to a half of small pools to itself: 1 GiB gives about 830 MiB). All is removed with the test.
func NewMachine(t TB, binDir, pool string, sizeBytes int64) *Machine {
	t.Helper()
	m, err := CreateMachine(t.TempDir(), binDir, pool, sizeBytes)
	if err != nil {
		t.Fatalf("new zfs machine: %v", err)
	}
	return m
}

// CreateMachine makes a machine in a folder, for use outside of tests.
func CreateMachine(dir, binDir, pool string, sizeBytes int64) (*Machine, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	m := &Machine{Dir: filepath.Join(dir, "zfs"), Bin: binDir, Pool: pool, Mounts: filepath.Join(dir, "mnt")}
	m.Env = append(os.Environ(), EnvDir+"="+m.Dir, "PATH="+binDir+string(os.PathListSeparator)+os.Getenv("PATH"), "LC_ALL=C")
	disk := filepath.Join(dir, "disk")
	f, err := os.Create(disk)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(sizeBytes); err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	_, err = m.Run("zpool", "create", "-O", "canmount=off", "-O", "mountpoint="+m.Mounts, pool, disk)
	return m, err
}

// Run runs zfs or zpool on the machine and returns its standard output. The error of a command that failed carries
// what it wrote to standard error.
func (m *Machine) Run(prog string, args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(m.Bin, prog), args...) //nolint:noctx // a command goes to its end, as with OpenZFS
	cmd.Env = m.Env
	out, err := cmd.Output()
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		err = fmt.Errorf("%s %q: %w: %s", prog, args, ee, ee.Stderr)
	}
	return string(out), err
}
