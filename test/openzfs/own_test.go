//go:build linux

package openzfs_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drover-project/drover/test/openzfs"
	"github.com/drover-project/drover/zfs"
)

// What Drover relies on and only OpenZFS can show. These run against a machine's own OpenZFS: with DROVER_TEST_ZFS=native, and
// in a node by way of this test.
func TestOpenZFS(t *testing.T) {
	inEach(t, func(t *testing.T, n *openzfs.Node) { n.GoTest(t, "./test/openzfs", "^TestOwn") })
}

// own is a pool of this machine's OpenZFS, with a mounted volume on it.
type own struct {
	*testing.T
	*zfs.ZFS
	ctx    context.Context
	volume string // dataset
	mount  string
}

func newOwn(t *testing.T) *own {
	t.Helper()
	if !openzfs.Native() {
		t.Skip("runs on a machine's own OpenZFS: TestOpenZFS brings it there, DROVER_TEST_ZFS=native uses this machine's")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk")
	o := &own{T: t, ZFS: zfs.New(zfs.Options{}), ctx: ctx, volume: "drovertest/v", mount: filepath.Join(dir, "v")}
	o.must(errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, 512<<20)))
	o.run("zpool", "create", "-o", "cachefile=none", "-O", "mountpoint=none", "drovertest", disk)
	t.Cleanup(func() { o.run("zpool", "destroy", "-f", "drovertest") })
	o.must(o.Create(ctx, o.volume, map[string]string{"canmount": "noauto", "mountpoint": o.mount, "compression": "off"}))
	o.must(o.Mount(ctx, o.volume))
	return o
}

func (o *own) must(err error) {
	o.Helper()
	if err != nil {
		o.Fatal(err)
	}
}

func (o *own) is(got, want error) {
	o.Helper()
	if !errors.Is(got, want) {
		o.Errorf("got %v, want %v", got, want)
	}
}

func (o *own) run(args ...string) {
	o.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		o.Fatalf("%q: %v: %s", args, err, out)
	}
}

func (o *own) open(name string) *os.File {
	o.Helper()
	f, err := os.OpenFile(filepath.Join(o.mount, name), os.O_RDWR|os.O_CREATE, 0o644)
	o.must(err)
	o.Cleanup(func() { _ = f.Close() })
	return f
}

func (o *own) set(prop, value string) {
	o.Helper()
	o.must(o.Set(o.ctx, o.volume, map[string]string{prop: value}))
}

// readonly=on stops who has a file open, at once, and readonly=off lets go on: the fence.
func TestOwnFenceStopsOpenFiles(t *testing.T) {
	o := newOwn(t)
	f := o.open("data")
	_, err := f.WriteString("before")
	o.must(err)
	o.set("readonly", "on")
	_, err = f.WriteString("after")
	o.is(err, syscall.EROFS)
	o.must(o.Snapshot(o.ctx, "s", nil, o.volume))
	o.must(o.Sync(o.ctx, "drovertest"))
	if n, err := o.WrittenSince(o.ctx, o.volume+"@s"); n != 0 || err != nil {
		t.Errorf("written after the fence: %d, %v", n, err)
	}
	o.set("readonly", "off")
	_, err = f.WriteString("again")
	o.must(err)
}

// What a program wrote into a memory map is in a snapshot only if it was flushed before; readonly=on does not flush it. syncfs
// does, which is why the fence begins with it.
func TestOwnSyncfsFlushesMaps(t *testing.T) {
	o := newOwn(t)
	f := o.open("map")
	o.must(f.Truncate(1 << 20))
	m, err := unix.Mmap(int(f.Fd()), 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	o.must(err)
	t.Cleanup(func() { _ = unix.Munmap(m) })
	copy(m, "flushed")
	o.must(unix.Syncfs(int(f.Fd())))
	o.set("readonly", "on")
	o.must(o.Snapshot(o.ctx, "s", nil, o.volume))
	o.must(o.Clone(o.ctx, o.volume+"@s", "drovertest/c", map[string]string{"mountpoint": o.mount + "c"}))
	b, err := os.ReadFile(filepath.Join(o.mount+"c", "map"))
	o.must(err)
	if string(b[:7]) != "flushed" {
		t.Errorf("the snapshot has %q", b[:7])
	}
}

// A volume in use is not unmounted, renamed or destroyed; and a destroy of the whole tree takes the snapshots though it fails.
func TestOwnBusy(t *testing.T) {
	o := newOwn(t)
	f := o.open("data")
	o.must(o.Snapshot(o.ctx, "s", nil, o.volume))
	o.is(o.Unmount(o.ctx, o.volume), zfs.ErrBusy)
	o.is(o.Rename(o.ctx, o.volume, o.volume+".aside"), zfs.ErrBusy)
	o.must(o.Hold(o.ctx, "drover:base", o.volume+"@s"))
	if err := o.DestroyTree(o.ctx, o.volume); !errors.Is(err, zfs.ErrBusy) && !errors.Is(err, zfs.ErrHeld) {
		t.Errorf("got %v, want busy or held", err)
	}
	holds, err := o.Holds(o.ctx, o.volume+"@s")
	o.must(err)
	if len(holds) != 1 {
		t.Errorf("the held snapshot is gone: %v", holds)
	}
	o.must(o.ReleaseHold(o.ctx, "drover:base", o.volume+"@s"))
	o.is(o.DestroyTree(o.ctx, o.volume), zfs.ErrBusy)
	_, err = o.Holds(o.ctx, o.volume+"@s")
	o.is(err, zfs.ErrNotFound)
	o.must(f.Close())
	o.must(o.DestroyTree(o.ctx, o.volume))
}

// A mount in another namespace is invisible here: the unmount succeeds, and what runs there goes on writing.
func TestOwnOtherNamespace(t *testing.T) {
	o := newOwn(t)
	ready, goOn := filepath.Join(t.TempDir(), "ready"), filepath.Join(t.TempDir(), "go")
	cmd := exec.Command("/bin/sh", "-c", "echo >"+ready+"; while [ ! -e "+goOn+" ]; do sleep 0.05; done; echo late >"+o.mount+"/late")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	o.must(cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for !exists(ready) {
		if o.ctx.Err() != nil {
			t.Fatal("the other namespace is not there")
		}
	}
	o.must(o.Unmount(o.ctx, o.volume))
	facts, err := o.Facts(o.ctx, o.volume)
	o.must(err)
	t.Logf("facts: %+v", facts)
	o.must(o.Snapshot(o.ctx, "s", nil, o.volume))
	o.must(os.WriteFile(goOn, nil, 0o600))
	o.must(cmd.Wait())
	o.must(o.Sync(o.ctx, "drovertest"))
	n, err := o.WrittenSince(o.ctx, o.volume+"@s")
	o.must(err)
	if n == 0 {
		t.Error("nothing was written from the other namespace, though it should have been")
	}
	o.is(o.Unmount(o.ctx, o.volume), nil)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// A receive that is killed keeps what it has; the rest comes by its token, and nothing else is accepted meanwhile.
func TestOwnKilledReceiveIsResumed(t *testing.T) {
	o := newOwn(t)
	o.run("/bin/sh", "-c", "head -c 30000000 /dev/urandom >"+o.mount+"/big")
	o.must(o.Snapshot(o.ctx, "s", nil, o.volume))
	sending, err := o.Send(o.ctx, zfs.SendRequest{Snapshot: o.volume + "@s"})
	o.must(err)
	ctx, cancel := context.WithCancel(o.ctx)
	target := zfs.ReceiveRequest{Dataset: "drovertest/w", Properties: map[string]string{
		"readonly": "on", "canmount": "noauto", zfs.PropVolume: "w", zfs.PropUUID: "u", zfs.PropRole: "standby", zfs.PropEpoch: "0.1"}}
	err = o.Receive(ctx, target, &cutting{sending, 20 << 20, cancel})
	o.is(err, zfs.ErrUnknown)
	o.must(sending.Close())

	c, err := o.Copy(o.ctx, "drovertest/w")
	o.must(err)
	if c.ResumeToken == "" || len(c.Snapshots) != 0 || !c.Readonly {
		t.Fatalf("half received: %+v", c)
	}
	is := func(q zfs.SendRequest, want error) {
		t.Helper()
		s, err := o.Send(o.ctx, q)
		o.must(err)
		o.is(errors.Join(o.Receive(o.ctx, zfs.ReceiveRequest{Dataset: "drovertest/w"}, s), s.Close()), want)
	}
	is(zfs.SendRequest{Snapshot: o.volume + "@s"}, zfs.ErrExists)
	o.is(o.Snapshot(o.ctx, "x", nil, "drovertest/w"), zfs.ErrBusy)
	token, err := o.TokenContents(o.ctx, c.ResumeToken)
	o.must(err)
	if token.Bytes < 10<<20 || token.ToName != o.volume+"@s" {
		t.Errorf("token: %+v", token)
	}
	is(zfs.SendRequest{Token: c.ResumeToken}, nil)
	c, err = o.Copy(o.ctx, "drovertest/w")
	o.must(err)
	if c.ResumeToken != "" || len(c.Snapshots) != 1 || c.Snapshots[0].GUID != token.ToGUID || c.Role != "standby" {
		t.Errorf("received: %+v", c)
	}
}

// cutting calls cut after so many bytes, and then gives nothing more until it is closed.
type cutting struct {
	*zfs.Sending
	left int
	cut  func()
}

func (c *cutting) Read(p []byte) (int, error) {
	if c.left <= 0 {
		c.cut()
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.Sending.Read(p)
	c.left -= n
	return n, err
}

// The releases' differences are as the table says.
func TestOwnDifferences(t *testing.T) {
	o := newOwn(t)
	v, err := o.Version(o.ctx)
	o.must(err)
	t.Logf("%+v", v)
	o.must(o.Snapshot(o.ctx, "s", nil, o.volume))
	o.must(o.Hold(o.ctx, "drover", o.volume+"@s"))
	// Debian's 2.3.2 has it from a later release.
	if err := o.Destroy(o.ctx, o.volume+"@s"); !errors.Is(err, zfs.ErrHeld) && (v.Userland.Has(zfs.TellsHeldFromBusy) || !errors.Is(err, zfs.ErrBusy)) {
		t.Errorf("destroying a held snapshot: %v", err)
	}
	o.must(o.ReleaseHold(o.ctx, "drover", o.volume+"@s"))

	o.must(o.Create(o.ctx, "drovertest/c", map[string]string{"mountpoint": "none"}))
	f, err := exec.Command("zfs", "get", "-Hp", "-o", "value", "compression", "drovertest/c").Output()
	o.must(err)
	if got, want := string(f) == "on\n", v.Userland.Has(zfs.CompressesByDefault); got != want {
		t.Errorf("compression is %q by default, the table says on: %v", f, want)
	}

	o.must(o.Unmount(o.ctx, o.volume))
	o.must(o.SetEach(o.ctx, o.volume, map[string]string{"canmount": "on"}))
	o.must(o.Unmount(o.ctx, o.volume))
	o.must(o.Set(o.ctx, o.volume, map[string]string{"mountpoint": o.mount + "2"}))
	f, err = exec.Command("zfs", "get", "-Hp", "-o", "value", "mounted", o.volume).Output()
	o.must(err)
	if got, want := string(f) == "yes\n", v.Userland.Has(zfs.MountpointMounts); got != want {
		t.Errorf("after its mountpoint was set mounted is %q, the table says it is mounted: %v", f, want)
	}
}

// Several properties change together or not at all.
func TestOwnSetIsAtomic(t *testing.T) {
	o := newOwn(t)
	o.must(o.Set(o.ctx, o.volume, map[string]string{zfs.PropRole: "primary", zfs.PropEpoch: "0.1", "readonly": "off"}))
	o.is(o.Set(o.ctx, o.volume, map[string]string{zfs.PropRole: "fenced", "readonly": "maybe"}), zfs.ErrUsage)
	o.is(o.Set(o.ctx, o.volume, map[string]string{zfs.PropRole: "fenced", "quota": "1K"}), zfs.ErrUsage)
	props, err := o.LocalProperties(o.ctx, o.volume)
	o.must(err)
	if props[zfs.PropRole] != "primary" || props["readonly"] != "off" {
		t.Errorf("properties: %v", props)
	}
}

// An import claims the intent log of a copy at rest, and `written` says that something was written. That is not taken for data; what
// somebody has written is.
func TestOwnClaimedLogIsNoData(t *testing.T) {
	o := newOwn(t)
	rest := func(file string) {
		t.Helper()
		o.run("/bin/sh", "-c", "echo "+file+" | dd of="+filepath.Join(o.mount, file)+" conv=fsync 2>/dev/null")
		o.must(o.Set(o.ctx, o.volume, map[string]string{"readonly": "on", zfs.PropVolume: "v", zfs.PropUUID: "u", zfs.PropRole: "retired", zfs.PropEpoch: "0.1"}))
	}
	written := func() (told string, taken int64) {
		t.Helper()
		o.must(o.Sync(o.ctx, "drovertest"))
		out, err := exec.Command("zfs", "get", "-Hp", "-o", "value", "written", o.volume).Output()
		o.must(err)
		c, err := o.Copy(o.ctx, o.volume)
		o.must(err)
		all, err := o.Copies(o.ctx, "drovertest")
		o.must(err)
		if len(all) != 1 || all[0].Written != c.Written {
			t.Errorf("among all copies %+v, alone %+v", all, c)
		}
		return strings.TrimSpace(string(out)), c.Written
	}
	rest("a")
	o.must(o.Snapshot(o.ctx, "s", nil, o.volume))
	o.must(o.Unmount(o.ctx, o.volume))
	o.run("zpool", "export", "drovertest")
	o.run("zpool", "import", "-d", filepath.Dir(o.mount), "-o", "cachefile=none", "drovertest")
	if told, taken := written(); told == "0" || taken != 0 {
		t.Errorf("after an import zfs says that %s bytes were written, which counts as %d; want some, and 0", told, taken)
	}
	o.set("readonly", "off")
	o.must(o.Mount(o.ctx, o.volume))
	rest("b")
	o.must(o.Unmount(o.ctx, o.volume))
	if told, taken := written(); taken == 0 {
		t.Errorf("a file was written, %s bytes by zfs's account, which counts as nothing", told)
	}
}
