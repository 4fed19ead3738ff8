package agent

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/drover-project/drover/state"
)

// app starts a process that works in the volume's folder, until its input is closed.
func (n *node) app(v volume) (end func()) {
	n.t.Helper()
	return n.process(filepath.Join(n.copy(v).Mountpoint, dataFolder), "exec 5>>log; ")
}

// process runs a shell in a folder until the returned function is called. It is ready when first has been done.
func (n *node) process(dir, first string) (end func()) {
	n.t.Helper()
	cmd := exec.Command("/bin/sh", "-c", first+"echo ready; read x || :")
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		n.t.Fatal(err)
	}
	return func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			n.t.Error(err)
		}
	}
}

func TestFenceWaitsForUsers(t *testing.T) {
	h := pair(t)
	end := h.from.app(h.v)
	if c := h.from.copy(h.v); len(c.Users) != 1 || c.Users[0].Command != "sh" {
		t.Errorf("users %+v", c.Users)
	}
	if _, err := h.from.try(h.fenceStep()); !isKind(err, ErrBusy) {
		t.Errorf("fenced under its users: %v", err)
	}
	h.from.want(h.v, state.Primary, "0.1")
	users, err := h.from.client.AwaitUnused(t.Context(), h.from.addr(), h.v.uuid, 0)
	if err != nil || len(users) != 1 {
		t.Errorf("%+v, %v", users, err)
	}
	unused := make(chan error, 1)
	go func() {
		_, err := h.from.client.AwaitUnused(t.Context(), h.from.addr(), h.v.uuid, 30*time.Second)
		unused <- err
	}()
	end()
	if err := <-unused; err != nil {
		t.Fatal(err)
	}
	h.from.do(h.fenceStep())
}

func TestFenceFinishesWhatACrashLeft(t *testing.T) {
	h := pair(t)
	h.from.zfs("set", "drover:role=fenced", "readonly=on", "tank/drover/tododata") // the agent died before the snapshot
	for _, role := range []state.Role{state.Primary, state.Fenced} {
		s := h.fenceStep()
		s.Expect.Role = role
		if c := h.from.do(s).Copy; c.Newest().Name != s.Snapshot || len(c.Snapshots) != 1 {
			t.Errorf("%+v", c.Snapshots)
		}
	}
}

func TestCreate(t *testing.T) {
	b := newBench(t)
	n := b.node("node1")
	data := n.create(todo)
	c := n.want(todo, state.Primary, "0.1")
	if c.Quota != 200<<20 || c.Properties["recordsize"] != "16384" || c.Lead != todo.lead || c.Reclaim != state.Retain || !c.Mounted {
		t.Errorf("%+v", c)
	}
	if err := os.Remove(data); err != nil {
		t.Fatal(err)
	}
	n.zfs("snapshot", "tank/drover/tododata@used")
	n.create(todo)
	if _, err := os.Stat(data); err == nil {
		t.Error("a used copy got an empty folder in the place of a lost one")
	}
	s := n.step(state.CreateVolume, todo, "", "")
	s.Epoch = epoch(t, "0.2")
	if _, err := n.try(s); !isKind(err, ErrUnexpected) {
		t.Errorf("created again at another epoch: %v", err)
	}
	s.UUID, s.Epoch = "0c0c", epoch(t, "0.1")
	if _, err := n.try(s); !isKind(err, ErrInTheWay) {
		t.Errorf("created over another: %v", err)
	}
}

func TestBareMountpointRefusesWrites(t *testing.T) {
	b := newBench(t)
	n := b.node("node1")
	n.create(todo)
	n.zfs("unmount", "tank/drover/tododata")
	st, err := os.Stat(n.agent.mountpoint(todo.name))
	if err != nil || st.Mode().Perm()&0o222 != 0 {
		t.Errorf("%v, %v", st, err)
	}
	n.do(n.step(state.MountVolume, todo, state.Primary, "0.1"))
	if !n.copy(todo).Mounted {
		t.Error("not mounted")
	}
}

func TestAdopt(t *testing.T) {
	b := newBench(t)
	n := b.node("node1")
	adopt := n.step(state.AdoptVolume, todo, "", "")
	adopt.Epoch, adopt.Dataset, adopt.Properties = epoch(t, "0.1"), "tank/old", map[string]string{"compression": "lz4"}
	if _, err := n.try(adopt); !isKind(err, ErrNotFound) {
		t.Errorf("what is not there: %v", err)
	}
	mountpoint := filepath.Join(n.machine.Mounts, "old")
	n.zfs("create", "-o", "mountpoint="+mountpoint, "tank/old")
	if err := os.WriteFile(filepath.Join(mountpoint, "f"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := n.try(adopt); !isKind(err, ErrRefused) {
		t.Errorf("content outside of data: %v", err)
	}
	if err := os.Rename(filepath.Join(mountpoint, "f"), filepath.Join(n.machine.Mounts, "f")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c := n.do(adopt).Copy
		if c.Dataset != "tank/old" || c.Mountpoint != mountpoint || !c.Mounted || c.Properties["compression"] != "lz4" {
			t.Errorf("%+v", c)
		}
	}
	n.want(todo, state.Primary, "0.1")
	other := adopt
	other.UUID, other.Volume = "0c0c", "other"
	if _, err := n.try(other); !isKind(err, ErrInTheWay) {
		t.Errorf("another's: %v", err)
	}
}

func TestSetProperties(t *testing.T) {
	b := newBench(t)
	n := b.node("node1")
	n.create(todo)
	n.fill(todo, "f", 2<<20)
	n.zfs("snapshot", "tank/drover/tododata@s")
	s := n.step(state.SetProperties, todo, state.Primary, "0.1")
	s.Properties, s.Quota, s.Reclaim = map[string]string{"recordsize": "8192", "compression": "lz4"}, 100<<20, state.Delete
	c := n.do(s).Copy
	if c.Quota != 100<<20 || c.Properties["recordsize"] != "8192" || c.Reclaim != state.Delete || c.Properties["compression"] != "lz4" {
		t.Errorf("%+v", c)
	}
	s.Quota = 1 << 20
	if _, err := n.try(s); !isKind(err, ErrNoSpace) {
		t.Errorf("quota below what it holds: %v", err)
	}
	s.Quota = 0
	if c := n.do(s).Copy; c.Quota != 0 {
		t.Errorf("quota %d", c.Quota)
	}
}

func TestRoutes(t *testing.T) {
	b := newBench(t)
	n := b.node("node1")
	route := func(app state.AppID) state.Route {
		return state.Route{App: app, Endpoint: state.Endpoint{Name: "db", Address: "127.0.0.1", Port: 0}, Epoch: epoch(t, "0.1"), Hold: time.Second}
	}
	for _, kind := range []state.StepKind{state.SetRoutes, state.HoldConnections} {
		r := n.do(state.Step{Kind: kind, App: "/a", Routes: []state.Route{route("/a")}})
		if r.Gate == nil || len(r.Gate.Routes) != 1 || r.Gate.Routes[0].Held != (kind == state.HoldConnections) {
			t.Errorf("%s: %+v", kind, r.Gate)
		}
	}
	if r := n.do(state.Step{Kind: state.SetRoutes, App: "/b", Routes: []state.Route{route("/b")}}); len(r.Gate.Routes) != 2 {
		t.Errorf("another app's routes went: %+v", r.Gate)
	}
	if r := n.do(state.Step{Kind: state.SetRoutes, App: "/a"}); len(r.Gate.Routes) != 1 || r.Gate.Routes[0].App != "/b" {
		t.Errorf("an app without endpoints keeps routes: %+v", r.Gate)
	}
}
