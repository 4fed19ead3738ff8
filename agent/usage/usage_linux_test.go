package usage

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestMappedFile(t *testing.T) {
	real, target := linked(t)
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	b, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(real, "program")
	if err := os.WriteFile(program, b, 0o755); err != nil {
		t.Fatal(err)
	}
	// A running program is mapped from its file and has it not open.
	cmd := exec.Command(program, "1000")
	cmd.Dir = "/"
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // killed
	}()
	got := users(t, target)
	if len(got) != 1 || got[0].How != "mapped" {
		t.Errorf("got %+v", got)
	}
}

// mounted mounts a filesystem of its own, as OpenZFS would: known by its source and its device.
func mounted(t *testing.T) Target {
	t.Helper()
	target := Target{Dataset: "tank/usage-test-" + filepath.Base(t.TempDir()), Path: t.TempDir()}
	if out, err := exec.Command("mount", "-t", "tmpfs", target.Dataset, target.Path).CombinedOutput(); err != nil {
		t.Skipf("needs the right to mount: %s", out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", target.Path).Run() }) //nolint:errcheck // a test may have unmounted it
	return target
}

func TestUsersByDevice(t *testing.T) {
	target := mounted(t)
	elsewhere := t.TempDir()
	if out, err := exec.Command("mount", "--bind", target.Path, elsewhere).CombinedOutput(); err != nil {
		t.Skipf("needs the right to mount: %s", out)
	}
	defer exec.Command("umount", "-l", elsewhere).Run() //nolint:errcheck // best effort
	child(t, elsewhere, wait)
	if got := users(t, target); len(got) != 1 || got[0].How != "cwd" {
		t.Errorf("through a bind mount: %+v", got)
	}
}

func TestUsersByDeviceOfWhatIsBelow(t *testing.T) {
	target := mounted(t)
	child(t, target.Path, wait)
	above := Target{Dataset: filepath.Dir(target.Dataset)}
	if got := users(t, above); len(got) != 1 || got[0].How != "cwd" {
		t.Errorf("got %+v", got)
	}
}

// Unmounting in the agent's namespace says nothing about a container's.
func TestMountInAnotherNamespace(t *testing.T) {
	target := mounted(t)
	cmd := exec.Command("unshare", "-m", "--propagation", "private", "true")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("needs the right to unshare: %s", out)
	}
	inner, _ := child(t, "/", `exec unshare -m --propagation private sh -c 'echo ready; read x'`)
	r, err := Find(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Found[0].Users) != 0 || len(r.Found[0].Mounts) != 1 {
		t.Errorf("mounted here too: %+v", r.Found[0])
	}
	resting := target
	resting.Resting = true
	if r, err := Find(t.Context(), resting); err != nil || len(r.Found[0].Users) != 1 || r.Found[0].Users[0].How != "mounted" {
		t.Errorf("mounted here too, where it should rest: %+v, %v", r.Found[0], err)
	}
	if out, err := exec.Command("umount", target.Path).CombinedOutput(); err != nil {
		t.Fatalf("umount: %s", out)
	}
	target.Path = ""
	got := users(t, target)
	if len(got) != 1 || got[0].How != "mounted" || got[0].PID != inner.Process.Pid {
		t.Errorf("unmounted here, mounted there: %+v", got)
	}
}

func TestParseMount(t *testing.T) {
	for name, c := range map[string]struct {
		line string
		want mount
		ok   bool
	}{
		"plain":   {"36 35 0:41 / /drover/db rw,relatime shared:1 - zfs tank/drover/db rw,xattr\n", mount{device{0, 41}, "/drover/db", "tank/drover/db"}, true},
		"escaped": {`36 35 0:41 / /a\040b rw - zfs tank/a\040b rw`, mount{device{0, 41}, "/a b", "tank/a b"}, true},
		"no tail": {"36 35 0:41 / /a rw", mount{}, false},
		"letters": {"36 35 x:y / /a rw - zfs tank rw", mount{}, false},
		"empty":   {"", mount{}, false},
	} {
		if got, ok := parseMount(c.line); got != c.want || ok != c.ok {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
}

func TestMapping(t *testing.T) {
	dev, path, ok := mapping("7f00-7f01 r--s 00000000 fd:1a 42                   /data/a b (deleted)\n")
	if !ok || dev != (device{0xfd, 0x1a}) || path != "/data/a b (deleted)" {
		t.Errorf("%+v %q %v", dev, path, ok)
	}
	if _, _, ok := mapping("7f00-7f01 rw-p 00000000 00:00 0 [heap]\n"); ok {
		t.Error("anonymous memory is not a file")
	}
}

func BenchmarkFind(b *testing.B) {
	target := Target{Dataset: "tank/none", Path: b.TempDir()}
	for b.Loop() {
		if _, err := Find(b.Context(), target); err != nil {
			b.Fatal(err)
		}
	}
}
