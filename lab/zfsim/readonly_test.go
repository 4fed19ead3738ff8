package zfsim

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// copyOnB is a machine with a/v@1 received as a read-only, mounted b/v, and a stream from @1 to @2.
func copyOnB(t *testing.T) (r *standIn, increment string) {
	r = onlyStandIn(t, 128<<20)
	ok(t, r, "zfs", "create", "a/v")
	write(t, r.mount()+"/a/v/data/f", random(300_000, 1))
	ok(t, r, "zfs", "snapshot", "a/v@1")
	transfer(t, r, []string{"a/v@1"}, []string{"-u", "-o", "readonly=on", "b/v"})
	ok(t, r, "zfs", "mount", "b/v")
	write(t, r.mount()+"/a/v/data/g", []byte("more"))
	ok(t, r, "zfs", "snapshot", "a/v@2")
	return r, sendFile(t, r, "-i", "@1", "a/v@2")
}

func TestUntouchedReadonlyHeadIsUnmodified(t *testing.T) {
	r, inc := copyOnB(t)
	if _, err := os.ReadFile(r.mount() + "/b/v/data/f"); err != nil {
		t.Fatal(err)
	}
	ok(t, r, "zfs", "unmount", "b/v")
	ok(t, r, "zfs", "set", "ns:role=x", "readonly=off", "b/v")
	ok(t, r, "zfs", "set", "readonly=on", "b/v")
	ok(t, r, "zfs", "mount", "b/v")
	ok(t, r, "zpool", "sync", "b")
	if got := get(t, r, "written", "b/v"); got != "0" {
		t.Errorf("written %s", got)
	}
	if res := run(t, r, inc, "zfs", "receive", "b/v"); res.code != 0 {
		t.Errorf("receive: %s", res.err)
	}
}

// TestChangesOfAReadonlyHeadAreFound makes changes that stat data hide as well as they can.
func TestChangesOfAReadonlyHeadAreFound(t *testing.T) {
	changes := map[string]func(t *testing.T, dir string){
		"write":            func(t *testing.T, dir string) { write(t, dir+"/data/new", []byte("x")) },
		"same size":        func(t *testing.T, dir string) { patch(t, dir+"/data/f", 1000, []byte("x")) },
		"remove":           func(t *testing.T, dir string) { must(t, os.Remove(dir+"/data/f")) },
		"mode":             func(t *testing.T, dir string) { must(t, os.Chmod(dir+"/data/f", 0o600)) },
		"hidden by utimes": hiddenChange,
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			r, inc := copyOnB(t)
			change(t, r.mount()+"/b/v")
			ok(t, r, "zpool", "sync", "b")
			for _, prop := range []string{"written", "written@1"} {
				if get(t, r, prop, "b/v") == "0" {
					t.Errorf("%s is 0", prop)
				}
			}
			if res := run(t, r, inc, "zfs", "receive", "b/v"); res.code != 1 || !strings.Contains(res.err, "has been modified") {
				t.Errorf("receive: %d %q", res.code, res.err)
			}
			ok(t, r, "zfs", "snapshot", "b/v@found")
			if get(t, r, "written", "b/v@found") == "0" {
				t.Error("the snapshot does not show it")
			}
			ok(t, r, "zfs", "rollback", "-r", "b/v@1")
			if res := run(t, r, inc, "zfs", "receive", "b/v"); res.code != 0 {
				t.Errorf("receive after rollback: %s", res.err)
			}
		})
	}
}

func hiddenChange(t *testing.T, dir string) {
	st, err := os.Stat(dir + "/data/f")
	must(t, err)
	patch(t, dir+"/data/f", 5, []byte("yz"))
	must(t, os.Chtimes(dir+"/data/f", st.ModTime(), st.ModTime()))
}

// TestWriteRightAfterASnapshot: a second write within the same tick of the kernel's clock leaves no trace in stat data.
func TestWriteRightAfterASnapshot(t *testing.T) {
	r := onlyStandIn(t, 128<<20)
	ok(t, r, "zfs", "create", "a/v")
	for i := range 20 {
		write(t, r.mount()+"/a/v/f", []byte{byte(2 * i)})
		ok(t, r, "zfs", "snapshot", "a/v@x")
		write(t, r.mount()+"/a/v/f", []byte{byte(2*i + 1)})
		ok(t, r, "zpool", "sync", "a")
		if get(t, r, "written", "a/v") == "0" {
			t.Fatalf("round %d: not noticed", i)
		}
		ok(t, r, "zfs", "destroy", "a/v@x")
	}
}

func TestReadonlyWarnsOfWriters(t *testing.T) {
	if runtime.GOOS != "linux" {
		if _, err := exec.LookPath("lsof"); err != nil {
			t.Skip("needs lsof")
		}
	}
	r := onlyStandIn(t, 128<<20)
	ok(t, r, "zfs", "create", "a/v")
	f, err := os.Create(r.mount() + "/a/v/log")
	must(t, err)
	res := run(t, r, "", "zfs", "set", "readonly=on", "a/v")
	if res.code != 0 || !strings.Contains(res.err, "has files open for writing") {
		t.Errorf("%+v", res)
	}
	refuses(t, r, "pool or dataset is busy", "zfs", "unmount", "a/v")
	must(t, f.Close())
	if res := run(t, r, "", "zfs", "set", "readonly=on", "a/v"); res.err != "" {
		t.Errorf("%+v", res)
	}
	ok(t, r, "zfs", "unmount", "a/v")
}

// TestUnmountedMountpoint: an application in the wrong place must fail.
func TestUnmountedMountpoint(t *testing.T) {
	r := onlyStandIn(t, 128<<20)
	ok(t, r, "zfs", "create", "a/v")
	dir := r.mount() + "/a/v"
	must(t, os.Mkdir(dir+"/data", 0o755))
	ok(t, r, "zfs", "unmount", "a/v")
	if _, err := os.Stat(dir + "/data"); !os.IsNotExist(err) {
		t.Errorf("data is there while unmounted: %v", err)
	}
	st, err := os.Stat(dir)
	must(t, err)
	if st.Mode().Perm()&0o222 != 0 {
		t.Errorf("mode %v", st.Mode())
	}
	ok(t, r, "zfs", "mount", "a/v")
	if _, err := os.Stat(dir + "/data"); err != nil {
		t.Error(err)
	}
}

// TestMountingChildrenIsNoChange: the mountpoint of a child lies inside its parent.
func TestMountingChildrenIsNoChange(t *testing.T) {
	r := onlyStandIn(t, 128<<20)
	ok(t, r, "zfs", "create", "a/v")
	ok(t, r, "zfs", "create", "a/v/child")
	ok(t, r, "zfs", "snapshot", "a/v@1")
	ok(t, r, "zfs", "unmount", "a/v/child")
	if got := get(t, r, "written", "a/v"); got != "0" {
		t.Errorf("written %s by unmounting", got)
	}
	ok(t, r, "zfs", "mount", "a/v/child")
	write(t, r.mount()+"/a/v/child/f", []byte("x"))
	ok(t, r, "zpool", "sync", "a")
	if got := get(t, r, "written", "a/v"); got != "0" {
		t.Errorf("written %s", got)
	}
	ok(t, r, "zfs", "unmount", "a/v")
	if got := get(t, r, "mounted", "a/v/child"); got != "no" {
		t.Errorf("child mounted: %s", got)
	}
}

func TestUserPropertyLimits(t *testing.T) {
	r := newRunner(t, 128<<20)
	ok(t, r, "zfs", "create", "a/v")
	ok(t, r, "zfs", "set", "ns:long="+strings.Repeat("x", 8191), "a/v")
	if got := len(get(t, r, "ns:long", "a/v")); got != 8191 {
		t.Errorf("%d bytes came back", got)
	}
	refuses(t, r, "property value too long", "zfs", "set", "ns:long="+strings.Repeat("x", 8192), "a/v")
	name := "ns:" + strings.Repeat("n", 252)
	ok(t, r, "zfs", "set", name+"=1", "a/v")
	refuses(t, r, "is too long", "zfs", "set", name+"n=1", "a/v")
}

// TestSetIsAtomicOnlyForPlainProperties: what design and facts rest on.
func TestSetIsAtomicOnlyForPlainProperties(t *testing.T) {
	r := newRunner(t, 128<<20)
	ok(t, r, "zfs", "create", "a/v")
	refuses(t, r, "must be one of", "zfs", "set", "ns:a=1", "readonly=bogus", "a/v")
	if got := get(t, r, "ns:a", "a/v"); got != "-" {
		t.Errorf("ns:a %q after a refused set", got)
	}
	refuses(t, r, "size is less than current used", "zfs", "set", "ns:a=77", "quota=1K", "a/v")
	if got := get(t, r, "ns:a", "a/v"); got != "77" {
		t.Errorf("ns:a %q: OpenZFS sets it although the quota is refused", got)
	}
}
