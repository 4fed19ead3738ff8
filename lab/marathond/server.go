package marathond

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Server is the embedded Marathon with its agents. Make one with New and serve it with Run.
type Server struct {
	opt    Options
	log    *slog.Logger
	store  *store
	agents []*agent
	hub    *hub
	api    net.Listener
	mesos  net.Listener // nil when the Mesos API shares the Marathon listener
	start  time.Time

	mu        sync.Mutex
	m         *model
	queue     map[string]*queueEntry
	faults    *faults
	handedOut int // service ports given so far, so that two apps of one request differ
	effects   []func()
	wakeAt    time.Time
	scaleAt   time.Time
	stopping  bool // KillTasks was called: nothing is launched any more
	changed   chan struct{}

	kick    chan struct{}
	probes  *probes
	watches sync.WaitGroup
	closing chan struct{}

	children sync.Map // task id -> *exec.Cmd of the executors that this process started, to reap them
}

// New opens the state folder and the listeners and takes up the tasks that still run. The addresses are known when
// it returns; nothing is served before Run. A server that is not run must be closed.
func New(opt Options) (*Server, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	agents, err := newAgents(opt.Agents)
	if err != nil {
		return nil, err
	}
	s := &Server{
		opt: opt, log: opt.Log, agents: agents, hub: newHub(opt.Emulate), start: time.Now(), queue: map[string]*queueEntry{},
		faults: &faults{}, kick: make(chan struct{}, 1), closing: make(chan struct{}), changed: make(chan struct{}),
	}
	s.probes = newProbes()
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) open() error {
	var err error
	if s.store, err = openStore(s.opt.Dir); err != nil {
		return err
	}
	if s.m, err = s.store.load(); err != nil {
		return err
	}
	if s.m.FrameworkID == "" {
		s.m.FrameworkID = uuid.NewString() + "-0000"
	}
	if s.api, err = net.Listen("tcp", s.opt.Listen); err != nil { //nolint:noctx // taking a port does not wait
		return fmt.Errorf("marathon api: %w", err)
	}
	if s.opt.MesosListen != "" {
		if s.mesos, err = net.Listen("tcp", s.opt.MesosListen); err != nil { //nolint:noctx // as above
			return fmt.Errorf("mesos api: %w", err)
		}
	}
	return nil
}

// Close releases the listeners and the state folder of a server that does not run. Tasks are left alone.
func (s *Server) Close() error {
	var errs []error
	for _, l := range []net.Listener{s.api, s.mesos} {
		if l != nil {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	if s.store != nil {
		errs = append(errs, s.store.close())
		s.store = nil
	}
	return errors.Join(errs...)
}

// URL is the base address of the Marathon API.
func (s *Server) URL() string { return "http://" + s.api.Addr().String() }

// MesosURL is the base address of the Mesos master's API.
func (s *Server) MesosURL() string {
	if s.mesos != nil {
		return "http://" + s.mesos.Addr().String()
	}
	return s.URL()
}

// Run serves until ctx ends, then closes everything but the tasks: they run on, and the next server with the same
// folder finds them. Call KillTasks before to end them as well.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	probing := make(chan struct{})
	go func() { defer close(probing); s.probes.run(ctx) }()
	s.recoverTasks()
	errs := make(chan error, 2)
	var serving sync.WaitGroup
	servers := s.serve(&serving, errs)
	err := s.loop(ctx, errs)
	s.hub.drop()
	s.shutDown(context.WithoutCancel(ctx), servers)
	serving.Wait()
	close(s.closing)
	s.wakeWatches()
	s.watches.Wait()
	cancel()
	<-probing
	return errors.Join(err, s.Close())
}

func (s *Server) serve(serving *sync.WaitGroup, errs chan<- error) []*http.Server {
	marathon := &http.Server{Handler: s.marathonRoutes(), ReadHeaderTimeout: 30 * time.Second}
	servers := []*http.Server{marathon}
	serving.Go(func() { errs <- marathon.Serve(s.api) })
	if s.mesos != nil {
		master := &http.Server{Handler: s.mesosRoutes(), ReadHeaderTimeout: 30 * time.Second}
		servers = append(servers, master)
		serving.Go(func() { errs <- master.Serve(s.mesos) })
	}
	return servers
}

func (s *Server) shutDown(ctx context.Context, servers []*http.Server) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for _, h := range servers {
		if err := h.Shutdown(ctx); err != nil {
			s.log.Warn("close connections", "err", errors.Join(err, h.Close()))
		}
	}
}

// loop does what time brings: backoff, offers, unreachable strategies, repeated kills, scale checks.
func (s *Server) loop(ctx context.Context, errs <-chan error) error {
	for {
		timer := time.NewTimer(s.untilWake())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case err := <-errs:
			timer.Stop()
			return err
		case <-s.kick:
			timer.Stop()
		case <-timer.C:
			s.tick()
		}
	}
}

func (s *Server) tick() {
	if err := s.update(func(time.Time) error { return nil }); err != nil {
		s.log.Error("state", "err", err)
	}
}

func (s *Server) untilWake() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wakeAt.IsZero() {
		return time.Minute
	}
	return max(time.Millisecond, time.Until(s.wakeAt))
}

// wakeBy asks for a look at the state at a time, or before.
func (s *Server) wakeBy(t time.Time) {
	if !t.IsZero() && (s.wakeAt.IsZero() || t.Before(s.wakeAt)) {
		s.wakeAt = t
	}
}

// update is the only way to change the state: f changes it, everything that follows is derived, the result is saved,
// and only then processes are touched. f's error is returned; what it changed before is kept.
func (s *Server) update(f func(now time.Time) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store == nil {
		return errors.New("the server is closed")
	}
	err := f(time.Now())
	for {
		s.settle(time.Now())
		if saveErr := s.store.save(s.m); saveErr != nil {
			return errors.Join(err, saveErr)
		}
		effects := s.effects
		s.effects = nil
		if len(effects) == 0 {
			break
		}
		for _, e := range effects {
			e()
		}
	}
	s.announceChange()
	return err
}

func (s *Server) announceChange() {
	close(s.changed)
	s.changed = make(chan struct{})
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// look reads the state.
func (s *Server) look(f func(now time.Time)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(time.Now())
}

// afterSave runs an effect once the state that calls for it is on disk.
func (s *Server) afterSave(f func()) { s.effects = append(s.effects, f) }

// settle derives everything that follows from the state as it is.
func (s *Server) settle(now time.Time) {
	s.wakeAt = time.Time{}
	if !now.Before(s.scaleAt) {
		s.scaleCheck(now)
		s.scaleAt = now.Add(s.opt.Timing.ScaleApps)
	}
	s.wakeBy(s.scaleAt)
	s.lookAtInstances(now)
	for moved := true; moved; {
		moved = s.advance(now)
		s.schedule(now)
	}
	s.probes.follow(s.wantedProbes())
}

func (s *Server) publish(now time.Time, name string, fields tree) { s.hub.publish(now, name, fields) }

// KillTasks ends every task with its grace and returns when all their processes are gone, or ctx ends. The apps stay
// and start again with the next server on the same folder. Nothing is launched after this call.
func (s *Server) KillTasks(ctx context.Context) error {
	if err := s.update(s.killAll); err != nil {
		return err
	}
	for {
		s.mu.Lock()
		left, changed := s.liveTasks(), s.changed
		s.mu.Unlock()
		if left == 0 {
			return s.killStrays(ctx)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("kill tasks: %d still run: %w", left, context.Cause(ctx))
		}
	}
}

func (s *Server) killAll(now time.Time) error {
	s.stopping = true
	for _, t := range s.m.Tasks {
		if !terminalState(t.Actual) {
			t.KillAsked = true
			s.afterSave(func() { s.signalKill(t, 0, time.Duration(t.GraceMilli)*time.Millisecond) })
		}
	}
	return nil
}

func (s *Server) liveTasks() int {
	n := 0
	for _, t := range s.m.Tasks {
		if !terminalState(t.Actual) {
			n++
		}
	}
	return n
}
