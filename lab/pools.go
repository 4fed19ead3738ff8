package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// pool is the name of a node's pool. With real OpenZFS all nodes share one kernel, so each has a name of its own.
func (l *Lab) pool(n Node) string {
	if l.plan.Native {
		return "drover-" + string(n.Hostname)
	}
	return "tank"
}

// nodeDir is where a node keeps everything.
func (l *Lab) nodeDir(n Node, parts ...string) string {
	return l.path(append([]string{"nodes", string(n.Hostname)}, parts...)...)
}

// makePools creates each node's pool on a file, once.
func (l *Lab) makePools(ctx context.Context) error {
	for _, n := range l.plan.Nodes {
		if err := l.makePool(ctx, n); err != nil {
			return fmt.Errorf("pool of %s: %w", n.Hostname, err)
		}
	}
	return nil
}

func (l *Lab) makePool(ctx context.Context, n Node) error {
	if err := os.MkdirAll(l.nodeDir(n, "zfs"), 0o755); err != nil {
		return err
	}
	list := l.zpool(ctx, n, "list", "-H", "-o", "name")
	out, err := list.Output()
	if err != nil {
		return commandError(list, err)
	}
	for name := range strings.Lines(string(out)) {
		if strings.TrimSpace(name) == l.pool(n) {
			return nil
		}
	}
	disk := l.nodeDir(n, "disk")
	if _, err := os.Stat(disk); l.plan.Native && err == nil {
		return l.run(l.zpool(ctx, n, "import", "-d", filepath.Dir(disk), l.pool(n)))
	}
	if err := makeDisk(disk, l.o.PoolSize); err != nil {
		return err
	}
	return l.run(l.zpool(ctx, n, "create", "-O", "mountpoint=none", l.pool(n), disk))
}

// makeDisk creates a sparse file for a pool.
func makeDisk(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

func (l *Lab) zpool(ctx context.Context, n Node, args ...string) *exec.Cmd {
	tool := "zpool"
	if !l.plan.Native {
		tool = filepath.Join(l.o.Tools, tool)
	}
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Env = append(os.Environ(), l.nodeEnv(n)...)
	return cmd
}

// nodeEnv is what tells the stand-in which machine it is on.
func (l *Lab) nodeEnv(n Node) []string {
	if l.plan.Native {
		return nil
	}
	return []string{"DROVER_LAB_ZFS=" + l.nodeDir(n, "zfs")}
}

func (l *Lab) run(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func commandError(cmd *exec.Cmd, err error) error {
	said := ""
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		said = ": " + strings.TrimSpace(string(e.Stderr))
	}
	return fmt.Errorf("%s: %w%s", strings.Join(cmd.Args, " "), err, said)
}

// Remove removes all that a stopped lab left in its folder.
func Remove(dir string) error {
	// Mountpoints of volumes that are not mounted refuse writes, their removal included.
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return nil
	})
	return errors.Join(err, os.RemoveAll(dir))
}
