package zfsim

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/drover-project/drover/lab/zfsim/internal/store"
)

// setFaults puts faults in force.
func setFaults(t *testing.T, r *standIn, f Faults) {
	t.Helper()
	must(t, WriteFaults(r.dir(), f))
}

// reached fails the test if a planned fault never acted.
func reached(t *testing.T, r *standIn) {
	t.Helper()
	hits, err := ReachedFaults(r.dir())
	must(t, err)
	for i, n := range hits {
		if n == 0 {
			t.Errorf("rule %d was never reached", i)
		}
	}
}

// steps are changing commands on a prepared machine, each with a check whether its effect is there.
var steps = []struct {
	name, command string
	args          []string
	there         func(t *testing.T, r *standIn) bool
}{
	{"create", "create", []string{"zfs", "create", "a/new"}, exists("a/new")},
	{"snapshot", "snapshot", []string{"zfs", "snapshot", "a/v@new"}, exists("a/v@new")},
	{"snapshots", "snapshot", []string{"zfs", "snapshot", "a/v@new", "a/w@new"}, exists("a/v@new", "a/w@new")},
	{"set", "set", []string{"zfs", "set", "ns:role=x", "readonly=on", "a/v"}, has("readonly=on", "ns:role=x")},
	{"hold", "hold", []string{"zfs", "hold", "tag", "a/v@1"}, func(t *testing.T, r *standIn) bool { return get(t, r, "userrefs", "a/v@1") == "1" }},
	{"unmount", "unmount", []string{"zfs", "unmount", "a/v"}, has("mounted=no")},
	{"rename", "rename", []string{"zfs", "rename", "a/v", "a/x"}, exists("a/x@1", "a/x@2")},
	{"destroy snapshot", "destroy", []string{"zfs", "destroy", "a/v@1"}, missing("a/v@1")},
	{"rollback", "rollback", []string{"zfs", "rollback", "a/v@2"}, rolledBack},
	{"clone", "clone", []string{"zfs", "clone", "a/v@1", "a/c"}, exists("a/c")},
	{"mountpoint", "set", []string{"zfs", "set", "mountpoint=@/elsewhere", "a/v"}, has("mountpoint=@/elsewhere")},
}

func rolledBack(t *testing.T, r *standIn) bool {
	ok(t, r, "zfs", "list") // a command completes what the dead one began
	_, err := os.Stat(r.mount() + "/a/v/later")
	return err != nil
}

func exists(names ...string) func(*testing.T, *standIn) bool {
	return func(t *testing.T, r *standIn) bool { return countThere(t, r, names) == len(names) }
}

func missing(names ...string) func(*testing.T, *standIn) bool {
	return func(t *testing.T, r *standIn) bool { return countThere(t, r, names) == 0 }
}

func countThere(t *testing.T, r *standIn, names []string) int {
	n := 0
	for _, name := range names {
		if run(t, r, "", "zfs", "list", name).code == 0 {
			n++
		}
	}
	return n
}

func has(pairs ...string) func(*testing.T, *standIn) bool {
	return func(t *testing.T, r *standIn) bool {
		n := 0
		for _, pair := range pairs {
			k, v, _ := strings.Cut(strings.ReplaceAll(pair, "@", r.mount()), "=")
			if get(t, r, k, "a/v") == v {
				n++
			}
		}
		if n != 0 && n != len(pairs) {
			t.Errorf("half of %q is set", pairs)
		}
		return n == len(pairs)
	}
}

// prepared is a machine with data, snapshots and a change after the last one.
func prepared(t *testing.T) *standIn {
	r := onlyStandIn(t, 128<<20)
	ok(t, r, "zfs", "create", "a/v")
	ok(t, r, "zfs", "create", "a/w")
	write(t, r.mount()+"/a/v/f", random(300_000, 1))
	ok(t, r, "zfs", "snapshot", "a/v@1")
	write(t, r.mount()+"/a/v/f", random(300_000, 2))
	ok(t, r, "zfs", "snapshot", "a/v@2")
	write(t, r.mount()+"/a/v/later", []byte("x"))
	return r
}

// TestKilledAtEachPoint kills each command at each of its points: the effect is there or it is not, never half, and
// the command can be given again.
func TestKilledAtEachPoint(t *testing.T) {
	for _, step := range steps {
		for _, at := range []Action{ActKillBefore, ActKillCommit, ActKillAfter} {
			t.Run(step.name+" "+string(at), func(t *testing.T) {
				t.Parallel()
				r := prepared(t)
				args := make([]string, len(step.args))
				for i, a := range step.args {
					args[i] = strings.Replace(a, "=@", "="+r.mount(), 1)
				}
				setFaults(t, r, Faults{Rules: []Rule{{Command: step.command, Action: at, Times: 1}}})
				if res := run(t, r, "", args...); res.code != -1 {
					t.Fatalf("not killed: %+v", res)
				}
				reached(t, r)
				if got, want := step.there(t, r), at != ActKillBefore; got != want {
					t.Errorf("effect there: %v, want %v", got, want)
				}
				checkMachine(t, r)
				if at == ActKillBefore {
					ok(t, r, args...)
					if !step.there(t, r) {
						t.Error("given again, no effect")
					}
					checkMachine(t, r)
				}
			})
		}
	}
}

// checkMachine verifies what must hold in every state: mounted datasets are linked and nothing else is, every tree
// can be read, and no head, pack or receive is left that nothing refers to.
func checkMachine(t *testing.T, r *standIn) {
	t.Helper()
	ok(t, r, "zfs", "list") // completes what a dead process left
	m := &machine{dir: realPath(t, r.dir())}
	for _, name := range []string{"a", "b"} {
		p, err := m.loadAny(name)
		must(t, err)
		if len(p.Pending) > 0 {
			t.Errorf("pool %s: steps left: %+v", name, p.Pending)
		}
		known := map[string]bool{}
		for _, d := range p.Datasets {
			known[fmt.Sprint(d.ID)] = true
			checkMounted(t, m, p, d)
		}
		heads, err := os.ReadDir(m.path("heads", name))
		must(t, err)
		for _, h := range heads {
			left, err := os.ReadDir(m.path("heads", name, h.Name()))
			must(t, err)
			if !known[h.Name()] && len(left) > 0 { // an empty one is what the next create will use
				t.Errorf("pool %s: head %s belongs to nothing", name, h.Name())
			}
		}
		checkTrees(t, m, p)
	}
}

func realPath(t *testing.T, p string) string {
	t.Helper()
	p, err := filepath.EvalSymlinks(p)
	must(t, err)
	return p
}

func checkMounted(t *testing.T, m *machine, p *pool, d *dataset) {
	t.Helper()
	if d.Mounted == "" {
		return
	}
	if got, err := os.Readlink(d.Mounted); err != nil || got != m.head(p, d) {
		t.Errorf("%s is mounted at %s, which leads to %q (%v)", d.Name, d.Mounted, got, err)
	}
}

func checkTrees(t *testing.T, m *machine, p *pool) {
	t.Helper()
	s := m.store(p)
	defer s.Close()
	for _, root := range p.roots() {
		c, err := s.Walk(root, 0)
		var buf []byte
		for ; err == nil && c.Entry() != nil; err = c.Next() {
			err = s.EachBlock(c.Entry(), 0, func(_ int64, r store.Ref) (rerr error) {
				if r.Stored() {
					buf, rerr = s.Read(r, buf)
				}
				return rerr
			})
			if err != nil {
				break
			}
		}
		if err != nil {
			t.Errorf("pool %s: a tree cannot be read: %v", p.Name, err)
		}
	}
}

// TestKilledReceiveAtEachPoint kills the end of an incremental receive, where the head is changed.
func TestKilledReceiveAtEachPoint(t *testing.T) {
	for _, at := range []Action{ActKillBefore, ActKillCommit, ActKillAfter} {
		for times := 1; times <= 3; times++ {
			t.Run(fmt.Sprint(at, times), func(t *testing.T) {
				t.Parallel()
				r := prepared(t)
				transfer(t, r, []string{"a/v@1"}, []string{"b/v"})
				inc := sendFile(t, r, "-i", "@1", "a/v@2")
				setFaults(t, r, Faults{Rules: []Rule{{Command: "receive", Action: at, Times: times}}})
				for range times { // killed at the first change each time, then at the last
					run(t, r, inc, "zfs", "receive", "-s", "b/v")
				}
				setFaults(t, r, Faults{})
				checkMachine(t, r)
				finishReceive(t, r)
				checkMachine(t, r)
				if got, want := get(t, r, "guid", "b/v@2"), get(t, r, "guid", "a/v@2"); got != want {
					t.Errorf("guid %s, want %s", got, want)
				}
				ok(t, r, "zfs", "rollback", "a/v@2")
				if digest(t, r.mount()+"/a/v") != digest(t, r.mount()+"/b/v") {
					t.Error("trees differ")
				}
			})
		}
	}
}

// finishReceive brings a/v@2 to b/v from whatever state.
func finishReceive(t *testing.T, r *standIn) {
	t.Helper()
	if token := get(t, r, "receive_resume_token", "b/v"); token != "-" {
		transfer(t, r, []string{"-t", token}, []string{"-s", "b/v"})
		return
	}
	transfer(t, r, []string{"-i", "@1", "a/v@2"}, []string{"-s", "b/v"})
}

func TestManyProcesses(t *testing.T) {
	r := onlyStandIn(t, 256<<20)
	ok(t, r, "zfs", "create", "a/v")
	write(t, r.mount()+"/a/v/f", random(500_000, 1))
	ok(t, r, "zfs", "snapshot", "a/v@0")
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			ds := fmt.Sprintf("a/p%d", i)
			commands := [][]string{{"create", ds}, {"snapshot", ds + "@1"}, {"set", fmt.Sprintf("ns:p%d=1", i), "a/v"},
				{"hold", fmt.Sprint("t", i), "a/v@0"}, {"snapshot", fmt.Sprintf("a/v@s%d", i)}, {"list", "-t", "all"},
				{"destroy", ds + "@1"}, {"rename", ds, ds + "x"}}
			for _, args := range commands {
				if res := run(t, r, "", append([]string{"zfs"}, args...)...); res.code != 0 {
					t.Errorf("%q: %s", args, res.err)
				}
			}
		})
	}
	wg.Wait()
	if got := get(t, r, "userrefs", "a/v@0"); got != "6" {
		t.Errorf("%s holds, want 6", got)
	}
	if got := strings.Count(ok(t, r, "zfs", "list", "-Hp", "-t", "snapshot", "-o", "name", "a/v"), "@s"); got != 6 {
		t.Errorf("%d snapshots, want 6", got)
	}
	checkMachine(t, r)
}

// stored is how much the packs of a pool take.
func stored(t *testing.T, r *standIn, pool string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(r.dir(), "packs", pool), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		n += st.Size()
		return err
	})
	must(t, err)
	return n
}

// TestSnapshotsStoreOnlyWhatChanged counts bytes.
func TestSnapshotsStoreOnlyWhatChanged(t *testing.T) {
	Build(t) // before the folder for temporary files moves to where nothing may be executed
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // many small files, quickly
	}
	r := onlyStandIn(t, 1<<30)
	ok(t, r, "zfs", "create", "a/v")
	dir := realPath(t, r.mount()+"/a/v")
	must(t, os.Mkdir(dir+"/many", 0o755))
	for i := range 100_000 {
		must(t, os.WriteFile(fmt.Sprintf("%s/many/%d", dir, i), []byte{byte(i)}, 0o644))
	}
	write(t, dir+"/huge", []byte("start"))
	must(t, os.Truncate(dir+"/huge", 4<<30)) // sparse
	patch(t, dir+"/huge", 1<<30, random(32<<20, 1))
	ok(t, r, "zfs", "snapshot", "a/v@1")
	before := stored(t, r, "a")
	ok(t, r, "zfs", "snapshot", "a/v@2")
	if n := stored(t, r, "a") - before; n > 64<<10 {
		t.Errorf("a snapshot without changes stored %d bytes", n)
	}
	before = stored(t, r, "a")
	patch(t, dir+"/huge", 1<<30+5<<20, []byte("one block"))
	write(t, dir+"/many/777", []byte("changed"))
	ok(t, r, "zfs", "snapshot", "a/v@3")
	if n := stored(t, r, "a") - before; n > 512<<10 {
		t.Errorf("a snapshot after two small changes stored %d bytes", n)
	}
	if got := get(t, r, "written", "a/v@3"); len(got) > 6 {
		t.Errorf("written %s", got)
	}
	must(t, os.RemoveAll(dir+"/many"))
	ok(t, r, "zfs", "destroy", "a/v@%")
	if n := stored(t, r, "a"); n > 512<<20 {
		t.Errorf("%d bytes left", n)
	}
	checkMachine(t, r)
}

func TestFaults(t *testing.T) {
	r := prepared(t)
	check := func(rule Rule, code int, text string, args ...string) {
		t.Helper()
		setFaults(t, r, Faults{Rules: []Rule{rule}})
		res := run(t, r, "", args...)
		if res.code != code || !strings.Contains(res.err, text) {
			t.Errorf("%+v: exit code %d, %q", rule, res.code, res.err)
		}
		reached(t, r)
		setFaults(t, r, Faults{})
	}
	check(Rule{Command: "snapshot", Action: ActNoSpace}, 1, "cannot create snapshots : out of space", "zfs", "snapshot", "a/v@n")
	check(Rule{Command: "set", Args: "ns:x", Action: ActSuspended}, 255, "pool I/O is currently suspended", "zfs", "set", "ns:x=1", "a/v")
	check(Rule{Command: "set", Action: ActExit1}, 1, "", "zfs", "set", "ns:y=1", "a/v")
	if got := get(t, r, "ns:y", "a/v"); got != "1" {
		t.Errorf("exit1 did not do the work: %q", got)
	}
	check(Rule{Command: "send", Action: ActCut, Bytes: 5000}, 1, "I/O error", "zfs", "send", "a/v@1")
	check(Rule{Command: "send", Action: ActKillStream, Bytes: 5000}, -1, "", "zfs", "send", "a/v@1")
	gate := filepath.Join(t.TempDir(), "gate")
	write(t, gate, nil)
	setFaults(t, r, Faults{Rules: []Rule{{Command: "snapshot", Action: ActHangAfter, Until: gate}}})
	cmd := r.command("zfs", "snapshot", "a/v@hung")
	must(t, cmd.Start())
	eventually(t, "a/v@hung", func() bool { return run(t, r, "", "zfs", "list", "a/v@hung").code == 0 })
	must(t, os.Remove(gate))
	must(t, cmd.Wait())
}

// TestCutBetweenTwoWrites: a stream leaves in pieces of 256 KiB. A cut where two of them meet acts like any other, and
// one at the very end has nothing to cut off.
func TestCutBetweenTwoWrites(t *testing.T) {
	r := onlyStandIn(t, 256<<20)
	ok(t, r, "zfs", "create", "a/v")
	write(t, r.mount()+"/a/v/f", random(8<<20, 1))
	ok(t, r, "zfs", "snapshot", "a/v@1")
	send := func(at int) result {
		setFaults(t, r, Faults{Rules: []Rule{{Command: "send", Action: ActCut, Bytes: int64(at)}}})
		return run(t, r, "", "zfs", "send", "a/v@1")
	}
	whole := len(send(1 << 30).out)
	for _, at := range []int{0, 4<<20 - 1, 4 << 20, 4<<20 + 1, whole - 1} {
		if res := send(at); res.code != 1 || len(res.out) != at || !strings.Contains(res.err, "I/O error") {
			t.Errorf("cut at %d: %d bytes, exit code %d, %q", at, len(res.out), res.code, res.err)
		}
		reached(t, r)
	}
	if res := send(whole); res.code != 0 || len(res.out) != whole {
		t.Errorf("cut at the end: %d bytes of %d, exit code %d, %q", len(res.out), whole, res.code, res.err)
	}
	if hits, err := ReachedFaults(r.dir()); err != nil || hits[0] != 0 {
		t.Errorf("cut at the end: counted %v, %v", hits, err)
	}
}
