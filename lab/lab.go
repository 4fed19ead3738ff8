package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/drover-project/drover/certs"
	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/state"
)

// Options says what kind of lab to run.
type Options struct {
	Dir       string // where its state is; it survives a restart
	Program   string // the drover program
	Tools     string // folder with zfs, zpool and todo; found beside Program if empty
	Manifests string // folder that the controller watches
	Native    bool   // use the machine's own OpenZFS instead of the stand-in; needs root
	AnyPort   bool   // take free ports instead of the usual ones
	PoolSize  int64  // bytes, for each node's pool; 0 for 20 GiB (sparse)
	Out       io.Writer
	Log       *slog.Logger
}

// The usual ports.
const (
	marathonPort = 18080
	mesosPort    = 15050
	agentPort    = 17071 // of the first node
)

// Node is one node of the lab.
type Node struct {
	Hostname   state.Hostname
	Attributes map[string]string
	Ports      string // that Mesos offers on it; nodes share one loopback
	Agent      string // host:port of its drover agent
}

// Plan is what a lab consists of. It is kept in its folder, so that a restart finds the same addresses.
type Plan struct {
	Marathon string // host:port
	Mesos    string // host:port
	Nodes    []Node
	Native   bool
}

// Lab is a cluster on one machine.
type Lab struct {
	o    Options
	plan Plan
	lock *os.File
}

// New prepares a lab in its folder: ports, certificates, pools. One process at a time may have it; ErrRunning otherwise.
func New(ctx context.Context, o Options) (*Lab, error) {
	l := &Lab{o: o}
	if err := l.paths(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(l.o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	var err error
	if l.lock, err = takeLock(l.path("lab.lock")); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{l.readPlan, l.issueCerts, l.makePools, l.writeConfigs} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("lab: %w", err), l.lock.Close())
		}
	}
	return l, nil
}

// paths makes all paths absolute: processes run in folders of their own.
func (l *Lab) paths() error {
	if l.o.PoolSize == 0 {
		l.o.PoolSize = 20 << 30
	}
	for _, p := range []*string{&l.o.Dir, &l.o.Program, &l.o.Manifests} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return fmt.Errorf("lab: %w", err)
		}
		*p = abs
	}
	if l.o.Tools == "" {
		l.o.Tools = filepath.Join(filepath.Dir(l.o.Program), "lab")
	}
	for _, tool := range []string{"zfs", "zpool", "todo"} {
		if _, err := os.Stat(filepath.Join(l.o.Tools, tool)); err != nil {
			return fmt.Errorf("lab: %s is not in %s: `make build` puts the lab's programs there", tool, l.o.Tools)
		}
	}
	if info, err := os.Stat(l.o.Manifests); err != nil || !info.IsDir() {
		return fmt.Errorf("lab: %s is not a folder of manifests: name one with -f", l.o.Manifests)
	}
	return nil
}

func (l *Lab) path(parts ...string) string {
	return filepath.Join(append([]string{l.o.Dir}, parts...)...)
}

// readPlan takes over what the lab consisted of before, or chooses.
func (l *Lab) readPlan(ctx context.Context) error {
	b, err := os.ReadFile(l.path("lab.json"))
	if err == nil {
		if err := json.Unmarshal(b, &l.plan); err != nil {
			return fmt.Errorf("%s: %w", l.path("lab.json"), err)
		}
		if l.plan.Native != l.o.Native {
			return errors.New("it was made with the other kind of ZFS; remove it with `drover lab reset` first")
		}
		return l.stillFree(ctx, leftovers)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := l.choose(ctx); err != nil {
		return err
	}
	b, err = json.MarshalIndent(l.plan, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(l.path("lab.json"), b, 0o644)
}

func (l *Lab) choose(ctx context.Context) error {
	l.plan = Plan{Native: l.o.Native, Nodes: []Node{
		{Hostname: "node1", Attributes: map[string]string{"disk": "spinning", "rack": "a"}, Ports: "31000-31099"},
		{Hostname: "node2", Attributes: map[string]string{"disk": "ssd", "rack": "a"}, Ports: "31100-31199"},
		{Hostname: "node3", Attributes: map[string]string{"disk": "spinning", "rack": "b"}, Ports: "31200-31299"},
	}}
	addrs := []*string{&l.plan.Marathon, &l.plan.Mesos}
	usual := []int{marathonPort, mesosPort}
	for i := range l.plan.Nodes {
		addrs = append(addrs, &l.plan.Nodes[i].Agent)
		usual = append(usual, agentPort+i)
	}
	for i, a := range addrs {
		port := usual[i]
		if l.o.AnyPort {
			port = 0
		}
		var err error
		if *a, err = freeAddress(ctx, port); err != nil {
			return err
		}
	}
	if l.o.AnyPort {
		return l.chooseTaskPorts(ctx)
	}
	return nil
}

// issueCerts makes the lab's authority and a certificate for every part, once.
func (l *Lab) issueCerts(context.Context) error {
	if _, err := os.Stat(l.path("certs", "operator", "tls.crt")); err == nil {
		return nil
	}
	ca, err := certs.NewAuthority(l.path("certs", "ca"))
	if err != nil {
		return err
	}
	const valid = 10 * 365 * 24 * time.Hour
	for _, n := range l.plan.Nodes {
		id := certs.Identity{Role: certs.Agent, Name: string(n.Hostname), Hosts: []string{string(n.Hostname), "127.0.0.1"}}
		if err := ca.Issue(l.path("certs", string(n.Hostname)), id, valid); err != nil {
			return err
		}
	}
	if err := ca.Issue(l.path("certs", "controller"), certs.Identity{Role: certs.Controller, Name: "controller"}, valid); err != nil {
		return err
	}
	return ca.Issue(l.path("certs", "operator"), certs.Identity{Role: certs.Operator, Name: "operator"}, valid)
}

// writeConfigs writes how to reach the lab, for people and for the controller.
func (l *Lab) writeConfigs(context.Context) error {
	c := controller.Config{
		Marathon: controller.MarathonConfig{URLs: []string{"http://" + l.plan.Marathon}, Mesos: "http://" + l.plan.Mesos},
		Agents:   controller.AgentsConfig{Addresses: map[state.Hostname]string{}},
		Register: "file://" + l.path("register"),
	}
	for _, n := range l.plan.Nodes {
		c.Agents.Addresses[n.Hostname] = n.Agent
	}
	c.Certs = l.path("certs", "operator")
	if err := c.Write(l.ConfigFile()); err != nil {
		return err
	}
	c.Certs = l.path("certs", "controller")
	return c.Write(l.path("controller.yaml"))
}

// ConfigFile is the config with which a person reaches the lab.
func (l *Lab) ConfigFile() string { return l.path("config.yaml") }

// Plan returns what the lab consists of.
func (l *Lab) Plan() Plan { return l.plan }
