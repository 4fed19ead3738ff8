package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/drover-project/drover/state"
)

const (
	retryPause  = 10 * time.Millisecond // between two attempts at a backend that refuses: its task has just started
	slowDial    = 20 * time.Millisecond // a lost packet of one must not hold up all behind it
	acceptPause = 50 * time.Millisecond // after a failed accept, most likely for want of file descriptors
	lingerTime  = time.Second           // how long a client that was turned away may take to notice
)

// endpoint is one address that the gate listens on, and the connections that came through it.
type endpoint struct {
	at     state.Endpoint
	dial   net.Dialer
	slow   time.Duration // who dials longer no longer holds up the line
	linger time.Duration // for a client that is turned away
	log    *slog.Logger
	line   line

	ctx    context.Context // ends when the endpoint closes
	cancel context.CancelFunc
	wg     sync.WaitGroup

	listener *net.TCPListener // nil until it listens; the gate's lock guards it

	mu    sync.Mutex
	links map[*link]struct{}
}

func (g *Gate) newEndpoint(r state.Route) *endpoint {
	e := &endpoint{
		at:     r.Endpoint,
		dial:   net.Dialer{Timeout: g.options.DialTimeout},
		slow:   g.slow,
		linger: g.linger,
		log:    g.log.With("app", r.App, "endpoint", r.Endpoint.Name),
		links:  map[*link]struct{}{},
	}
	e.ctx, e.cancel = context.WithCancel(g.ctx)
	return e
}

// listen begins to accept, unless it does already. The error is for a person.
func (e *endpoint) listen() error {
	if e.listener != nil {
		return nil
	}
	config := net.ListenConfig{Control: share}
	config.SetMultipathTCP(false) // splice wants plain TCP
	ln, err := config.Listen(e.ctx, "tcp", address(e.at))
	if err != nil {
		return explain(e.at, err)
	}
	e.listener = ln.(*net.TCPListener)
	e.wg.Go(e.accept)
	return nil
}

func explain(at state.Endpoint, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s is not an address of this node: add it, as root: ip link add drover0 type dummy; ip link set drover0 up; ip address add %s dev drover0", at.Address, at.Address)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is in use by another program or another user's agent: stop that, or change the endpoint's port", address(at))
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: ports below 1024 need root or CAP_NET_BIND_SERVICE: %w", address(at), err)
	}
	return err
}

// close ends the endpoint and all that came through it, and waits.
func (e *endpoint) close() {
	e.cancel()
	if e.listener != nil {
		e.listener.Close() // its only error is that it is closed
	}
	e.cut(func(*link) bool { return true })
	e.wg.Wait()
}

// set puts a route in force. Connections to a former backend end when there is another one; as long as there is none they
// are left to end by themselves.
func (e *endpoint) set(r state.Route) {
	e.line.set(r)
	e.cut(func(l *link) bool { return !e.line.leads(l.backend) })
}

func (e *endpoint) cut(which func(*link) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for l := range e.links {
		if which(l) {
			l.close()
		}
	}
}

func (e *endpoint) accept() {
	for {
		conn, err := e.listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			e.log.Error("accept", "err", err)
			pause(e.ctx, acceptPause)
			continue
		}
		p := e.line.enter(time.Now()) // here, not in the goroutine: the order of places is the order of arrival
		e.wg.Go(func() { e.serve(conn, p) })
	}
}

// serve passes one connection on, from its accept to its end.
func (e *endpoint) serve(client *net.TCPConn, p *place) {
	l, err := e.reach(client, p)
	if err != nil {
		e.log.Info("connection closed unserved", "client", client.RemoteAddr(), "err", err)
		e.turnAway(client)
		return
	}
	l.carry()
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.links, l)
}

// reach waits for p's turn and connects to the backend, again and again until p's time is over.
func (e *endpoint) reach(client *net.TCPConn, p *place) (*link, error) {
	defer e.line.leave(p)
	ctx, cancel := context.WithDeadlineCause(e.ctx, p.until, errHoldOver)
	defer cancel()
	for {
		backend, err := e.line.wait(ctx, p)
		if err != nil {
			return nil, err
		}
		up, err := e.connect(ctx, p, backend)
		if err == nil {
			if l := e.join(client, up, backend); l != nil {
				return l, nil
			}
			continue // the route has changed meanwhile
		}
		p.failed = true
		if !pause(ctx, retryPause) {
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// connect makes one attempt. A first one that never had to wait has the whole dial timeout, whatever the hold is.
func (e *endpoint) connect(ctx context.Context, p *place, backend string) (*net.TCPConn, error) { //nolint:contextcheck // the endpoint outlives a hold
	if !p.waited {
		ctx = e.ctx
	}
	slow := time.AfterFunc(e.slow, func() { e.line.leave(p) })
	defer slow.Stop()
	conn, err := e.dial.DialContext(ctx, "tcp", backend)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// join ties both connections together, unless the endpoint has ended or the route leads elsewhere by now: whoever changes
// the route afterwards finds the link and cuts it.
func (e *endpoint) join(client, up *net.TCPConn, backend string) *link {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil || !e.line.leads(backend) {
		up.Close()
		return nil
	}
	l := &link{client: client, up: up, backend: backend}
	e.links[l] = struct{}{}
	return l
}

// turnAway closes a connection of which nothing was read so that the client sees an end, not a reset: closing with
// unread bytes would reset it.
func (e *endpoint) turnAway(client *net.TCPConn) {
	defer context.AfterFunc(e.ctx, func() { client.Close() })()
	defer client.Close()
	if client.CloseWrite() != nil || client.SetReadDeadline(time.Now().Add(e.linger)) != nil {
		return // it is gone already
	}
	_, _ = io.Copy(io.Discard, client) // its end is all that matters, for whatever reason
}

// pause waits for d, and reports whether ctx lasted.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
