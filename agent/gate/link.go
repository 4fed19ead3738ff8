package gate

import (
	"errors"
	"io"
	"net"
)

// link is a client's connection and the one to the backend that belongs to it.
type link struct {
	client, up *net.TCPConn
	backend    string
}

// carry copies both ways until both sides have ended.
func (l *link) carry() {
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		pass(l.up, l.client)
	}()
	pass(l.client, l.up)
	<-sent
	l.close()
}

// close ends both connections. It may be called at any time, from anywhere.
func (l *link) close() {
	l.client.Close()
	l.up.Close()
}

// pass copies one direction to its end (on Linux by splice, without a copy in this process). An end is passed on as an end,
// the other direction goes on; a reset is passed on as a reset.
func pass(dst, src *net.TCPConn) {
	_, err := io.Copy(dst, src)
	if err == nil {
		err = dst.CloseWrite()
	}
	if err == nil || errors.Is(err, net.ErrClosed) || broken(dst) {
		// When dst is what broke, it may have said something before (a server that answers and closes while the client
		// still sends): the other direction delivers that, meets the same break and ends the link.
		return
	}
	reset(dst)
	reset(src)
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0) // an error means that it is closed
	c.Close()
}
