package gate

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drover-project/drover/state"
)

const patience = 20 * time.Second // for what must come; a test that waits so long has failed

func newGate(t testing.TB, o Options) *Gate {
	t.Helper()
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// run starts a gate that ends with the test.
func run(t testing.TB, o Options) *Gate {
	t.Helper()
	o.DialTimeout = patience // on a busy machine an attempt may take long; an aborted one would be seen by the backend
	g := newGate(t, o)
	g.slow, g.linger = patience, patience
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("gate ended: %v", err)
		}
	})
	eventually(t, "the gate runs", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return g.ctx != nil })
	return g
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("never: %s", what)
		}
	}
}

var lastAddress atomic.Uint32

// freeEndpoint picks an address that nobody else listens on.
func freeEndpoint(t testing.TB) state.Endpoint {
	t.Helper()
	host := "127.0.0.1"
	if runtime.GOOS == "linux" { // all of 127/8 is local: no other test's port can be in the way
		n := lastAddress.Add(1)
		host = fmt.Sprintf("127.77.%d.%d", n/250, n%250+1)
	}
	ln, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return state.Endpoint{Name: "db", Address: host, Port: ln.Addr().(*net.TCPAddr).Port}
}

func set(t testing.TB, g *Gate, routes ...state.Route) {
	t.Helper()
	if err := g.Set(routes); err != nil {
		t.Fatal(err)
	}
	if errs := g.State().Errors; len(errs) > 0 {
		t.Fatalf("errors: %v", errs)
	}
}

func to(at state.Endpoint, backend string, epoch uint64) state.Route {
	return state.Route{App: "/todo/db", Endpoint: at, Backend: backend, Epoch: state.Epoch{N: epoch}, Hold: patience}
}

func holding(r state.Route) state.Route { r.Held = true; return r }

func dial(t testing.TB, at state.Endpoint) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address(at))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// server is a backend; serve is called with each connection, in the order of arrival, each in its own goroutine.
type server struct {
	net.Listener
	wg sync.WaitGroup
}

func serve(t testing.TB, address string, one func(*net.TCPConn)) *server {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Listener: ln}
	s.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(patience))
				one(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() { ln.Close(); s.wg.Wait() })
	return s
}

func (s *server) address() string { return s.Addr().String() }

const local = "127.0.0.1:0"

// named serves a backend that says its name and then echoes.
func named(t testing.TB, name string) *server {
	return serve(t, local, func(c *net.TCPConn) {
		io.WriteString(c, name)
		io.Copy(c, c)
	})
}

func hear(t testing.TB, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("heard %q, %v; want %q", b, err, want)
	}
}

func waitingAt(g *Gate, r state.Route) int {
	g.mu.Lock()
	e := g.endpoints[keyOf(r)]
	g.mu.Unlock()
	if e == nil {
		return 0
	}
	return e.line.length()
}
