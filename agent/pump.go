package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/drover-project/drover/agent/stream"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// receiveReply is the target's last word on a stream, or its only one if the snapshot is there already.
type receiveReply struct {
	Copy  *state.Copy `json:",omitempty"`
	Error *Error      `json:",omitempty"`
}

// readReply reads the target's reply, and its pulses before it. A connection that breaks before is unknown: the guid on the target
// will tell.
func readReply(conn io.Reader, pulse func(stream.Pulse)) receiveReply {
	in := stream.NewReader(conn)
	in.Pulses(pulse)
	b, err := io.ReadAll(io.LimitReader(in, maxReply))
	var reply receiveReply
	if err == nil {
		err = json.Unmarshal(b, &reply)
	}
	if err != nil {
		return receiveReply{Error: errorf(CodeUnknown, "the target broke off: %w", err)}
	}
	if reply.Copy == nil && reply.Error == nil {
		return receiveReply{Error: errorf(CodeInternal, "the target's reply is empty")}
	}
	return reply
}

// pump runs `zfs send` into the target's agent, over the line that is open already or else on a connection of its own. zfs is
// started first: it reads ahead into its pipe while the target checks.
func (p *part) pump(ctx context.Context, out zfs.SendRequest, q receiveRequest) (*state.Copy, error) {
	if reply, ok := p.overLine(ctx, out, q); ok {
		return reply, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sending, err := p.z.Send(ctx, out)
	if err != nil {
		return nil, err
	}
	defer sending.Close() // its outcome was asked for where it matters
	conn, there, err := p.a.offer(ctx, p.s.PeerAddress, q)
	if err != nil || there != nil {
		return there, err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })() // it is being given up
	defer conn.Close()                                      // the reply has been read
	w, err := p.outflow(ctx, conn)
	if err != nil {
		return nil, err
	}
	answer := make(chan receiveReply, 1)
	go func() { answer <- readReply(conn, p.account.told) }()
	return p.carry(ctx, cancel, w, sending, answer)
}

// carry passes a stream on and waits for the target's answer.
func (p *part) carry(ctx context.Context, cut context.CancelCauseFunc, w *outflow, sending *zfs.Sending, answer <-chan receiveReply) (*state.Copy, error) {
	p.account.begin()
	defer p.watched(ctx, cut)()
	serr := p.copyOut(w, sending)
	p.account.enter(answered)
	reply := <-answer // at the latest when the connection breaks
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause // we cut it ourselves
	}
	return outcome(reply, serr)
}

// watched has the stream watched until the returned function is called.
func (p *part) watched(ctx context.Context, cut context.CancelCauseFunc) (over func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.account.watch(ctx, stuckFor, p.token, cut)
	}()
	return func() { cancel(); <-done }
}

// outcome tells which end's error explains a failed stream. A sender that fails makes the receiver fail; a receiver that
// fails makes the sender's writes fail, and says why.
func outcome(reply receiveReply, serr error) (*state.Copy, error) {
	var told *writeError
	switch {
	case serr != nil && !errors.As(serr, &told):
		return nil, serr
	case reply.Error != nil:
		return nil, reply.Error
	case serr != nil:
		return nil, serr
	}
	return reply.Copy, nil
}

// writeError marks an error of the connection, as opposed to one of zfs send.
type writeError struct{ error }

func (e *writeError) Unwrap() error { return e.error }

// copyOut passes the stream on. Its last frame says that zfs send has ended well, or that it has not.
func (p *part) copyOut(w *outflow, sending *zfs.Sending) error {
	p.account.enter(reading)
	_, err := w.ReadFrom(&counted{r: sending, account: p.account, limit: w.conn.limit})
	if w.conn.err != nil {
		return &writeError{w.conn.err}
	}
	if err == nil {
		err = sending.Wait()
	}
	if err != nil {
		return errors.Join(err, w.Fail(err))
	}
	if err := w.End(); err != nil {
		return &writeError{err}
	}
	return nil
}

// outflow writes a stream's frames to its connection.
type outflow struct {
	*stream.Writer
	conn *limitedConn
}

// outflow returns what the part's stream goes out by.
func (p *part) outflow(ctx context.Context, conn *outConn) (*outflow, error) {
	to := &limitedConn{ctx: ctx, w: conn, account: p.account, limit: p.a.limits.sending(p.s.App, p.s.Peer)}
	w := stream.NewWriter(to)
	if !compressible(p.c.Part(p.path)) {
		return &outflow{w, to}, nil
	}
	return &outflow{w, to}, w.Compress(conn.codecs, p.account.ringIsFull)
}

// compressible reports whether compressing a part's stream on its way might be worth it: it is when the part is not on disk
// as it travels. What is encrypted looks random.
func compressible(part *state.Copy) bool {
	return part != nil && !part.Compressed && !part.Encrypted
}

// counted counts what is read, in pieces of what may go at once.
type counted struct {
	r       io.Reader
	account *account
	limit   *throttle
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p[:min(len(p), c.limit.most())])
	c.account.add(n)
	return n, err
}

// limitedConn keeps the limits of a stream's connection, takes the time, and remembers the connection's error. Between two writes the
// stream waits for what is to be sent.
type limitedConn struct {
	ctx     context.Context //nolint:containedctx // of one stream, for Write, which has none
	w       io.Writer
	account *account
	limit   *throttle
	err     error
}

func (c *limitedConn) Write(p []byte) (n int, err error) {
	c.account.enter(limited)
	if err = c.limit.wait(c.ctx, len(p)); err == nil {
		c.account.enter(writing)
		n, err = c.w.Write(p)
	}
	c.account.enter(reading)
	c.err = err
	return n, err
}
