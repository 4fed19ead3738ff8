package zfsim

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// digest describes everything under a folder that a stream must carry.
func digest(t *testing.T, root string) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := os.Lstat(p)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		mtime := st.ModTime().UnixNano()
		fmt.Fprintln(h, rel, st.Mode(), mtime)
		switch {
		case st.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintln(h, len(b), sha256.Sum256(b))
		case st.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			fmt.Fprintln(h, target)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func random(n int, seed uint64) []byte {
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	b := make([]byte, n)
	rng.Read(b) //nolint:errcheck // never fails
	return b
}

// sampleTree fills a dataset with all kinds of entries.
func sampleTree(t *testing.T, dir string) {
	t.Helper()
	write(t, dir+"/big", random(3<<20+12345, 1))
	write(t, dir+"/big2", random(2<<20, 2))
	write(t, dir+"/data/small", []byte("hello"))
	write(t, dir+"/data/empty", nil)
	write(t, dir+"/data/dir.x/f", []byte("order"))
	write(t, dir+"/data/dir/f", []byte("order"))
	must(t, os.Link(dir+"/data/small", dir+"/link"))
	must(t, os.Symlink("nowhere/at all", dir+"/sym"))
	must(t, os.Chmod(dir+"/data/small", 0o600))
	must(t, os.Chmod(dir+"/data/empty", 0o400))
	write(t, dir+"/sparse", []byte("x"))
	must(t, os.Truncate(dir+"/sparse", 4<<20))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func patch(t *testing.T, path string, off int64, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(data, off)
	must(t, err)
	must(t, f.Close())
}

// changeTree changes, adds, removes and renames.
func changeTree(t *testing.T, dir string) {
	t.Helper()
	patch(t, dir+"/big", 1<<20, []byte("changed"))
	must(t, os.Truncate(dir+"/big2", 100_000))
	must(t, os.Rename(dir+"/data/dir", dir+"/data/renamed"))
	must(t, os.Remove(dir+"/data/empty"))
	must(t, os.Remove(dir+"/sym"))
	write(t, dir+"/sym/now a dir", []byte("1"))
	must(t, os.Remove(dir+"/data/small")) // the link stays
	write(t, dir+"/new", random(300_000, 3))
	patch(t, dir+"/sparse", 2<<20, []byte("in the middle"))
	must(t, os.Chmod(dir+"/data", 0o750))
}

func TestStreamsCarryEverything(t *testing.T) {
	r := newRunner(t, 256<<20)
	ok(t, r, "zfs", "create", "a/v")
	dir := r.mount() + "/a/v"
	sampleTree(t, dir)
	ok(t, r, "zfs", "snapshot", "a/v@1")
	ok(t, r, "zfs", "bookmark", "a/v@1", "a/v#1")
	transfer(t, r, []string{"a/v@1"}, []string{"b/v"})
	if got, want := digest(t, r.mount()+"/b/v"), digest(t, dir); got != want {
		t.Error("full stream: trees differ")
	}
	changeTree(t, dir)
	ok(t, r, "zfs", "snapshot", "a/v@2")
	bySnap, byMark := sendFile(t, r, "-i", "@1", "a/v@2"), sendFile(t, r, "-i", "#1", "a/v@2")
	if !sameFile(t, bySnap, byMark) {
		t.Error("the increment from the bookmark differs from that from the snapshot")
	}
	if res := run(t, r, byMark, "zfs", "receive", "b/v"); res.code != 0 {
		t.Fatalf("receive: %s", res.err)
	}
	if got, want := digest(t, r.mount()+"/b/v"), digest(t, dir); got != want {
		t.Error("increment: trees differ")
	}
	// And back: the copy goes on, the origin takes its increment.
	changeBack(t, r.mount()+"/b/v")
	ok(t, r, "zfs", "snapshot", "b/v@3")
	transfer(t, r, []string{"-i", "@2", "b/v@3"}, []string{"a/v"})
	if got, want := digest(t, r.mount()+"/b/v"), digest(t, dir); got != want {
		t.Error("the way back: trees differ")
	}
	for _, snap := range []string{"@1", "@2", "@3"} {
		if a, b := get(t, r, "guid", "a/v"+snap), get(t, r, "guid", "b/v"+snap); a != b {
			t.Errorf("guid of %s: %s and %s", snap, a, b)
		}
	}
	ok(t, r, "zfs", "rollback", "-r", "b/v@1")
	ok(t, r, "zfs", "clone", "a/v@1", "a/c")
	if got, want := digest(t, r.mount()+"/b/v"), digest(t, r.mount()+"/a/c"); got != want {
		t.Error("rollback and clone of the same snapshot differ")
	}
}

func changeBack(t *testing.T, dir string) {
	t.Helper()
	must(t, os.RemoveAll(dir+"/sym"))
	must(t, os.RemoveAll(dir+"/data/renamed"))
	patch(t, dir+"/big", 2<<20, []byte("again"))
	write(t, dir+"/data/small", []byte("another inode"))
}

func sameFile(t *testing.T, a, b string) bool {
	t.Helper()
	x, err := os.ReadFile(a)
	must(t, err)
	y, err := os.ReadFile(b)
	must(t, err)
	return bytes.Equal(x, y)
}

// TestStreamHead: agents read the first 312 bytes, of either implementation.
func TestStreamHead(t *testing.T) {
	r := newRunner(t, 128<<20)
	ok(t, r, "zfs", "create", "a/v")
	ok(t, r, "zfs", "snapshot", "a/v@1")
	ok(t, r, "zfs", "snapshot", "a/v@2")
	b, err := os.ReadFile(sendFile(t, r, "-i", "@1", "a/v@2"))
	must(t, err)
	if len(b) != 624 {
		t.Errorf("an empty increment has %d bytes, OpenZFS makes 624", len(b))
	}
	u64 := func(off int) string { return strconv.FormatUint(binary.LittleEndian.Uint64(b[off:]), 10) }
	if u64(8) != strconv.Itoa(0x2F5bacbac) || b[16]&3 != 1 {
		t.Errorf("magic %s, kind %d", u64(8), b[16]&3)
	}
	if got, want := u64(40), get(t, r, "guid", "a/v@2"); got != want {
		t.Errorf("toguid %s, want %s", got, want)
	}
	if got, want := u64(48), get(t, r, "guid", "a/v@1"); got != want {
		t.Errorf("fromguid %s, want %s", got, want)
	}
	if got, want := u64(24), get(t, r, "creation", "a/v@2"); got != want {
		t.Errorf("creation %s, want %s", got, want)
	}
	if name, _, _ := bytes.Cut(b[56:312], []byte{0}); string(name) != "a/v@2" {
		t.Errorf("toname %q", name)
	}
}

func TestEstimateIsNearTheTruth(t *testing.T) {
	r := newRunner(t, 256<<20)
	ok(t, r, "zfs", "create", "a/v")
	write(t, r.mount()+"/a/v/f", random(8<<20, 1))
	ok(t, r, "zfs", "snapshot", "a/v@1")
	out := ok(t, r, "zfs", "send", "-nvP", "a/v@1")
	size, err := strconv.ParseInt(out[strings.LastIndex(out, "\t")+1:], 10, 64)
	must(t, err)
	st, err := os.Stat(sendFile(t, r, "a/v@1"))
	must(t, err)
	if diff := st.Size() - size; diff < -size/50 || diff > size/50 {
		t.Errorf("estimated %d, sent %d", size, st.Size())
	}
}

// TestCutStreams: a stream that ends early is refused at whatever byte it ends; with -s it can be gone on with from
// there, and the outcome is the same.
func TestCutStreams(t *testing.T) {
	r := newRunner(t, 256<<20)
	ok(t, r, "zfs", "create", "a/v")
	sampleTree(t, r.mount()+"/a/v")
	ok(t, r, "zfs", "snapshot", "a/v@1")
	full := sendFile(t, r, "a/v@1")
	transfer(t, r, []string{"a/v@1"}, []string{"b/whole"})
	want := digest(t, r.mount()+"/b/whole")
	st, err := os.Stat(full)
	must(t, err)
	for _, at := range []int64{0, 1, 311, 312, 313, 400, 1 << 20, 1<<20 + 1, 3 << 20, st.Size() / 2, st.Size() - 313, st.Size() - 312, st.Size() - 1} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			cut := cutFile(t, full, at)
			if res := run(t, r, cut, "zfs", "receive", "-u", "b/n"); res.code == 0 {
				t.Fatal("a cut stream was taken")
			}
			refuses(t, r, "does not exist", "zfs", "list", "b/n")
			res := run(t, r, cut, "zfs", "receive", "-s", "-u", "b/n")
			if res.code == 0 {
				t.Fatal("a cut stream was taken")
			}
			if at < 312 {
				refuses(t, r, "does not exist", "zfs", "list", "b/n")
				return
			}
			token := get(t, r, "receive_resume_token", "b/n")
			transfer(t, r, []string{"-t", token}, []string{"-s", "b/n"})
			if got := digest(t, r.mount()+"/b/n"); got != want {
				t.Error("resumed tree differs")
			}
			if get(t, r, "guid", "b/n@1") != get(t, r, "guid", "a/v@1") || get(t, r, "receive_resume_token", "b/n") != "-" {
				t.Error("guid or token wrong after the resume")
			}
			ok(t, r, "zfs", "destroy", "-r", "b/n")
		})
	}
}

func cutFile(t *testing.T, path string, n int64) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	out := filepath.Join(t.TempDir(), "cut")
	must(t, os.WriteFile(out, b[:n], 0o600))
	return out
}

func TestResumedIncrement(t *testing.T) {
	r := newRunner(t, 256<<20)
	ok(t, r, "zfs", "create", "a/v")
	sampleTree(t, r.mount()+"/a/v")
	ok(t, r, "zfs", "snapshot", "a/v@1")
	transfer(t, r, []string{"a/v@1"}, []string{"b/v"})
	changeTree(t, r.mount()+"/a/v")
	write(t, r.mount()+"/a/v/zlast", random(3<<20, 9))
	ok(t, r, "zfs", "snapshot", "a/v@2")
	inc := sendFile(t, r, "-i", "@1", "a/v@2")
	st, err := os.Stat(inc)
	must(t, err)
	ok(t, r, "zfs", "hold", "base", "b/v@1")
	for at := int64(312); ; at += st.Size() / 7 {
		source := inc
		if token := get(t, r, "receive_resume_token", "b/v"); token != "-" {
			source = sendFile(t, r, "-t", token)
		}
		part, err := os.Stat(source)
		must(t, err)
		res := run(t, r, cutFile(t, source, min(part.Size(), at)), "zfs", "receive", "-s", "-u", "b/v")
		if res.code == 0 {
			break
		}
		if at > 8*st.Size() {
			t.Fatal("never done")
		}
	}
	if digest(t, r.mount()+"/a/v") != digest(t, r.mount()+"/b/v") {
		t.Error("trees differ")
	}
}

// TestDamagedStreams flips one byte at many places.
func TestDamagedStreams(t *testing.T) {
	r := onlyStandIn(t, 128<<20)
	ok(t, r, "zfs", "create", "a/v")
	write(t, r.mount()+"/a/v/f", random(600_000, 1))
	ok(t, r, "zfs", "snapshot", "a/v@1")
	whole, err := os.ReadFile(sendFile(t, r, "a/v@1"))
	must(t, err)
	for i := 0; i < len(whole); i += len(whole)/60 + 1 {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x10
		path := filepath.Join(t.TempDir(), "damaged")
		must(t, os.WriteFile(path, damaged, 0o600))
		if res := run(t, r, path, "zfs", "receive", "-u", "b/n"); res.code == 0 {
			t.Fatalf("a stream with byte %d changed was taken", i)
		}
		refuses(t, r, "does not exist", "zfs", "list", "b/n")
	}
}

// startWithInput starts a command whose standard input the test holds.
func startWithInput(t *testing.T, r runner, args ...string) (*exec.Cmd, io.WriteCloser, *bytes.Buffer) {
	t.Helper()
	cmd := r.command(args...)
	in, err := cmd.StdinPipe()
	must(t, err)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	must(t, cmd.Start())
	return cmd, in, &errs
}

func TestWhileASnapshotIsSent(t *testing.T) {
	r := newRunner(t, 256<<20)
	ok(t, r, "zfs", "create", "a/v")
	write(t, r.mount()+"/a/v/f", random(8<<20, 1))
	ok(t, r, "zfs", "snapshot", "a/v@1")
	cmd := r.command("zfs", "send", "a/v@1")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	_, err = io.ReadFull(out, make([]byte, 312)) // it runs, and the pipe is full
	must(t, err)
	refuses(t, r, "dataset is busy", "zfs", "destroy", "a/v@1")
	ok(t, r, "zfs", "rename", "a/v@1", "a/v@2")
	ok(t, r, "zfs", "unmount", "a/v")
	refuses(t, r, "pool is busy", "zpool", "export", "a")
	_, err = io.Copy(io.Discard, out)
	must(t, err)
	must(t, cmd.Wait())
	ok(t, r, "zfs", "destroy", "a/v@2")
}

func TestSendEndsWithItsReader(t *testing.T) {
	r := newRunner(t, 256<<20)
	ok(t, r, "zfs", "create", "a/v")
	write(t, r.mount()+"/a/v/f", random(8<<20, 1))
	ok(t, r, "zfs", "snapshot", "a/v@1")
	cmd := r.command("zfs", "send", "a/v@1")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	must(t, out.Close())
	if err := cmd.Wait(); err == nil {
		t.Error("send ended well though nobody read")
	}
	ok(t, r, "zfs", "destroy", "a/v@1") // its hold went with it
}

func TestOneReceiveAtATime(t *testing.T) {
	r := newRunner(t, 256<<20)
	ok(t, r, "zfs", "create", "a/v")
	write(t, r.mount()+"/a/v/f", random(4<<20, 1))
	ok(t, r, "zfs", "snapshot", "a/v@1")
	full := sendFile(t, r, "a/v@1")
	b, err := os.ReadFile(full)
	must(t, err)
	cmd, in, _ := startWithInput(t, r, "zfs", "receive", "-u", "b/v")
	_, err = in.Write(b[:2<<20])
	must(t, err)
	eventually(t, "b/v is listed", func() bool { return run(t, r, "", "zfs", "list", "b/v").code == 0 })
	if res := run(t, r, full, "zfs", "receive", "-u", "b/v"); !strings.Contains(res.err, "destination 'b/v' exists") {
		t.Errorf("second receive: %d %q", res.code, res.err)
	}
	refuses(t, r, "busy", "zfs", "destroy", "b/v")
	_, err = in.Write(b[2<<20:])
	must(t, err)
	must(t, in.Close())
	must(t, cmd.Wait())
	ok(t, r, "zfs", "list", "b/v@1")
}

// TestSnapshotDuringReceive: it is allowed, and makes the running receive fail at its end.
func TestSnapshotDuringReceive(t *testing.T) {
	r := newRunner(t, 256<<20)
	ok(t, r, "zfs", "create", "a/v")
	write(t, r.mount()+"/a/v/f", random(1<<20, 1))
	ok(t, r, "zfs", "snapshot", "a/v@1")
	transfer(t, r, []string{"a/v@1"}, []string{"-u", "b/v"})
	write(t, r.mount()+"/a/v/g", random(4<<20, 2))
	ok(t, r, "zfs", "snapshot", "a/v@2")
	b, err := os.ReadFile(sendFile(t, r, "-i", "@1", "a/v@2"))
	must(t, err)
	cmd, in, errs := startWithInput(t, r, "zfs", "receive", "-u", "b/v")
	_, err = in.Write(b[:2<<20])
	must(t, err)
	eventually(t, "the receive holds its base", func() bool {
		return strings.Contains(run(t, r, "", "zfs", "destroy", "b/v@1").err, "%recv")
	})
	ok(t, r, "zfs", "snapshot", "b/v@mid")
	_, err = in.Write(b[2<<20:])
	must(t, err)
	must(t, in.Close())
	if err := cmd.Wait(); exitCode(err) != 1 || !strings.Contains(errs.String(), "most recent snapshot of b/v does not") {
		t.Errorf("receive: %v %q", err, errs.String())
	}
}

// TestKilledReceive: without -s nothing is left, with -s it is gone on with.
func TestKilledReceive(t *testing.T) {
	r := newRunner(t, 256<<20)
	ok(t, r, "zfs", "create", "a/v")
	sampleTree(t, r.mount()+"/a/v")
	ok(t, r, "zfs", "snapshot", "a/v@1")
	b, err := os.ReadFile(sendFile(t, r, "a/v@1"))
	must(t, err)
	kill := func(args ...string) {
		t.Helper()
		cmd, in, _ := startWithInput(t, r, append([]string{"zfs", "receive", "-u"}, args...)...)
		_, err := in.Write(b[:4<<20])
		must(t, err)
		eventually(t, "data has arrived", func() bool {
			res := run(t, r, "", "zfs", "get", "-Hp", "-o", "value", "used", args[len(args)-1])
			n, _ := strconv.ParseInt(strings.TrimSpace(res.out), 10, 64)
			return n > 2<<20
		})
		must(t, cmd.Process.Kill())
		if err := cmd.Wait(); err == nil {
			t.Error("not killed")
		}
	}
	kill("b/gone")
	refuses(t, r, "does not exist", "zfs", "list", "b/gone")
	kill("-s", "b/n")
	token := get(t, r, "receive_resume_token", "b/n")
	if !strings.HasPrefix(token, "1-") {
		t.Fatalf("token %q", token)
	}
	transfer(t, r, []string{"-t", token}, []string{"-s", "b/n"})
	if digest(t, r.mount()+"/a/v") != digest(t, r.mount()+"/b/n") {
		t.Error("trees differ")
	}
}
