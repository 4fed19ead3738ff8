package agent

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/drover-project/drover/agent/gate"
	"github.com/drover-project/drover/agent/stream"
	"github.com/drover-project/drover/certs"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// Options are an agent's fixed settings.
type Options struct {
	Root      string         // dataset below which volumes are created, such as "tank/drover"; made if absent
	Mounts    string         // folder below which they are mounted, such as "/drover"
	Hostname  state.Hostname // as Mesos knows the node
	Listen    string         // host:port; port 0 takes a free one
	Advertise string         // host:port under which others reach it; "" for where it listens
	Certs     string         // folder of the certificate, see package certs
	Dir       string         // folder for locks, routes and measured rates; local, small, may be lost
	Ring      int            // most bytes of one incoming stream that wait in memory for the pool; 0 for stream.DefaultRing
	Immutable bool           // make bare mountpoints immutable (Linux, root); not with the lab's stand-in, which puts links there
	ZFS       zfs.Options
	Log       *slog.Logger
}

// Agent is one node's agent.
type Agent struct {
	o       Options
	log     *slog.Logger
	zfs     *zfs.ZFS
	gate    *gate.Gate
	ln      net.Listener
	server  *tls.Config
	peers   *Client       // other agents, for questions
	streams *streamDialer // to other agents, for streams: connections of their own

	id     state.NodeID // set by prepare, before anything is served
	locks  locks
	rates  *rates
	limits *limits
	under  underway
	lines  lines

	term    sync.Mutex // held while the highest term is compared and saved
	highest state.Term // seen; set by prepare
	places  sync.Map   // state.UUID -> dataset where the volume was last found
	settled sync.Map   // state.UUID -> settled: the pool was synced since the volume's fence
	fences  sync.Map   // state.UUID -> fenced: what a fence has left
}

// New checks the options and listens; [Agent.Run] must follow, or the port stays taken.
func New(o Options) (*Agent, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	server, err := certs.ServerConfig(o.Certs)
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	client, err := certs.ClientConfig(o.Certs, certs.Agent)
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, "locks"), 0o700); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	g, err := gate.New(gate.Options{File: filepath.Join(o.Dir, "routes.json"), Log: o.Log})
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	a := &Agent{o: o, log: o.Log, gate: g, server: server,
		peers: NewClient(client, o.Log), streams: newStreamDialer(client),
		rates: newRates(filepath.Join(o.Dir, "rates.json"), o.Log), limits: newLimits(), locks: locks{dir: filepath.Join(o.Dir, "locks")}}
	o.ZFS.Log = o.Log
	a.zfs = zfs.New(o.ZFS)
	if a.ln, err = listen(o.Listen); err != nil {
		return nil, fmt.Errorf("agent: listen on %s: %w; stop what listens there, or choose another address", o.Listen, err)
	}
	return a, nil
}

func (o *Options) check() error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Ring == 0 {
		o.Ring = stream.DefaultRing
	}
	switch {
	case !strings.Contains(o.Root, "/") || !datasetName.MatchString(o.Root):
		return fmt.Errorf("root dataset %q: want a dataset below a pool, such as tank/drover", o.Root)
	case !filepath.IsAbs(o.Mounts):
		return fmt.Errorf("mounts folder %q: want an absolute path", o.Mounts)
	case o.Hostname == "":
		return errors.New("the hostname is empty")
	case o.Dir == "":
		return errors.New("the agent's folder is empty")
	case o.Ring < stream.MinRing || o.Ring > stream.MaxRing:
		return fmt.Errorf("ring of %d bytes: %w", o.Ring, stream.ErrRingSize)
	}
	return nil
}

// listen gives up on a peer that has vanished after half a minute: a receive holds its volume's lock as long as it lives.
func listen(addr string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: keepAlive, Control: vanishing}
	return lc.Listen(context.Background(), "tcp", addr)
}

// vanishedAfter is how long a peer of which nothing is heard counts as there. keepAlive adds up to it, too.
const vanishedAfter = 30 * time.Second

var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4}

// Addr returns the address under which others reach the agent, host:port.
func (a *Agent) Addr() string {
	if a.o.Advertise != "" {
		return a.o.Advertise
	}
	return a.ln.Addr().String()
}

// graceful is how long steps under way may take to end when the agent is told to. Streams are cut at once: they resume.
const graceful = 30 * time.Second

var errStopping = errors.New("the agent is stopping; the stream goes on when it runs again")

// Run serves until ctx ends, then lets steps under way end, cuts streams, and returns nil. It may be called once.
func (a *Agent) Run(ctx context.Context) error {
	defer a.ln.Close() // closed by the server in the ordinary case
	alone, err := a.alone(ctx)
	if err != nil {
		return err
	}
	defer alone.Close()
	if err := a.prepare(ctx); err != nil {
		return fmt.Errorf("agent on %s: %w", a.o.Hostname, err)
	}
	work, stop := context.WithCancel(context.WithoutCancel(ctx)) // of steps: they outlive ctx a little
	defer stop()
	streams, cut := context.WithCancelCause(work)
	g, running := errgroup.WithContext(ctx)
	srv := a.newServer(work, streams)
	g.Go(func() error { return a.gate.Run(running) })
	g.Go(func() error { return a.serve(srv) })
	g.Go(func() error {
		<-running.Done()
		cut(errStopping)
		a.lines.finish()
		defer stop()
		return a.shutdown(srv) //nolint:contextcheck // the context has ended; ending has a time of its own
	})
	a.log.Info("agent started", "node", a.id, "addr", a.Addr(), "root", a.o.Root)
	err = g.Wait()
	a.under.wait()
	a.peers.Close()
	a.log.Info("agent ended", "node", a.id, "err", err)
	return err
}

func (a *Agent) newServer(work, streams context.Context) *http.Server {
	return &http.Server{
		Handler:           a.handler(work, streams),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       10 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		Protocols:         onlyHTTP1(),
	}
}

// listener returns the agent's listener for TLS.
func (a *Agent) listener() net.Listener {
	config := a.server.Clone()
	config.DynamicRecordSizingDisabled = true // large writes; a short first record would only help a browser
	return tls.NewListener(a.ln, config)
}

func (a *Agent) serve(srv *http.Server) error {
	err := srv.Serve(a.listener())
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// shutdown lets requests under way end. Those that take longer are left to what they wait for.
func (a *Agent) shutdown(srv *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), graceful)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("steps under way did not end in %s: %w", graceful, err), srv.Close())
	}
	return nil
}

// alone makes sure that no other agent uses the same folder: two of them would not see each other's streams.
func (a *Agent) alone(ctx context.Context) (f *os.File, err error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	err = untilUnlocked(ctx, func() (err error) { f, err = lockFile(filepath.Join(a.o.Dir, "agent.lock")); return err })
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("agent on %s: another agent uses %s; stop it, or give this one a folder of its own", a.o.Hostname, a.o.Dir)
	}
	return f, err
}

// prepare makes the root dataset and the node's identity if they are not there. The identity lives on the pool: a node
// that was installed anew is another node, and a pool that was carried to another machine is the same.
func (a *Agent) prepare(ctx context.Context) error {
	props, err := a.zfs.LocalProperties(ctx, a.o.Root)
	if errors.Is(err, zfs.ErrNotFound) {
		id := newNodeID()
		if err := a.zfs.Create(ctx, a.o.Root, map[string]string{"canmount": "off", "mountpoint": a.o.Mounts, zfs.PropNode: string(id)}); err != nil {
			return fmt.Errorf("create the root dataset: %w", err)
		}
		a.id = id
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the root dataset: %w", err)
	}
	if a.id = state.NodeID(props[zfs.PropNode]); a.id == "" {
		a.id = newNodeID()
		return a.zfs.Set(ctx, a.o.Root, map[string]string{zfs.PropNode: string(a.id)})
	}
	f, err := a.readRoot(ctx)
	a.highest = f.term
	return err
}

func newNodeID() state.NodeID {
	var b [8]byte
	rand.Read(b[:]) // it never fails
	return state.NodeID(hex.EncodeToString(b[:]))
}

// poolName returns the pool of the root dataset.
func (a *Agent) poolName() string {
	name, _, _ := strings.Cut(a.o.Root, "/")
	return name
}

// home returns where a volume's dataset belongs on this node, unless it was adopted elsewhere.
func (a *Agent) home(v state.VolumeName) string { return a.o.Root + "/" + string(v) }

// mountpoint returns where a volume that Drover created is mounted on this node.
func (a *Agent) mountpoint(v state.VolumeName) string { return filepath.Join(a.o.Mounts, string(v)) }
