package openzfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/drover-project/drover/certs"
	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/lab/marathond"
	"github.com/drover-project/drover/register"
	"github.com/drover-project/drover/state"
)

// mounts is where nodes mount volumes.
const mounts = "/mnt/drover"

const agentPort = 7070

// Drover is a cluster of three nodes with an agent on each, and on this side of the network a Marathon, whose tasks run on the
// nodes, and controllers. node2 has disk:ssd, the others have disk:spinning.
type Drover struct {
	*Cluster
	// Marathon is the embedded server.
	Marathon *marathond.Server
	// Manifests is the folder that controllers watch.
	Manifests string

	byName map[string]*Node
	bin    string // folder of drover and todo
	ca     *certs.Authority
	config controller.Config
	opened *controller.Cluster
	tasks  *sync.WaitGroup
}

var disks = map[string]string{"node1": "spinning", "node2": "ssd", "node3": "spinning"}

// NewDrover starts all but a controller. volumes are the names of all volumes that manifests will have.
func NewDrover(t testing.TB, o Options, volumes ...state.VolumeName) *Drover {
	t.Helper()
	o.Nodes = len(disks)
	d := &Drover{Cluster: New(t, o), tasks: &sync.WaitGroup{}}
	d.index()
	d.Manifests = d.folder("manifests")
	for _, v := range volumes {
		d.Expect(v)
	}
	d.bin = filepath.Dir(d.Build("./cmd/drover"))
	d.Build("./lab/cmd/todo")
	var err error
	d.ca, err = certs.NewAuthority(filepath.Join(d.Dir, "ca"))
	d.must(err)
	d.startMarathon()
	d.open()
	d.must(d.each(func(n *Node) error { return d.startAgent(n) }))
	return d
}

func (d *Drover) index() {
	d.byName = map[string]*Node{}
	for _, n := range d.Nodes {
		d.byName[n.Name] = n
	}
}

// In returns the same cluster for another test, which is told of failures; it ends before the one that called NewDrover.
func (d *Drover) In(t testing.TB) *Drover {
	view := *d
	view.Cluster = d.Cluster.In(t)
	view.index()
	return &view
}

// Expect lets Marathon find a volume's folder: it looks for it on this side before it starts a task that has the volume.
func (d *Drover) Expect(v state.VolumeName) {
	d.t.Helper()
	d.must(os.MkdirAll(filepath.Join(mounts, string(v), "data"), 0o755))
}

func (d *Drover) node(name string) *Node { return d.byName[name] }

func (d *Drover) folder(name string) string {
	d.t.Helper()
	path := filepath.Join(d.Dir, name)
	d.must(os.MkdirAll(path, 0o755))
	return path
}

func (d *Drover) certificate(role certs.Role, name string, hosts ...string) string {
	d.t.Helper()
	dir := filepath.Join(d.Dir, "certs", name)
	d.must(d.ca.Issue(dir, certs.Identity{Role: role, Name: name, Hosts: hosts}, time.Hour))
	return dir
}

func (d *Drover) startMarathon() {
	d.t.Helper()
	socket := filepath.Join(d.Dir, "tasks")
	ln, err := new(net.ListenConfig).Listen(d.t.Context(), "unix", socket)
	d.must(err)
	d.tasks.Go(func() { d.serveTasks(ln) }) // in the name of the owner, d here
	self, err := os.Executable()
	d.must(err)
	o := marathond.Options{Dir: d.folder("marathon"), Executor: []string{self, roleExecutor, socket},
		Listen: d.HostIP() + ":0", MesosListen: d.HostIP() + ":0"}
	for _, n := range d.Nodes {
		o.Agents = append(o.Agents, marathond.Agent{Hostname: n.Name, IP: n.IP,
			Attributes: []marathond.Attribute{{Name: "disk", Value: disks[n.Name]}},
			Env:        map[string]string{"PATH": d.bin + ":/usr/sbin:/usr/bin:/sbin:/bin", "TODO_BIND": n.IP, "HOME": "/root"}})
	}
	d.Marathon, err = marathond.New(o)
	d.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Marathon.Run(ctx) }()
	d.t.Cleanup(func() {
		killing, stop := context.WithTimeout(context.Background(), patience)
		defer stop()
		d.check(d.Marathon.KillTasks(killing))
		cancel()
		d.check(errors.Join(<-done, ln.Close()))
		d.tasks.Wait()
	})
}

// open writes how to reach the cluster, and opens it for the test itself.
func (d *Drover) open() {
	d.t.Helper()
	d.config = controller.Config{
		Marathon: controller.MarathonConfig{URLs: []string{d.Marathon.URL()}, Mesos: d.Marathon.MesosURL()},
		Agents:   controller.AgentsConfig{Addresses: map[state.Hostname]string{}},
		Register: "file://" + d.folder("register"),
		Certs:    d.certificate(certs.Controller, "controller"),
	}
	for _, n := range d.Nodes {
		d.config.Agents.Addresses[state.Hostname(n.Name)] = d.address(n)
		d.certificate(certs.Agent, n.Name, n.IP)
	}
	var err error
	d.opened, err = d.config.Open(slog.New(slog.DiscardHandler))
	d.must(err)
}

func (d *Drover) address(n *Node) string { return fmt.Sprintf("%s:%d", n.IP, agentPort) }

// Endpoint is an address that every node has, for the endpoints of apps: a node's tasks reach its own agent by it, and this side
// reaches the agent that Via names.
func (d *Drover) Endpoint() string { return fmt.Sprintf("172.31.%d.10", d.net.number%250) }

// Via sends this side's connections to the endpoint to a node's agent.
func (d *Drover) Via(n *Node) {
	d.t.Helper()
	d.must(ip("route replace " + d.Endpoint() + "/32 via " + n.IP))
}

// First is the folder of a node whose programs its agent prefers to all others. It is not there unless a test makes it.
const First = "/first"

// StartAgent starts a node's agent after it was killed.
func (d *Drover) StartAgent(n *Node) {
	d.t.Helper()
	d.must(d.startAgent(n))
}

// startAgent starts a node's agent and waits until it answers. It prints to the node's console.
func (d *Drover) startAgent(n *Node) error {
	args := []string{filepath.Join(d.bin, "drover"), "agent", "--hostname", n.Name, "--root", Pool + "/drover", "--mounts", mounts,
		"--listen", d.address(n), "--certs", filepath.Join(d.Dir, "certs", n.Name), "--dir", "/node/agent"}
	command, err := n.Begin("ip addr replace " + d.Endpoint() + "/32 dev lo && PATH=" + First + ":$PATH exec " + quote(args) + " >/dev/console 2>&1")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	if !poll(ctx, func() bool { return d.answers(ctx, n) }, command.gone) {
		return fmt.Errorf("the agent of %s does not answer:\n%s", n.Name, n.Console())
	}
	return nil
}

func (d *Drover) answers(ctx context.Context, n *Node) bool {
	_, err := d.opened.Agents.Node(ctx, d.address(n))
	return err == nil
}

// PowerOff cuts a node's power: its tasks and its agent are gone with it, and Mesos notices in its own time.
func (d *Drover) PowerOff(n *Node) {
	d.t.Helper()
	n.Cut()
	d.must(d.Marathon.PowerOffAgent(n.Name))
}

// PowerOn starts a node again, with its agents.
func (d *Drover) PowerOn(n *Node) {
	d.t.Helper()
	n.Start()
	d.must(d.startAgent(n))
	d.must(d.Marathon.ReturnAgent(n.Name))
}

// Write saves a manifest as most editors do: a new file takes the place of the old one.
func (d *Drover) Write(name, text string) {
	d.t.Helper()
	hidden := filepath.Join(d.Manifests, "."+name+".new")
	d.must(os.WriteFile(hidden, []byte(text), 0o644))
	d.must(os.Rename(hidden, filepath.Join(d.Manifests, name)))
}

// Lead starts a controller, which ends with the test. onEvent is called for each event, before the step that it is about goes
// on.
func (d *Drover) Lead(onEvent func(controller.Event)) {
	d.t.Helper()
	log := slog.New(slog.NewTextHandler(logger{d.t}, nil))
	opened, err := d.config.Open(log)
	d.must(err)
	ctl := controller.New(controller.Options{Cluster: opened, Name: "test", Every: 15 * time.Second, OnEvent: onEvent, Log: log})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ctl.Run(ctx, []string{d.Manifests}) }()
	d.t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			d.t.Errorf("controller: %v", err)
		}
	})
}

type logger struct{ t testing.TB }

func (l logger) Write(p []byte) (int, error) {
	l.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}

// Await waits until it is so.
func (d *Drover) Await(what string, so func() bool) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	if !poll(ctx, so, nil) {
		status, err := d.opened.Register.Status(context.Background())
		d.t.Fatalf("never: %s\nstatus: %s %v", what, status, err)
	}
}

// Copy is a node's copy of a volume as its agent sees it; nil if it has none or the agent does not answer.
func (d *Drover) Copy(n *Node, v state.VolumeName) *state.Copy {
	d.t.Helper()
	seen, err := d.opened.Agents.Node(d.t.Context(), d.address(n))
	if err != nil {
		return nil
	}
	for i := range seen.Copies {
		if seen.Copies[i].Volume == v {
			return &seen.Copies[i]
		}
	}
	return nil
}

// Register is the cluster's register.
func (d *Drover) Register() *register.Register { return d.opened.Register }

// Tool is the path of a program of this module on every node: "drover" or "todo".
func (d *Drover) Tool(name string) string { return filepath.Join(d.bin, name) }
