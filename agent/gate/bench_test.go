package gate

import (
	"io"
	"net"
	"testing"

	"github.com/drover-project/drover/state"
)

// Each benchmark runs without and with the gate in between, on loopback.

// compare calls one with an address that leads to the backend straight and through a gate.
func compare(b *testing.B, backend func(*net.TCPConn), one func(b *testing.B, at state.Endpoint)) {
	s := serve(b, local, backend)
	tcp := s.Addr().(*net.TCPAddr)
	b.Run("direct", func(b *testing.B) { one(b, state.Endpoint{Address: tcp.IP.String(), Port: tcp.Port}) })
	b.Run("gate", func(b *testing.B) {
		g, at := run(b, Options{}), freeEndpoint(b)
		set(b, g, to(at, s.address(), 1))
		one(b, at)
	})
}

// BenchmarkRoundTrip is one request of 64 bytes and its answer on an open connection.
func BenchmarkRoundTrip(b *testing.B) {
	compare(b, func(c *net.TCPConn) { io.Copy(c, c) }, func(b *testing.B, at state.Endpoint) {
		c := dial(b, at)
		buf := make([]byte, 64)
		for b.Loop() {
			if _, err := c.Write(buf); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c, buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkConnect is one connection with one byte of answer.
func BenchmarkConnect(b *testing.B) {
	compare(b, func(c *net.TCPConn) { c.Write([]byte{1}) }, func(b *testing.B, at state.Endpoint) {
		for b.Loop() {
			c, err := net.Dial("tcp", address(at))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadAll(c); err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
	})
}

// BenchmarkThroughput is a transfer from the backend; MB/s is the figure.
func BenchmarkThroughput(b *testing.B) {
	chunk := make([]byte, 256<<10)
	send := func(c *net.TCPConn) {
		for {
			if _, err := c.Write(chunk); err != nil {
				return
			}
		}
	}
	compare(b, send, func(b *testing.B, at state.Endpoint) {
		c := dial(b, at)
		defer c.Close()
		buf := make([]byte, len(chunk))
		b.SetBytes(int64(len(chunk)))
		for b.Loop() {
			if _, err := io.ReadFull(c, buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}
