package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/drover-project/drover/agent/stream"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// takeOver makes the HTTP connection a stream, for receive.
func (v *receiver) takeOver(ctx context.Context, w http.ResponseWriter, receive func(context.Context, *stream.Reader, net.Conn) error) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		v.a.log.Error("take over the connection", "err", err)
		return
	}
	defer conn.Close()                                      // the sender has the reply, or has gone
	defer context.AfterFunc(ctx, func() { conn.Close() })() // it is being given up
	if err := upgrade(conn); err != nil {
		v.a.log.Warn("sender has gone", "volume", v.q.Volume, "err", err)
		return
	}
	ring, err := stream.NewRing(v.a.o.Ring)
	if err != nil {
		v.a.log.Error("receive", "err", err)
		return
	}
	v.ring = ring
	v.a.under.flows(v)
	if v.line == nil {
		v.log().Info("receive starts")
	}
	began := time.Now()
	in := stream.NewReader(&limitedReader{ctx: ctx, r: buffered(rw.Reader, conn), limit: v.a.limits.receiving()})
	still := v.beat(conn)
	err = receive(ctx, in, conn)
	still()
	if v.line.unused() {
		v.log().Debug("line closed", "took", time.Since(began), "err", err)
	} else {
		v.log().Info("receive ends", "took", time.Since(began), "bytes", in.Count(), "err", err)
	}
	if err := v.reply(conn, err); err != nil && !v.line.unused() {
		v.log().Warn("sender did not wait for the reply", "err", err)
	}
}

// log says of each line which stream it is about. On a line the guid is known only once the stream begins.
func (v *receiver) log() *slog.Logger {
	return v.a.log.With("volume", v.q.Volume, "from", v.q.From, "guid", v.q.To, "node", v.a.o.Hostname)
}

// beatEvery is how often a sender hears how its stream is doing at the target.
const beatEvery = time.Second / 2

// beat sends the ring's pulse until the returned function is called. That nobody hears it is found out by the reply.
func (v *receiver) beat(conn net.Conn) (still func()) {
	tick, over, done := time.NewTicker(beatEvery), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer tick.Stop()
		out := stream.NewWriter(conn)
		for {
			select {
			case <-over:
				return
			case <-tick.C:
				if out.Pulse(v.ring.Pulse()) != nil {
					return
				}
			}
		}
	}()
	return func() { close(over); <-done }
}

func upgrade(conn net.Conn) error {
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	_, err := fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n%s: %s\r\n\r\n", protocol, headerCodecs, stream.Understood())
	return err
}

// buffered returns what the HTTP server has read ahead, then the connection itself: its small buffer would only cost a copy.
func buffered(r *bufio.Reader, conn net.Conn) io.Reader {
	if r.Buffered() == 0 {
		return conn
	}
	ahead, _ := r.Peek(r.Buffered()) // it is in memory
	return io.MultiReader(bytes.NewReader(ahead), conn)
}

func (v *receiver) reply(conn net.Conn, err error) error {
	reply := receiveReply{Copy: v.c}
	if err != nil {
		e := asError(v.a.phrase(state.Step{Kind: "receive", Volume: v.q.Volume}, err))
		reply = receiveReply{Error: e}
	}
	b, err := json.Marshal(reply)
	if err != nil {
		return err
	}
	w := stream.NewWriter(conn)
	if _, err := w.Write(b); err != nil {
		return err
	}
	return w.End()
}

// receive runs `zfs receive` on a stream that begins as it was announced, and looks whether the snapshot has arrived.
func (v *receiver) receive(ctx context.Context, in *stream.Reader, conn net.Conn) error {
	dataset, props := v.destination()
	if err := v.take(ctx, zfs.ReceiveRequest{Dataset: dataset, Properties: props}, in, conn); err != nil {
		return v.explain(err, dataset)
	}
	return v.arrived(ctx)
}

// take passes a stream on to `zfs receive` and makes sure that it is the one that was announced, and whole.
func (v *receiver) take(ctx context.Context, to zfs.ReceiveRequest, in *stream.Reader, conn net.Conn) error {
	tail := &stream.Tail{R: in}
	from := &incoming{tail: tail, ring: v.ring, conn: conn}
	if v.line != nil {
		from.await = func() ([]byte, error) { return v.announced(in) }
	} else if err := from.begins(v.head(in)); err != nil {
		return err
	}
	err := v.z.Receive(ctx, to, from)
	if errors.Is(err, zfs.ErrWarning) { // a complaint about a property: what was set is looked at afterwards
		v.a.log.Warn("zfs receive warned", "volume", v.q.Volume, "err", err)
		err = nil
	}
	if err != nil {
		return err
	}
	return v.ended(tail)
}

// head reads the stream's first record, and refuses a stream that is not the one that was announced.
func (v *receiver) head(in *stream.Reader) ([]byte, error) {
	head, raw, err := stream.ReadHead(in)
	if err != nil {
		return nil, errorf(CodeRefused, "the stream cannot be read: %w", err)
	}
	if head.To != v.q.To || v.q.Token == "" && head.From != v.q.Base {
		return nil, errorf(CodeRefused, "the stream is of snapshot %s from base %s, not of %s from %s as announced", head.To, head.From, v.q.To, v.q.Base)
	}
	return raw, nil
}

// limitedReader reads from a connection as fast as this node may receive.
type limitedReader struct {
	ctx   context.Context //nolint:containedctx // of one stream, for Read, which has none
	r     io.Reader
	limit *throttle
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(len(p), l.limit.most())])
	if err == nil {
		err = l.limit.wait(l.ctx, n)
	}
	return n, err
}

// incoming is a stream for `zfs receive`. Closing it ends its reading and leaves the connection open for the reply: who sent
// the stream is told why it was not taken.
type incoming struct {
	head  []byte
	tail  *stream.Tail
	ring  *stream.Ring
	conn  net.Conn
	await func() ([]byte, error) // on a line: waits for the head
}

func (r *incoming) begins(head []byte, err error) error {
	r.head = head
	return err
}

// Read is there for the interface; everything is passed on by WriteTo.
func (r *incoming) Read(p []byte) (int, error) {
	if len(r.head) > 0 {
		n := copy(p, r.head)
		r.head = r.head[n:]
		return n, nil
	}
	return r.tail.Read(p)
}

// WriteTo passes the whole stream on by way of the ring, so that the network does not wait while the pool does.
func (r *incoming) WriteTo(w io.Writer) (int64, error) {
	if r.await != nil {
		if err := r.begins(r.await()); err != nil {
			return 0, err
		}
	}
	n, err := w.Write(r.head)
	r.head = r.head[n:]
	if err != nil {
		return int64(n), err
	}
	m, err := r.ring.Carry(w, r.tail.Fill, func() { _ = r.Close() }) // it fails only if the connection is gone
	return int64(n) + m, err
}

// Close makes a Read that waits return.
func (r *incoming) Close() error { return r.conn.SetReadDeadline(time.Unix(1, 0)) }

// ended makes sure that the sender has said that its stream is complete, and that nothing came after the end of it.
func (v *receiver) ended(tail *stream.Tail) error {
	if _, err := io.Copy(io.Discard, tail); err != nil {
		return err
	}
	if !tail.Ended(v.q.To) {
		return errorf(CodeRefused, "something came after the end of the stream")
	}
	return nil
}
