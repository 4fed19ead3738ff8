package agent

import (
	"bufio"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drover-project/drover/agent/stream"
	"github.com/drover-project/drover/certs"
)

// A target that vanishes without a word is given up in half a minute, though what was sent to it last still waits to be taken. One whose pool
// stands still, but that is there, is not.
func TestVanishedTargetIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		server, err := certs.ServerConfig(b.certificate(certs.Agent, "target"))
		if err != nil {
			t.Fatal(err)
		}
		client := b.tls(certs.Agent)
		client.ServerName = "localhost"
		near, far := net.Pipe()
		target := tls.Server(far, server)
		defer target.Close() // it has vanished
		alive := make(chan error, 1)
		go func() {
			err := target.HandshakeContext(t.Context())
			for range 600 {
				time.Sleep(beatEvery)
				if err == nil {
					err = stream.NewWriter(target).Pulse(stream.Pulse{Taken: 7, Level: 9, Size: 9})
				}
			}
			alive <- err
		}()
		conn := &outConn{Conn: tls.Client(near, client), under: &gathering{Conn: near}}
		conn.in = bufio.NewReader(conn.Conn)
		began := time.Now()
		reply := make(chan receiveReply, 1)
		go func() { reply <- readReply(conn, func(stream.Pulse) {}) }()
		if _, err := conn.Write([]byte("what nobody takes")); err == nil {
			t.Error("a write that nobody takes succeeds")
		}
		if err := <-alive; err != nil {
			t.Fatal(err)
		}
		took, got := time.Since(began), <-reply
		if got.Error == nil || !strings.Contains(got.Error.Message, "nothing was heard of it for 30s") {
			t.Errorf("it is told %v", got.Error)
		}
		if most := 600*beatEvery + vanishedAfter; took < 600*beatEvery || took > most {
			t.Errorf("given up after %s, want at most %s", took, most)
		}
	})
}
