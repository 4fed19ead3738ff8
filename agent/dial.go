package agent

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/drover-project/drover/agent/stream"
	"github.com/drover-project/drover/state"
)

// protocol is what the connection of a stream is upgraded to: frames both ways, data to the target, its reply back.
const protocol = "drover-stream"

// headerCodecs is where a target says which codecs it understands. One that says nothing is of a version that knows none.
const headerCodecs = "Drover-Codecs"

// streamDialer opens the connections of streams. Each stream has one of its own: control never waits behind data.
type streamDialer struct {
	config *tls.Config
}

func newStreamDialer(config *tls.Config) *streamDialer {
	c := config.Clone()
	c.DynamicRecordSizingDisabled = true // large writes only
	return &streamDialer{config: c}
}

// dialTime bounds what the other side's system does; how long its agent takes to answer depends on its pool.
const dialTime = 5 * time.Second

// dial opens a connection to the agent at addr. The kernel chooses the socket's buffers: it grows them as the link needs, and
// a size that is asked for ends that.
func (d *streamDialer) dial(ctx context.Context, addr string) (*outConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	dialer := &net.Dialer{KeepAliveConfig: keepAlive} // not vanishing: a target whose pool stands still takes nothing for minutes
	plain, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, errors.Join(err, plain.Close())
	}
	config := d.config.Clone()
	if config.ServerName == "" {
		config.ServerName = host
	}
	under := &gathering{Conn: plain}
	conn := tls.Client(under, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, plain.Close())
	}
	return &outConn{Conn: conn, under: under, in: bufio.NewReader(conn)}, nil
}

// outConn is the connection of a stream at its sender.
type outConn struct {
	*tls.Conn
	under  *gathering
	in     *bufio.Reader
	codecs []stream.Codec // that the target understands
}

// Read reads what the target says, which is its pulse twice a second. A target that says nothing for vanishedAfter is gone: the connection
// is closed, so that a write that waits for it ends too.
func (c *outConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(vanishedAfter)); err != nil {
		return 0, err
	}
	n, err := c.in.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errors.Join(fmt.Errorf("nothing was heard of it for %s", vanishedAfter), c.Close())
	}
	return n, err
}

// Write sends p with one system call: TLS by itself makes one for each record of 16 KiB.
func (c *outConn) Write(p []byte) (int, error) {
	c.under.gather()
	n, err := c.Conn.Write(p)
	return n, errors.Join(err, c.under.flush())
}

// gathering is a connection whose writes can be put off, to be sent as one.
type gathering struct {
	net.Conn
	mu    sync.Mutex
	on    bool
	waits []byte
}

func (g *gathering) gather() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.on = true
}

// Write sends p, or keeps it until flush.
func (g *gathering) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.on {
		return g.Conn.Write(p)
	}
	g.waits = append(g.waits, p...)
	return len(p), nil
}

func (g *gathering) flush() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, err := g.Conn.Write(g.waits)
	g.on, g.waits = false, g.waits[:0]
	return err
}

// offer asks the agent at addr to receive a stream. It returns the connection to write it to, or the target's copy if that
// has the snapshot already.
func (a *Agent) offer(ctx context.Context, addr string, q receiveRequest) (*outConn, *state.Copy, error) {
	conn, err := a.streams.dial(ctx, addr)
	if err != nil {
		return nil, nil, errorf(CodeUnreachable, "agent %s does not answer: %w", addr, err)
	}
	there, err := conn.upgrade(ctx, addr, q)
	if err != nil || there != nil {
		conn.Close() // nothing more is said on it
		return nil, there, err
	}
	return conn, nil, nil
}

// upgrade makes the HTTP connection a stream's. It returns the target's copy instead if that has the snapshot already.
func (c *outConn) upgrade(ctx context.Context, addr string, q receiveRequest) (*state.Copy, error) {
	defer context.AfterFunc(ctx, func() { c.Close() })()
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr+pathReceive, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", protocol)
	if err := req.Write(c); err != nil {
		return nil, errorf(CodeUnreachable, "agent %s does not answer: %w", addr, because(ctx, err))
	}
	resp, err := http.ReadResponse(c.in, req)
	if err != nil {
		return nil, errorf(CodeUnreachable, "agent %s does not answer: %w", addr, because(ctx, err))
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusSwitchingProtocols:
		c.codecs = stream.ParseCodecs(resp.Header.Get(headerCodecs))
		return nil, nil
	case http.StatusOK:
		return thereAlready(addr, resp.Body)
	}
	return nil, decodeError(req, resp)
}

// because prefers why a context ended to what its end did to a connection.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func thereAlready(addr string, body io.Reader) (*state.Copy, error) {
	var reply receiveReply
	if err := json.NewDecoder(io.LimitReader(body, maxReply)).Decode(&reply); err != nil || reply.Copy == nil {
		return nil, errorf(CodeInternal, "agent %s: the reply cannot be read: %w", addr, err)
	}
	return reply.Copy, nil
}
