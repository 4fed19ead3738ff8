package todo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// serve answers HTTP on ln until ctx ends, then lets requests that have begun finish for at most grace.
// It returns nil after such a stop.
func serve(ctx context.Context, log *slog.Logger, ln net.Listener, routes http.Handler, grace time.Duration) error {
	// Requests outlive ctx by the grace: a write that has begun is answered.
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	waiting := silentConns{conns: map[net.Conn]struct{}{}}
	srv := &http.Server{
		Handler:           routes,
		BaseContext:       func(net.Listener) context.Context { return work },
		ConnState:         waiting.note,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	log.Info("listening", "addr", ln.Addr().String())
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	waiting.close()
	err := stop(work, srv, grace)
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

func stop(ctx context.Context, srv *http.Server, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	err := srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return srv.Close()
	}
	return err
}

// silentConns are the connections on which no request has come yet. net/http's Shutdown gives each of them
// five seconds to speak up, and gates and health checks keep some open: nothing is lost by closing them.
type silentConns struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	over  bool
}

func (s *silentConns) note(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state != http.StateNew {
		delete(s.conns, c)
		return
	}
	if s.over {
		_ = c.Close() // the server sees the closed connection and reports it there
		return
	}
	s.conns[c] = struct{}{}
}

func (s *silentConns) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	for c := range s.conns {
		_ = c.Close() // as above
	}
}
