package gate

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/drover-project/drover/state"
)

// Options are a gate's fixed settings. The zero value is valid.
type Options struct {
	File        string        // the table is kept here over restarts; "" keeps it in memory only
	Log         *slog.Logger  // nil discards
	DialTimeout time.Duration // for one attempt to reach a backend; 0 means 1 s
}

// Gate listens on the endpoints of its table and passes connections on to where the apps run.
type Gate struct{}

var errSkeleton = errors.New("not built yet")

// New returns a gate with the table that it had before a restart, if Options.File has one. It does not listen before Run.
func New(o Options) (*Gate, error) { return &Gate{}, nil }

// Run listens and passes connections on until ctx ends, then closes everything, waits for it and returns nil.
// It may be called once.
func (g *Gate) Run(ctx context.Context) error { <-ctx.Done(); return errSkeleton }

// Set puts routes, the whole wanted table, in force. It is in force, and the errors of new endpoints are in State, when Set
// returns. A route older than the one in force for its endpoint is ignored and logged.
// The error says that the table could not be kept for a restart, or that Run has ended.
func (g *Gate) Set(routes []state.Route) error { return errSkeleton }

// State returns the table in force, by app and endpoint name, and what cannot be listened on.
func (g *Gate) State() state.Gate { return state.Gate{} }
