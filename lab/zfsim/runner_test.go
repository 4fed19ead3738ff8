package zfsim

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// runner runs zfs and zpool: the stand-in, or the machine's own OpenZFS.
type runner interface {
	// command prepares zfs or zpool with arguments.
	command(args ...string) *exec.Cmd
	// mount is the folder below which the pool's datasets mount.
	mount() string
}

// native reports whether the tests shall run against the machine's own OpenZFS.
func native() bool { return os.Getenv("DROVER_TEST_ZFS") == "native" }

// newRunner makes a runner with two pools, a and b, of the given size.
func newRunner(t *testing.T, size int64) runner {
	t.Helper()
	root := t.TempDir()
	var r runner
	if native() {
		if os.Geteuid() != 0 {
			t.Fatal("DROVER_TEST_ZFS=native needs root")
		}
		r = &realZFS{root}
	} else {
		r = &standIn{root: root, bin: Build(t)}
	}
	for _, pool := range []string{"a", "b"} {
		disk := filepath.Join(root, "disk-"+pool)
		if err := os.WriteFile(disk, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(disk, size); err != nil {
			t.Fatal(err)
		}
		ok(t, r, "zpool", "create", "-O", "mountpoint="+r.mount()+"/"+pool, pool, disk)
		t.Cleanup(func() {
			if native() {
				ok(t, r, "zpool", "destroy", "-f", pool)
			}
		})
	}
	return r
}

type realZFS struct{ root string }

func (r *realZFS) mount() string { return filepath.Join(r.root, "mnt") }

func (r *realZFS) command(args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return cmd
}

type standIn struct{ root, bin string }

func (r *standIn) mount() string { return filepath.Join(r.root, "mnt") }
func (r *standIn) dir() string   { return filepath.Join(r.root, "machine") }

func (r *standIn) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(r.bin, args[0]), args[1:]...)
	cmd.Env = append(os.Environ(), EnvDir+"="+r.dir(), "LC_ALL=C")
	return cmd
}

// onlyStandIn returns the stand-in's runner, and skips the test with OpenZFS.
func onlyStandIn(t *testing.T, size int64) *standIn {
	t.Helper()
	if native() {
		t.Skip("about the stand-in alone")
	}
	return newRunner(t, size).(*standIn)
}

// result is what a command left.
type result struct {
	out, err string
	code     int // -1: killed
}

func run(t *testing.T, r runner, stdin string, args ...string) result {
	t.Helper()
	cmd := r.command(args...)
	if stdin != "" {
		f, err := os.Open(stdin)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.Stdin = f
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatalf("%q: %v", args, err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// ok runs a command that must succeed, and returns its output without the last newline.
func ok(t *testing.T, r runner, args ...string) string {
	t.Helper()
	res := run(t, r, "", args...)
	if res.code != 0 {
		t.Fatalf("%q: exit code %d: %s", args, res.code, res.err)
	}
	return strings.TrimSuffix(res.out, "\n")
}

// refuses runs a command that must fail with this text in its message.
func refuses(t *testing.T, r runner, text string, args ...string) {
	t.Helper()
	res := run(t, r, "", args...)
	if res.code == 0 || !strings.Contains(strings.Join(strings.Fields(res.err), " "), text) {
		t.Errorf("%q: exit code %d, %q; want a refusal with %q", args, res.code, res.err, text)
	}
}

// get returns one property.
func get(t *testing.T, r runner, prop, ds string) string {
	t.Helper()
	return ok(t, r, "zfs", "get", "-Hp", "-o", "value", prop, ds)
}

// sendFile writes a stream into a file.
func sendFile(t *testing.T, r runner, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stream")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := r.command(append([]string{"zfs", "send"}, args...)...)
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = f, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("send %q: %v: %s", args, err, errs.String())
	}
	return path
}

// transfer pipes send into receive.
func transfer(t *testing.T, r runner, send, receive []string) {
	t.Helper()
	res := run(t, r, sendFile(t, r, send...), append([]string{"zfs", "receive"}, receive...)...)
	if res.code != 0 {
		t.Fatalf("receive %q: exit code %d: %s", receive, res.code, res.err)
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// eventually polls until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never came: %s", what)
		}
	}
}

// exitCode is that of a command that was waited for; -1 if it was killed.
func exitCode(err error) int {
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		return ee.ExitCode()
	}
	return 0
}

// pipe joins two zfs commands; with no receive the stream is dropped.
func pipe(m *Machine, send, receive []string) error {
	r := &standIn{root: filepath.Dir(m.Dir), bin: m.Bin}
	from := r.command(append([]string{"zfs"}, send...)...)
	from.Env = m.Env
	if receive == nil {
		return from.Run()
	}
	to := r.command(append([]string{"zfs"}, receive...)...)
	to.Env = m.Env
	out, err := from.StdoutPipe()
	if err != nil {
		return err
	}
	to.Stdin = out
	if err := errors.Join(from.Start(), to.Start()); err != nil {
		return err
	}
	return errors.Join(to.Wait(), from.Wait())
}
