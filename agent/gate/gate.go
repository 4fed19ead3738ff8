package gate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/drover-project/drover/state"
)

// Options are a gate's fixed settings. The zero value is valid.
type Options struct {
	File        string        // the table is kept here over restarts; "" keeps it in memory only
	Log         *slog.Logger  // nil discards
	DialTimeout time.Duration // for one attempt to reach a backend; 0 means 1 s
	Retry       time.Duration // how often an address that could not be listened on is tried again; 0 means 1 s
}

var (
	errRunning = errors.New("the gate runs already")
	errEnded   = errors.New("the gate has ended")
)

// Gate listens on the endpoints of its table and passes connections on to where the apps run.
type Gate struct {
	options Options
	log     *slog.Logger
	slow    time.Duration // slowDial, and
	linger  time.Duration // lingerTime, but in tests

	mu        sync.Mutex
	ctx       context.Context // of Run; nil before it
	ended     bool
	table     []state.Route // in force, by app and endpoint name
	unsaved   bool          // the table in the file is an older one
	endpoints map[key]*endpoint
	errors    map[string]string
}

// New returns a gate with the table that it had before a restart, if Options.File has one. It does not listen before Run.
// A file that cannot be understood is set aside and logged: the gate then starts empty, and the next Set fills it.
func New(o Options) (*Gate, error) {
	o.DialTimeout = cmp.Or(o.DialTimeout, time.Second)
	o.Retry = cmp.Or(o.Retry, time.Second)
	g := &Gate{options: o, log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)), slow: slowDial, linger: lingerTime, endpoints: map[key]*endpoint{}}
	var err error
	g.table, err = load(o.File, g.log)
	if err != nil {
		return nil, fmt.Errorf("gate: read its table: %w", err)
	}
	return g, nil
}

// Run listens and passes connections on until ctx ends, then closes everything, waits for it and returns nil.
// It may be called once.
func (g *Gate) Run(ctx context.Context) error {
	if err := g.start(ctx); err != nil {
		return err
	}
	defer g.stop()
	tick := time.NewTicker(g.options.Retry)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			g.retry()
		}
	}
}

func (g *Gate) start(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ctx != nil {
		return errRunning
	}
	g.ctx = ctx
	g.apply()
	return nil
}

func (g *Gate) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	for k := range g.endpoints {
		g.drop(k)
	}
}

// retry tries again to listen where that was not possible: an address may have been added to the node meanwhile.
func (g *Gate) retry() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.errors) > 0 {
		g.apply()
	}
}

// Set puts routes, the whole wanted table, in force. It is in force, and what cannot be listened on is in State, when Set
// returns. A route older than the one in force for its endpoint is ignored and logged. An endpoint that is not in routes is
// closed with its connections. Before Run, Set only keeps the table.
// The error says that Run has ended, or that the table, though in force, could not be kept for a restart.
func (g *Gate) Set(routes []state.Route) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return errEnded
	}
	next, stale := merge(g.table, routes)
	for _, r := range stale {
		g.log.Warn("older route ignored", "app", r.App, "endpoint", r.Endpoint.Name, "epoch", r.Epoch, "backend", r.Backend)
	}
	g.unsaved = g.unsaved || !slices.Equal(g.table, next)
	g.table = next
	if g.ctx != nil {
		g.apply()
	}
	return g.save()
}

func (g *Gate) save() error {
	if !g.unsaved || g.options.File == "" {
		return nil
	}
	if err := save(g.options.File, g.table); err != nil {
		return fmt.Errorf("gate: keep its table: %w", err)
	}
	g.unsaved = false
	return nil
}

// State returns the table in force, by app and endpoint name, and what cannot be listened on. Both are the caller's.
func (g *Gate) State() state.Gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	return state.Gate{Routes: slices.Clone(g.table), Errors: maps.Clone(g.errors)}
}

// apply makes endpoints as the table says. It may be repeated at any time.
func (g *Gate) apply() {
	wanted := map[key]state.Endpoint{}
	for _, r := range g.table {
		wanted[keyOf(r)] = r.Endpoint
	}
	for k, e := range g.endpoints {
		if at, ok := wanted[k]; !ok || at != e.at {
			g.drop(k)
		}
	}
	problems, taken := map[string]string{}, map[string]key{}
	for _, r := range g.table {
		if err := g.put(r, taken); err != nil {
			problems[r.Endpoint.Name] = join(problems[r.Endpoint.Name], err.Error())
		}
	}
	g.report(problems)
}

// put sets one route and listens on its endpoint. Two endpoints on one address would share its connections at random, so the
// second is refused.
func (g *Gate) put(r state.Route, taken map[string]key) error {
	k, at := keyOf(r), address(r.Endpoint)
	if other, ok := taken[at]; ok {
		return fmt.Errorf("%s of %s: endpoint %s of %s listens there already; give one of them another address or port", at, r.App, other.name, other.app)
	}
	taken[at] = k
	e := g.endpoints[k]
	if e == nil {
		e = g.newEndpoint(r)
		g.endpoints[k] = e
	}
	if err := check(r); err != nil {
		e.set(state.Route{Hold: r.Hold})
		return err
	}
	e.set(r)
	return e.listen()
}

func (g *Gate) drop(k key) {
	g.endpoints[k].close()
	delete(g.endpoints, k)
}

// report keeps what cannot be listened on and logs what is new and what is over.
func (g *Gate) report(problems map[string]string) {
	for name, p := range problems {
		if g.errors[name] != p {
			g.log.Error("endpoint not listening", "endpoint", name, "err", p)
		}
	}
	for name := range g.errors {
		if problems[name] == "" {
			g.log.Info("endpoint listening again, or gone", "endpoint", name)
		}
	}
	g.errors = problems
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
