package gate

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/drover-project/drover/state"
)

// pair returns the two ends of a connection.
func pair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	accepted := make(chan *net.TCPConn, 1)
	s := serve(t, local, func(c *net.TCPConn) {
		accepted <- c
		<-t.Context().Done()
	})
	tcp := s.Addr().(*net.TCPAddr)
	near = dial(t, state.Endpoint{Address: tcp.IP.String(), Port: tcp.Port})
	return near, <-accepted
}

// The backend has answered and reset the connection before the client's bytes reach it: the direction that meets the break
// leaves the answer to the other one.
func TestBreakLeavesTheAnswerToTheOtherDirection(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux says which side of a link broke")
	}
	client, farClient := pair(t)
	up, farUp := pair(t)
	io.WriteString(farUp, "answer")
	farUp.SetLinger(0)
	farUp.Close()
	eventually(t, "the reset arrives", func() bool { return broken(up) })
	io.WriteString(farClient, "question")
	farClient.CloseWrite()
	pass(up, client)
	go func() { pass(client, up); client.Close() }()
	hear(t, farClient, "answer")
}

// A route that changes while a connection to its backend is being made wins.
func TestNoLinkToAFormerBackend(t *testing.T) {
	g := newGate(t, Options{})
	g.ctx = t.Context()
	e := g.newEndpoint(state.Route{})
	defer e.close()
	client, _ := pair(t)
	up, _ := pair(t)
	e.set(state.Route{Backend: "new:1", Hold: time.Second})
	if e.join(client, up, "old:1") != nil || len(e.links) > 0 {
		t.Error("linked with a former backend")
	}
	up, far := pair(t)
	l := e.join(client, up, "new:1")
	if l == nil {
		t.Fatal("not linked with the backend")
	}
	e.set(state.Route{Backend: "newer:1"})
	if b, err := io.ReadAll(far); err != nil || len(b) > 0 {
		t.Errorf("backend got %q, %v; want an end", b, err)
	}
}
