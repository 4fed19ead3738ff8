package gate

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/drover-project/drover/state"
)

func TestPassesBothWays(t *testing.T) {
	g, at := run(t, Options{}), freeEndpoint(t)
	set(t, g, to(at, serve(t, local, func(c *net.TCPConn) { io.Copy(c, c); c.CloseWrite() }).address(), 1))
	data := make([]byte, 16<<20)
	rand.Read(data)
	c := dial(t, at)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := c.Write(data); err != nil {
			t.Error(err)
		}
		c.CloseWrite()
	})
	sum := sha256.New()
	// Slowly, and with small reads: what does not fit anywhere must wait at its source.
	n, err := io.CopyBuffer(struct{ io.Writer }{sum}, struct{ io.Reader }{c}, make([]byte, 1500))
	wg.Wait()
	if want := sha256.Sum256(data); err != nil || n != int64(len(data)) || [32]byte(sum.Sum(nil)) != want {
		t.Errorf("%d bytes of %d came back, %v; or others", n, len(data), err)
	}
}

func TestHeldConnectionsAreReleasedInOrder(t *testing.T) {
	g, at := run(t, Options{}), freeEndpoint(t)
	const n = 100
	var mu sync.Mutex
	var order []string
	arrived := make(chan string, n)
	ln, err := net.Listen("tcp", local)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		for range n {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 3)
			if _, err := io.ReadFull(c, b); err != nil {
				t.Error(err)
			}
			c.Close()
			mu.Lock()
			order = append(order, string(b))
			mu.Unlock()
			arrived <- string(b)
		}
	})
	r := to(at, ln.Addr().String(), 1)
	set(t, g, holding(r))
	for i := range n {
		c := dial(t, at)
		fmt.Fprintf(c, "%03d", i) // before the release: it must not be lost
		eventually(t, "the connection waits", func() bool { return waitingAt(g, r) == i+1 })
	}
	if len(arrived) > 0 {
		t.Fatal("a held connection reached the backend")
	}
	set(t, g, r)
	wg.Wait()
	if len(order) != n || !slices.IsSorted(order) {
		t.Errorf("order %v", order)
	}
}

func TestHoldOverIsACleanEnd(t *testing.T) {
	for name, change := range map[string]func(*state.Route){
		"held":            func(r *state.Route) { r.Held = true },
		"no backend":      func(r *state.Route) { r.Backend = "" },
		"backend refuses": func(r *state.Route) { r.Backend = "127.0.0.1:1" },
		"no hold at all":  func(r *state.Route) { r.Backend, r.Hold = "", 0 },
	} {
		t.Run(name, func(t *testing.T) {
			g, at := run(t, Options{}), freeEndpoint(t)
			r := to(at, "127.0.0.1:1", 1)
			r.Hold = 30 * time.Millisecond
			change(&r)
			set(t, g, r)
			c := dial(t, at)
			// Unread bytes at a close would make it a reset.
			if _, err := io.WriteString(c, "hello, who is there"); err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
				t.Errorf("got %q, %v; want a clean end", b, err)
			}
			for range 100 { // it may finish its sentence
				if _, err := io.WriteString(c, "hello?"); err != nil {
					t.Fatalf("after the end: %v", err)
				}
			}
		})
	}
}

func TestHalfClose(t *testing.T) {
	g, at := run(t, Options{}), freeEndpoint(t)
	set(t, g, to(at, serve(t, local, func(c *net.TCPConn) {
		b, err := io.ReadAll(c)
		fmt.Fprintf(c, "%d bytes, %v", len(b), err)
	}).address(), 1))
	c := dial(t, at)
	io.WriteString(c, "question")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || string(b) != "8 bytes, <nil>" {
		t.Errorf("answer %q, %v", b, err)
	}
}

func TestHalfCloseByBackend(t *testing.T) {
	g, at := run(t, Options{}), freeEndpoint(t)
	got := make(chan string, 1)
	set(t, g, to(at, serve(t, local, func(c *net.TCPConn) {
		c.CloseWrite()
		b, err := io.ReadAll(c)
		got <- fmt.Sprint(string(b), err)
	}).address(), 1))
	c := dial(t, at)
	if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
		t.Errorf("client: %q, %v", b, err)
	}
	io.WriteString(c, "still here")
	c.Close()
	if s := <-got; s != "still here<nil>" {
		t.Errorf("backend: %s", s)
	}
}

func TestResetIsPassedOn(t *testing.T) {
	t.Run("by the client", func(t *testing.T) {
		g, at := run(t, Options{}), freeEndpoint(t)
		got := make(chan error, 1)
		set(t, g, to(at, serve(t, local, func(c *net.TCPConn) {
			io.WriteString(c, "x")
			_, err := io.ReadAll(c)
			got <- err
		}).address(), 1))
		c := dial(t, at)
		hear(t, c, "x")
		c.SetLinger(0)
		c.Close()
		if err := <-got; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("backend saw %v", err)
		}
	})
	t.Run("by the backend", func(t *testing.T) {
		g, at := run(t, Options{}), freeEndpoint(t)
		set(t, g, to(at, serve(t, local, func(c *net.TCPConn) {
			io.ReadFull(c, make([]byte, 1))
			c.SetLinger(0)
		}).address(), 1))
		c := dial(t, at)
		io.WriteString(c, "x")
		if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("client saw %v", err)
		}
	})
}

// A backend that answers and closes while the client still sends resets the connection behind its answer.
func TestAnswerBeforeAResetArrives(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux says which side of a link broke")
	}
	g, at := run(t, Options{}), freeEndpoint(t)
	answer := strings.Repeat("too much ", 1000) // fits into the client's first window: a reset overtakes what does not
	set(t, g, to(at, serve(t, local, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		io.WriteString(c, answer) // then it closes with input unread
	}).address(), 1))
	c := dial(t, at)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		c.Write(make([]byte, 64<<20)) // fails when the gate ends the link
	}()
	b := make([]byte, len(answer))
	if n, err := io.ReadFull(c, b); err != nil || string(b) != answer {
		t.Errorf("%d of %d bytes of the answer, %v", n, len(answer), err)
	}
	c.Close()
	<-sent
}

func TestBackendRefusesThenComesUp(t *testing.T) {
	g, at, later := run(t, Options{}), freeEndpoint(t), freeEndpoint(t)
	r := to(at, address(later), 1)
	set(t, g, r)
	first, second := dial(t, at), dial(t, at)
	eventually(t, "both were refused and wait", func() bool { return waitingAt(g, r) == 2 })
	serve(t, address(later), func(c *net.TCPConn) { io.WriteString(c, "up") })
	hear(t, first, "up")
	hear(t, second, "up")
	hear(t, dial(t, at), "up")
}

func TestOlderEpochIsIgnored(t *testing.T) {
	g, at := run(t, Options{}), freeEndpoint(t)
	now, before := named(t, "now"), named(t, "before")
	set(t, g, to(at, now.address(), 2))
	set(t, g, to(at, before.address(), 1))
	hear(t, dial(t, at), "now")
	if got := g.State().Routes; len(got) != 1 || got[0].Epoch.N != 2 {
		t.Errorf("in force: %v", got)
	}
}

func TestChangeOfBackend(t *testing.T) {
	g, at := run(t, Options{}), freeEndpoint(t)
	one, two := named(t, "one"), named(t, "two")
	r := to(at, one.address(), 1)
	set(t, g, r)
	old := dial(t, at)
	hear(t, old, "one")

	for what, hold := range map[string]state.Route{"held": holding(r), "no backend": to(at, "", 1)} {
		set(t, g, hold)
		io.WriteString(old, what)
		hear(t, old, what) // it goes on: only its backend ends it
	}
	waiting := dial(t, at)
	eventually(t, "a new connection waits", func() bool { return waitingAt(g, r) == 1 })
	set(t, g, to(at, two.address(), 2))
	hear(t, waiting, "two")
	if b, err := io.ReadAll(old); err != nil || len(b) > 0 {
		t.Errorf("leftover got %q, %v; want a clean end", b, err)
	}
}

func TestVanishedEndpointIsClosed(t *testing.T) {
	g, at := run(t, Options{}), freeEndpoint(t)
	r := to(at, named(t, "x").address(), 1)
	set(t, g, r)
	c := dial(t, at)
	hear(t, c, "x")
	set(t, g)
	if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
		t.Errorf("got %q, %v; want an end", b, err)
	}
	if _, err := net.Dial("tcp", address(at)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v, want refused", err)
	}
	set(t, g, r)
	hear(t, dial(t, at), "x")
	r.Endpoint = freeEndpoint(t) // the same endpoint at another address
	set(t, g, r)
	hear(t, dial(t, r.Endpoint), "x")
	if _, err := net.Dial("tcp", address(at)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial where it was: %v, want refused", err)
	}
}

func TestEndClosesAllAndWaits(t *testing.T) {
	g, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	at, blocked := freeEndpoint(t), freeEndpoint(t)
	blocked.Name = "blocked"
	r := to(blocked, "", 1)
	if err := g.Set([]state.Route{to(at, named(t, "x").address(), 1), r}); err != nil { // before Run: only kept
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	eventually(t, "it listens", func() bool {
		c, err := net.Dial("tcp", address(blocked))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	c, held := dial(t, at), dial(t, blocked)
	hear(t, c, "x")
	eventually(t, "one waits", func() bool { return waitingAt(g, r) >= 2 })
	g.mu.Lock()
	endpoints := slices.Collect(maps.Values(g.endpoints))
	g.mu.Unlock()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, e := range endpoints {
		e.mu.Lock()
		if n := len(e.links) + e.line.length(); n > 0 {
			t.Errorf("%s: %d connections outlived Run", e.at.Name, n)
		}
		e.mu.Unlock()
	}
	for _, c := range []net.Conn{c, held} {
		if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
			t.Errorf("got %q, %v; want an end", b, err)
		}
	}
	if err := g.Set(nil); err == nil {
		t.Error("Set after the end: no error")
	}
	if err := g.Run(t.Context()); err == nil {
		t.Error("a second Run: no error")
	}
}

func TestTwoGatesShareAnAddress(t *testing.T) {
	at := freeEndpoint(t)
	one, two := run(t, Options{}), run(t, Options{})
	set(t, one, to(at, named(t, "1").address(), 1))
	set(t, two, to(at, named(t, "2").address(), 1))
	seen := map[string]bool{}
	eventually(t, "both got connections", func() bool {
		c := dial(t, at)
		defer c.Close()
		b := make([]byte, 1)
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatal(err)
		}
		seen[string(b)] = true
		return len(seen) == 2
	})
	set(t, one) // one leaves: the other has it alone
	for range 20 {
		c := dial(t, at)
		hear(t, c, "2")
		c.Close()
	}
}

func TestAddressInUseIsReportedAndRetried(t *testing.T) {
	g, at := run(t, Options{Retry: time.Millisecond}), freeEndpoint(t)
	other, err := net.Listen("tcp", address(at)) // without SO_REUSEPORT
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	r := to(at, named(t, "x").address(), 1)
	if err := g.Set([]state.Route{r}); err != nil {
		t.Fatal(err)
	}
	if got := g.State().Errors["db"]; !strings.Contains(got, "in use by another program") || !strings.Contains(got, address(at)) {
		t.Errorf("error %q", got)
	}
	other.Close()
	eventually(t, "it listens", func() bool { return len(g.State().Errors) == 0 })
	hear(t, dial(t, at), "x")
}

func TestImpossibleRoutesAreReported(t *testing.T) {
	at := freeEndpoint(t)
	change := func(f func(*state.Route)) state.Route {
		r := to(at, "127.0.0.1:1", 1)
		f(&r)
		return r
	}
	tests := []struct {
		name  string
		route state.Route
		want  string
	}{
		{"not an address", change(func(r *state.Route) { r.Endpoint.Address = "db.example" }), "not an IP address"},
		{"no port", change(func(r *state.Route) { r.Endpoint.Port = 0 }), "want 1 to 65535"},
		{"into itself", change(func(r *state.Route) { r.Backend = address(at) }), "the endpoint itself"},
		{"not of this node", change(func(r *state.Route) { r.Endpoint.Address = "192.0.2.1" }), "ip address add 192.0.2.1 dev drover0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := run(t, Options{})
			if err := g.Set([]state.Route{tt.route}); err != nil {
				t.Fatal(err)
			}
			if got := g.State().Errors["db"]; !strings.Contains(got, tt.want) {
				t.Errorf("error %q, want %q in it", got, tt.want)
			}
			set(t, g) // nothing is wrong with an empty table
		})
	}
	t.Run("two on one address", func(t *testing.T) {
		g := run(t, Options{})
		a, b := to(at, named(t, "a").address(), 1), to(at, named(t, "b").address(), 1)
		a.App, b.App, b.Endpoint.Name = "/a", "/b", "cache"
		if err := g.Set([]state.Route{b, a}); err != nil {
			t.Fatal(err)
		}
		if got := g.State().Errors["cache"]; !strings.Contains(got, "endpoint db of /a listens there already") {
			t.Errorf("error %q", got)
		}
		for range 10 {
			c := dial(t, at)
			hear(t, c, "a")
			c.Close()
		}
	})
}

func TestThousandHeldConnections(t *testing.T) {
	g, at := run(t, Options{}), freeEndpoint(t)
	r := to(at, named(t, "x").address(), 1)
	set(t, g, holding(r))
	conns := make([]*net.TCPConn, 1000)
	for i := range conns {
		conns[i] = dial(t, at)
	}
	eventually(t, "all wait", func() bool { return waitingAt(g, r) == len(conns) })
	set(t, g, r)
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() {
			want := fmt.Sprintf("x%d", i)
			fmt.Fprint(c, i)
			c.CloseWrite()
			if b, err := io.ReadAll(c); err != nil || string(b) != want {
				t.Errorf("connection %d: %q, %v", i, b, err)
			}
		})
	}
	wg.Wait()
}
