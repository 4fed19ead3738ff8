package zfs_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drover-project/drover/lab/zfsim"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// node is a machine with one pool and the adapter for it.
type node struct {
	*testing.T
	*zfs.ZFS
	ctx  context.Context
	root string
}

// native says that this machine's own OpenZFS is to be used, with pools in files.
func native() bool { return os.Getenv("DROVER_TEST_ZFS") == "native" }

// onEach runs a test against the stand-in as each of the versions that it can act like, or once against this machine's own.
func onEach(t *testing.T, test func(t *testing.T, version string)) {
	if native() {
		test(t, "")
		return
	}
	for _, version := range []string{"2.1", "2.3"} {
		t.Run(version, func(t *testing.T) { test(t, version) })
	}
}

// newNode makes a pool with a root dataset below which copies live.
func newNode(t *testing.T, version, pool string) *node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	machine := standIn
	if native() {
		machine = ownPool
	}
	o, mounts := machine(t, version, pool)
	n := &node{T: t, ZFS: zfs.New(o), ctx: ctx, root: pool + "/drover"}
	n.must(n.Create(ctx, n.root, map[string]string{"canmount": "off", "mountpoint": filepath.Join(mounts, "drover")}))
	return n
}

// standIn makes a machine of the stand-in, and returns how to reach it and where its datasets mount.
func standIn(t *testing.T, version, pool string) (zfs.Options, string) {
	t.Helper()
	m := zfsim.NewMachine(t, zfsim.Build(t), pool, 1<<30)
	env := []string{zfsim.EnvDir + "=" + m.Dir, zfsim.EnvVersion + "=" + version}
	return zfs.Options{Path: m.Bin, Env: env, Timeout: 20 * time.Second}, m.Mounts
}

// ownPool makes a pool of this machine's OpenZFS in a file.
func ownPool(t *testing.T, _, pool string) (zfs.Options, string) {
	t.Helper()
	dir := t.TempDir()
	disk, mounts := filepath.Join(dir, "disk"), filepath.Join(dir, "mnt")
	if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, 1<<30)); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("zpool", args...).CombinedOutput(); err != nil {
			t.Fatalf("zpool %q: %v: %s", args, err, out)
		}
	}
	run("create", "-o", "cachefile=none", "-O", "canmount=off", "-O", "mountpoint="+mounts, pool, disk)
	t.Cleanup(func() { run("destroy", "-f", pool) })
	return zfs.Options{Timeout: 20 * time.Second}, mounts
}

func (n *node) must(err error) {
	n.Helper()
	if err != nil {
		n.Fatal(err)
	}
}

func (n *node) is(got, want error) {
	n.Helper()
	if !errors.Is(got, want) {
		n.Errorf("got %v, want %v", got, want)
	}
}

// primary creates a mounted, writable copy with a file in it.
func (n *node) primary(volume string) string {
	n.Helper()
	dataset := n.root + "/" + volume
	n.must(n.Create(n.ctx, dataset, map[string]string{
		zfs.PropVolume: volume, zfs.PropUUID: "uuid-of-" + volume, zfs.PropRole: "primary", zfs.PropEpoch: "0.1",
		zfs.PropReleased: zfs.None, zfs.PropLead: volume, "canmount": "noauto",
	}))
	n.must(n.Mount(n.ctx, dataset))
	n.must(n.Mount(n.ctx, dataset))
	noise := make([]byte, 1<<20) // what compresses would be small on disk
	if _, err := rand.NewChaCha8([32]byte{}).Read(noise); err != nil {
		n.Fatal(err)
	}
	n.write(dataset, "data", string(noise))
	return dataset
}

func (n *node) write(dataset, file, text string) {
	n.Helper()
	n.must(os.WriteFile(filepath.Join(n.copy(dataset).Mountpoint, file), []byte(text), 0o644))
}

func (n *node) copy(dataset string) state.Copy {
	n.Helper()
	c, err := n.Copy(n.ctx, dataset)
	n.must(err)
	return c
}

// standby is what a receive sets on the target's side.
func standby(volume string) map[string]string {
	return map[string]string{
		zfs.PropVolume: volume, zfs.PropUUID: "uuid-of-" + volume, zfs.PropRole: "standby", zfs.PropEpoch: "0.1",
		"readonly": "on", "canmount": "noauto",
	}
}

// carry sends from one node to another as an agent does.
func carry(from, to *node, q zfs.SendRequest, r zfs.ReceiveRequest) error {
	s, err := from.Send(from.ctx, q)
	if err != nil {
		return err
	}
	return errors.Join(to.Receive(to.ctx, r, s), s.Close())
}

func TestLifeOfACopy(t *testing.T) { onEach(t, lifeOfACopy) }

func lifeOfACopy(t *testing.T, version string) {
	n := newNode(t, version, "tank")
	v := n.primary("tododata")
	n.must(n.SetEach(n.ctx, v, map[string]string{"refquota": "10485760", "compression": "lz4", "atime": "off"}))
	n.is(n.Create(n.ctx, v, nil), zfs.ErrExists)
	n.is(n.Create(n.ctx, "tank/no/such", nil), zfs.ErrNotFound)
	n.must(n.Snapshot(n.ctx, "s1", map[string]string{"drover:move": "m"}, v))
	n.is(n.Snapshot(n.ctx, "s1", nil, v), zfs.ErrExists)
	n.must(n.Hold(n.ctx, "drover:base", v+"@s1"))
	n.must(n.Hold(n.ctx, "drover:base", v+"@s1"))
	n.must(n.Bookmark(n.ctx, v+"@s1", v+"#s1"))
	n.write(v, "more", "more")
	n.must(n.Snapshot(n.ctx, "s2", nil, v))

	c := n.copy(v)
	if c.Role != state.Primary || c.Readonly || !c.Mounted || c.Quota != 10485760 || c.Properties["compression"] != "lz4" ||
		len(c.Snapshots) != 2 || !c.Snapshots[0].Held || c.Snapshots[1].Held || c.Snapshots[0].Name != "s1" {
		t.Errorf("copy: %+v", c)
	}
	all, err := n.Copies(n.ctx, n.root)
	n.must(err)
	if diff := cmp.Diff([]state.Copy{c}, all); diff != "" {
		t.Error(diff)
	}
	if len(c.Bookmarks) != 1 || c.Bookmarks[0].Name != "s1" || c.Bookmarks[0].GUID != c.Snapshots[0].GUID || c.Bookmarks[0].Txg != c.Snapshots[0].Txg {
		t.Errorf("bookmarks %v, of %v", c.Bookmarks, c.Snapshots[0])
	}
	tags, err := n.Holds(n.ctx, v+"@s1")
	n.must(err)
	if diff := cmp.Diff(map[string][]string{v + "@s1": {"drover:base"}}, tags); diff != "" {
		t.Error(diff)
	}

	if err := n.DestroySnapshots(n.ctx, v, "s1", "s2"); !errors.Is(err, zfs.ErrHeld) && !errors.Is(err, zfs.ErrBusy) {
		t.Errorf("got %v, want held", err)
	}
	n.is(n.Destroy(n.ctx, v), zfs.ErrChildren)
	n.is(n.Rollback(n.ctx, v+"@s1"), zfs.ErrNewer)
	n.must(n.ReleaseHold(n.ctx, "drover:base", v+"@s1", v+"@s2"))
	n.must(n.DestroySnapshots(n.ctx, v, "s1", "gone"))
	n.must(n.DestroySnapshots(n.ctx, v, "gone"))
	n.is(n.Destroy(n.ctx, v+"@gone"), zfs.ErrNotFound)
	n.must(n.Destroy(n.ctx, v+"#s1"))
	n.must(n.Unmount(n.ctx, v))
	n.must(n.Unmount(n.ctx, v))
	n.must(n.Rename(n.ctx, v, v+".aside"))
	_, err = n.Copy(n.ctx, v)
	n.is(err, zfs.ErrNotFound)
	_, err = n.Copy(n.ctx, n.root)
	n.is(err, zfs.ErrNotCopy)
	n.must(n.DestroyTree(n.ctx, v+".aside"))
	names, err := n.Datasets(n.ctx, "tank")
	n.must(err)
	if !slices.Equal(names, []string{"tank", "tank/drover"}) {
		t.Errorf("left: %q", names)
	}
}

func TestPoolAndRoot(t *testing.T) { onEach(t, poolAndRoot) }

func poolAndRoot(t *testing.T, version string) {
	n := newNode(t, version, "tank")
	p, err := n.Pool(n.ctx, "tank")
	n.must(err)
	if p.Health != "ONLINE" || p.Free <= 0 || p.Free > p.Size || p.Size > 1<<30 {
		t.Errorf("pool: %+v", p)
	}
	_, err = n.Pool(n.ctx, "lake")
	n.is(err, zfs.ErrNoPool)
	n.must(n.Set(n.ctx, n.root, map[string]string{zfs.PropNode: "9c1f", zfs.PropRefused + "uuid": "0.3"}))
	n.must(n.Inherit(n.ctx, n.root, zfs.PropNode))
	props, err := n.LocalProperties(n.ctx, n.root)
	n.must(err)
	if props[zfs.PropRefused+"uuid"] != "0.3" || props[zfs.PropNode] != "" || props["canmount"] != "off" {
		t.Errorf("properties: %v", props)
	}
	v, err := n.Version(n.ctx)
	n.must(err)
	if v.Userland.Compare(zfs.Oldest) < 0 {
		t.Errorf("version: %+v", v)
	}
}

func TestReplicateThenCatchUpThenBack(t *testing.T) { onEach(t, replicateThenCatchUpThenBack) }

func replicateThenCatchUpThenBack(t *testing.T, version string) {
	a, b := newNode(t, version, "tank"), newNode(t, version, "lake")
	src := a.primary("tododata")
	dst := b.root + "/tododata"
	a.must(a.Snapshot(a.ctx, "s1", nil, src))
	q := zfs.SendRequest{Snapshot: src + "@s1", Flags: []string{"-L"}}
	if n, err := a.Estimate(a.ctx, q); err != nil || n < 1<<20 {
		t.Errorf("estimate %d, %v", n, err)
	}
	a.must(carry(a, b, q, zfs.ReceiveRequest{Dataset: dst, Properties: standby("tododata")}))
	b.is(carry(a, b, q, zfs.ReceiveRequest{Dataset: dst}), zfs.ErrExists)

	a.write(src, "more", "more")
	a.must(a.Sync(a.ctx, "tank"))
	if n, err := a.WrittenSince(a.ctx, src+"@s1"); err != nil || n == 0 {
		t.Errorf("written %d, %v", n, err)
	}
	_, err := a.WrittenSince(a.ctx, src+"@gone")
	a.is(err, zfs.ErrNotFound)
	a.must(a.Snapshot(a.ctx, "s2", nil, src))
	a.must(carry(a, b, zfs.SendRequest{Snapshot: src + "@s2", Base: src + "@s1", Flags: q.Flags}, zfs.ReceiveRequest{Dataset: dst}))
	theirs, ours := a.copy(src), b.copy(dst)
	for i := range 2 {
		if theirs.Snapshots[i].GUID != ours.Snapshots[i].GUID {
			t.Errorf("snapshot %d differs: %v, %v", i, theirs.Snapshots[i], ours.Snapshots[i])
		}
	}
	if ours.Role != state.Standby || !ours.Readonly || ours.Mounted || ours.Written != 0 {
		t.Errorf("standby: %+v", ours)
	}

	a.must(a.Set(a.ctx, src, map[string]string{zfs.PropRole: "retired", "readonly": "on"}))
	b.must(b.Set(b.ctx, dst, map[string]string{zfs.PropRole: "primary", zfs.PropEpoch: "0.2", "readonly": "off"}))
	b.must(b.Mount(b.ctx, dst))
	b.write(dst, "after", "after")
	b.must(b.Snapshot(b.ctx, "r1", nil, dst))
	b.must(carry(b, a, zfs.SendRequest{Snapshot: dst + "@r1", Base: dst + "@s2", Flags: q.Flags}, zfs.ReceiveRequest{Dataset: src}))
	b.is(carry(b, a, zfs.SendRequest{Snapshot: dst + "@r1", Base: dst + "@gone"}, zfs.ReceiveRequest{Dataset: src}), zfs.ErrNotFound)
}

func TestReceiveOntoWhatHasChanged(t *testing.T) { onEach(t, receiveOntoWhatHasChanged) }

func receiveOntoWhatHasChanged(t *testing.T, version string) {
	a, b := newNode(t, version, "tank"), newNode(t, version, "lake")
	src, dst := a.primary("v"), b.root+"/v"
	a.must(a.Snapshot(a.ctx, "s1", nil, src))
	a.must(carry(a, b, zfs.SendRequest{Snapshot: src + "@s1"}, zfs.ReceiveRequest{Dataset: dst, Properties: standby("v")}))
	b.must(b.Set(b.ctx, dst, map[string]string{"readonly": "off"}))
	b.must(b.Mount(b.ctx, dst))
	b.write(dst, "own", "own")
	a.must(a.Snapshot(a.ctx, "s2", nil, src))
	a.must(a.Snapshot(a.ctx, "s3", nil, src))
	b.is(carry(a, b, zfs.SendRequest{Snapshot: src + "@s2", Base: src + "@s1"}, zfs.ReceiveRequest{Dataset: dst}), zfs.ErrModified)
	b.is(carry(a, b, zfs.SendRequest{Snapshot: src + "@s3", Base: src + "@s2"}, zfs.ReceiveRequest{Dataset: dst}), zfs.ErrNoBase)
	a.is(carry(a, b, zfs.SendRequest{Snapshot: src + "@s1", Base: src + "@s2"}, zfs.ReceiveRequest{Dataset: dst}), zfs.ErrNoBase)
}

func TestResumeAfterACut(t *testing.T) { onEach(t, resumeAfterACut) }

func resumeAfterACut(t *testing.T, version string) {
	a, b := newNode(t, version, "tank"), newNode(t, version, "lake")
	src, dst := a.primary("v"), b.root+"/v"
	a.must(a.Snapshot(a.ctx, "s1", nil, src))
	s, err := a.Send(a.ctx, zfs.SendRequest{Snapshot: src + "@s1"})
	a.must(err)
	err = b.Receive(b.ctx, zfs.ReceiveRequest{Dataset: dst, Properties: standby("v")}, io.LimitReader(s, 600_000))
	b.is(err, zfs.ErrIncomplete)
	a.must(s.Close())

	half := b.copy(dst)
	if half.ResumeToken == "" || half.Role != state.Standby || len(half.Snapshots) != 0 {
		t.Fatalf("half: %+v", half)
	}
	tok, err := a.TokenContents(a.ctx, half.ResumeToken)
	a.must(err)
	if tok.ToName != src+"@s1" || tok.ToGUID != a.copy(src).Snapshots[0].GUID || tok.FromGUID != 0 || tok.Bytes == 0 {
		t.Errorf("token: %+v", tok)
	}
	q := zfs.SendRequest{Token: half.ResumeToken}
	if n, err := a.Estimate(a.ctx, q); err != nil || n <= 0 || n >= 1<<20 {
		t.Errorf("estimate of the rest: %d, %v", n, err)
	}
	a.must(carry(a, b, q, zfs.ReceiveRequest{Dataset: dst}))
	whole := b.copy(dst)
	if whole.ResumeToken != "" || len(whole.Snapshots) != 1 || whole.Snapshots[0].GUID != tok.ToGUID {
		t.Errorf("whole: %+v", whole)
	}
	b.must(b.AbortReceive(b.ctx, dst))
	b.is(b.AbortReceive(b.ctx, dst+"x"), zfs.ErrNotFound)

	a.must(a.Destroy(a.ctx, src+"@s1"))
	stale, err := a.TokenContents(a.ctx, half.ResumeToken)
	a.is(err, zfs.ErrTokenStale)
	if stale.ToGUID != tok.ToGUID {
		t.Errorf("stale token: %+v", stale)
	}
	a.is(carry(a, b, q, zfs.ReceiveRequest{Dataset: dst}), zfs.ErrTokenStale)
	_, err = a.TokenContents(a.ctx, "1-1-1-1")
	a.is(err, zfs.ErrTokenCorrupt)
}

func TestReceiveAborted(t *testing.T) { onEach(t, receiveAborted) }

func receiveAborted(t *testing.T, version string) {
	a, b := newNode(t, version, "tank"), newNode(t, version, "lake")
	src, dst := a.primary("v"), b.root+"/v"
	a.must(a.Snapshot(a.ctx, "s1", nil, src))
	s, err := a.Send(a.ctx, zfs.SendRequest{Snapshot: src + "@s1"})
	a.must(err)
	b.is(b.Receive(b.ctx, zfs.ReceiveRequest{Dataset: dst}, io.LimitReader(s, 600_000)), zfs.ErrIncomplete)
	a.must(s.Close())
	b.must(b.AbortReceive(b.ctx, dst))
	_, err = b.Facts(b.ctx, dst)
	b.is(err, zfs.ErrNotFound)
}

func TestOriginOfAClone(t *testing.T) { onEach(t, originOfAClone) }

func originOfAClone(t *testing.T, version string) {
	n := newNode(t, version, "tank")
	v := n.primary("v")
	n.must(n.Snapshot(n.ctx, "s1", nil, v))
	n.must(n.Clone(n.ctx, v+"@s1", n.root+"/c", map[string]string{"canmount": "noauto"}))
	origin, err := n.Origin(n.ctx, n.root+"/c")
	n.must(err)
	if origin != v+"@s1" {
		t.Errorf("origin %q", origin)
	}
	n.is(n.Destroy(n.ctx, v+"@s1"), zfs.ErrChildren)
	facts, err := n.Facts(n.ctx, v)
	n.must(err)
	if facts.Volume || facts.Origin != "" || facts.Used < 1<<20 || facts.Mountpoint == "" {
		t.Errorf("facts: %+v", facts)
	}
}
