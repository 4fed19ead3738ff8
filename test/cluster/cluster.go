package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drover-project/drover/agent"
	"github.com/drover-project/drover/certs"
	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/lab/marathond"
	"github.com/drover-project/drover/lab/zfsim"
	"github.com/drover-project/drover/marathon"
	"github.com/drover-project/drover/register"
	"github.com/drover-project/drover/state"
)

// Options are what tests vary.
type Options struct {
	PoolSize int64                    // bytes of each node's pool; 0 for 1 GiB
	Env      map[string]string        // for every task
	Every    time.Duration            // of controllers; 0 for 30 s
	Marathon func(*marathond.Options) // changes the embedded Marathon before it starts; may be nil
}

// Cluster is three nodes with a Marathon, without a controller until [Cluster.Lead].
type Cluster struct {
	// Marathon is the embedded server, to make it misbehave.
	Marathon *marathond.Server
	// Manifests is the folder that controllers watch.
	Manifests string
	// Nodes are the nodes by hostname: node1 has disk:spinning, node2 disk:ssd, node3 disk:tape.
	Nodes map[state.Hostname]*Node

	t       testing.TB
	o       Options
	dir     string
	subnet  string // "127.A.B." of this cluster alone
	ca      *certs.Authority
	config  controller.Config
	api     *marathon.Client
	reg     *register.Register
	agents  *agent.Client
	witness *witness
	stop    func() // of Marathon
}

// disks are the nodes and what they have.
var disks = map[state.Hostname]string{"node1": "spinning", "node2": "ssd", "node3": "tape"}

// New starts a cluster. It ends with the test, and what must hold of every cluster is checked then.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.PoolSize == 0 {
		o.PoolSize = 1 << 30
	}
	c := &Cluster{t: t, o: o, dir: t.TempDir(), Nodes: map[state.Hostname]*Node{}}
	c.Manifests = filepath.Join(c.dir, "manifests")
	c.must(os.MkdirAll(c.Manifests, 0o755))
	c.must(os.MkdirAll(c.ledgers(), 0o755))
	c.subnet = claimSubnet(t)
	c.startMarathon()
	c.startNodes()
	c.writeConfig()
	c.witness = watch(c)
	t.Cleanup(c.witness.end)
	return c
}

func (c *Cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// claimSubnet finds loopback addresses that no other cluster uses, and keeps others away until the test ends.
func claimSubnet(t testing.TB) string {
	t.Helper()
	for i := range 10000 {
		n := (os.Getpid()*31 + i) % 30000
		subnet := fmt.Sprintf("127.%d.%d.", 100+n/250, 1+n%250)
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", subnet+"254:40404")
		if i == 0 && strings.Contains(fmt.Sprint(err), "can't assign") {
			t.Skip("this system has no loopback address but 127.0.0.1")
		}
		if err == nil {
			t.Cleanup(func() { ln.Close() }) // nothing was sent on it
			return subnet
		}
	}
	t.Fatal("no free loopback subnet")
	return ""
}

// IP returns an address of this cluster alone; nodes have 1 to 3.
func (c *Cluster) IP(last int) string { return fmt.Sprint(c.subnet, last) }

func (c *Cluster) ledgers() string { return filepath.Join(c.dir, "ledgers") }

func (c *Cluster) startMarathon() {
	c.t.Helper()
	o := marathond.Options{
		Dir: filepath.Join(c.dir, "marathon"), Executor: []string{os.Args[0], roleExecutor}, Listen: c.IP(100) + ":0", MesosListen: c.IP(100) + ":0",
		Timing: marathond.Timing{Heartbeat: 100 * time.Millisecond, Offers: 50 * time.Millisecond, KillGrace: time.Second,
			KillRetry: 500 * time.Millisecond, ScaleApps: 500 * time.Millisecond, SecondsUnit: 50 * time.Millisecond},
	}
	for i, name := range names() {
		env := map[string]string{envLedgers: c.ledgers(), "TODO_BIND": c.IP(i + 1)}
		for k, v := range c.o.Env {
			env[k] = v
		}
		o.Agents = append(o.Agents, marathond.Agent{Hostname: string(name), IP: c.IP(i + 1), Env: env,
			Attributes: []marathond.Attribute{{Name: "disk", Value: disks[name]}}})
	}
	if c.o.Marathon != nil {
		c.o.Marathon(&o)
	}
	s, err := marathond.New(o)
	c.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	c.Marathon = s
	c.stop = func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Errorf("marathon: %v", err)
		}
	}
	c.t.Cleanup(c.endMarathon)
}

// endMarathon stops the tasks and then the server.
func (c *Cluster) endMarathon() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := errors.Join(c.Marathon.ClearFaults(), c.Marathon.KillTasks(ctx)); err != nil {
		c.t.Errorf("stop tasks: %v", err)
	}
	c.stop()
}

func names() []state.Hostname { return []state.Hostname{"node1", "node2", "node3"} }

func (c *Cluster) startNodes() {
	c.t.Helper()
	ca, err := certs.NewAuthority(filepath.Join(c.dir, "ca"))
	c.must(err)
	c.ca = ca
	tls, err := certs.ClientConfig(c.certificate(certs.Controller, "controller"), certs.Agent)
	c.must(err)
	c.agents = agent.NewClient(tls, slog.New(slog.DiscardHandler))
	c.t.Cleanup(c.agents.Close)
	bin := zfsim.Build(c.t)
	for i, name := range names() {
		c.Nodes[name] = c.newNode(bin, name, c.IP(i+1))
	}
}

// certificate issues a part its certificate and returns the folder.
func (c *Cluster) certificate(role certs.Role, name string, hosts ...string) string {
	c.t.Helper()
	dir := filepath.Join(c.dir, "certs", name)
	c.must(c.ca.Issue(dir, certs.Identity{Role: role, Name: name, Hosts: hosts}, time.Hour))
	return dir
}

// writeConfig writes how to reach the cluster, and opens it for the test itself.
func (c *Cluster) writeConfig() {
	c.t.Helper()
	c.config = controller.Config{
		Marathon: controller.MarathonConfig{URLs: []string{c.Marathon.URL()}, Mesos: c.Marathon.MesosURL()},
		Agents:   controller.AgentsConfig{Addresses: map[state.Hostname]string{}},
		Register: "file://" + filepath.Join(c.dir, "register"),
		Certs:    filepath.Join(c.dir, "certs", "controller"),
	}
	for name, n := range c.Nodes {
		c.config.Agents.Addresses[name] = n.addr
	}
	c.must(c.config.Write(c.ConfigFile()))
	cl := c.Open(slog.New(slog.DiscardHandler))
	var ok bool
	if c.api, ok = cl.Marathon.(*marathon.Client); !ok {
		c.t.Fatalf("the config opens a %T", cl.Marathon)
	}
	c.reg = cl.Register
}

// ConfigFile is the config with which other processes reach the cluster.
func (c *Cluster) ConfigFile() string { return filepath.Join(c.dir, "config.yaml") }

// Open opens the cluster once more, as another process would.
func (c *Cluster) Open(log *slog.Logger) *controller.Cluster {
	c.t.Helper()
	cl, err := c.config.Open(log)
	c.must(err)
	return cl
}

// Register is the cluster's register.
func (c *Cluster) Register() *register.Register { return c.reg }

// Write saves a manifest as most editors do: a new file takes the place of the old one.
func (c *Cluster) Write(name, text string) {
	c.t.Helper()
	tmp := filepath.Join(c.Manifests, "."+name+".new")
	c.must(os.WriteFile(tmp, []byte(text), 0o644))
	c.must(os.Rename(tmp, filepath.Join(c.Manifests, name)))
}

// Remove removes a manifest.
func (c *Cluster) Remove(name string) {
	c.t.Helper()
	c.must(os.Remove(filepath.Join(c.Manifests, name)))
}

// logger logs to the test, with who speaks.
func (c *Cluster) logger(at string) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{c.t}, nil)).With("at", at)
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}

// Status is what the leader published last; zero if nothing was.
func (c *Cluster) Status() controller.Status {
	c.t.Helper()
	var st controller.Status
	b, err := c.reg.Status(c.t.Context())
	if errors.Is(err, register.ErrNotFound) {
		return st
	}
	c.must(err)
	c.must(json.Unmarshal(b, &st))
	return st
}

// App is an app as Marathon has it; nil if it has not.
func (c *Cluster) App(id state.AppID) *state.RunningApp {
	c.t.Helper()
	app, err := c.api.App(c.t.Context(), id)
	if errors.Is(err, marathon.ErrNotFound) {
		return nil
	}
	c.must(err)
	return app
}

// API is a client of the embedded Marathon, for what people do behind Drover's back.
func (c *Cluster) API() *marathon.Client { return c.api }
