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
	"time"

	"github.com/drover-project/drover/agent/stream"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// protocol is what the connection of a stream is upgraded to: frames both ways, data to the target, its reply back.
const protocol = "drover-stream"

// receiveReply is the target's last word on a stream, or its only one if the snapshot is there already.
type receiveReply struct {
	Copy  *state.Copy `json:",omitempty"`
	Error *Error      `json:",omitempty"`
}

func newStreamClient(config *tls.Config) *http.Client {
	t := newTransport(config)
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAliveConfig: keepAlive}
	t.DialContext = dialer.DialContext
	t.TLSClientConfig.DynamicRecordSizingDisabled = true
	return &http.Client{Transport: t}
}

// offer asks the agent at addr to receive a stream. It returns the connection to write it to, or the target's copy if that
// has the snapshot already.
func (a *Agent) offer(ctx context.Context, addr string, q receiveRequest) (io.ReadWriteCloser, *state.Copy, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr+pathReceive, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", protocol)
	resp, err := a.streams.Do(req)
	if err != nil {
		return nil, nil, errorf(CodeUnreachable, "agent %s does not answer: %w", addr, unwrapURL(err))
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		conn, ok := resp.Body.(io.ReadWriteCloser)
		if !ok {
			return nil, nil, errors.Join(errors.New("the connection cannot be written to"), resp.Body.Close())
		}
		return conn, nil, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, decodeError(req, resp)
	}
	var reply receiveReply
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxReply)).Decode(&reply); err != nil || reply.Copy == nil {
		return nil, nil, errorf(CodeInternal, "agent %s: the reply cannot be read: %w", addr, err)
	}
	return nil, reply.Copy, nil
}

// readReply reads the target's reply. A connection that breaks before is unknown: the guid on the target will tell.
func readReply(conn io.Reader) receiveReply {
	b, err := io.ReadAll(io.LimitReader(stream.NewReader(conn), maxReply))
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

// receiver is one stream at its target.
type receiver struct {
	a     *Agent
	z     *zfs.ZFS // its children hold the volume's lock
	q     receiveRequest
	c     *state.Copy // nil before a first stream
	first bool        // the dataset is made by this stream
}

// serveReceive checks an offered stream under the volume's lock, then takes the connection over and receives.
func (a *Agent) serveReceive(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	var q receiveRequest
	err := decode(r.Body, &q)
	if err == nil {
		err = asErr(q.check())
	}
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	lock, err := a.locks.take(ctx, q.UUID, "a receive")
	if err != nil {
		a.refuse(w, r, a.phrase(state.Step{Kind: "receive", Volume: q.Volume}, err))
		return
	}
	defer lock.release()
	defer a.under.receive(q.UUID)()
	v := &receiver{a: a, z: lock.zfs(a.zfs), q: q}
	there, err := v.admit(ctx)
	switch {
	case err != nil:
		a.refuse(w, r, a.phrase(state.Step{Kind: "receive", Volume: q.Volume}, err))
	case there:
		a.write(w, http.StatusOK, receiveReply{Copy: v.c})
	default:
		v.takeOver(ctx, w)
	}
}

// admit decides whether the stream may come. It reports true if its snapshot is there already.
func (v *receiver) admit(ctx context.Context) (bool, error) {
	var err error
	if v.c, err = v.a.find(ctx, v.z, v.q.UUID, v.q.Volume); err != nil {
		return false, err
	}
	if v.q.Discard != "" && v.c != nil {
		if err := v.discard(ctx); err != nil {
			return false, err
		}
	}
	var taken state.Epoch
	if v.c == nil {
		root, err := v.a.readRoot(ctx)
		if err != nil {
			return false, err
		}
		taken = root.taken[v.q.UUID]
	}
	there, refused := receivable(v.c, v.q, taken)
	if refused != nil || there {
		return there, asErr(refused)
	}
	v.first = v.c == nil
	return false, v.room(ctx)
}

// discard drops the half-received stream that the sender cannot resume, if it is still that one.
func (v *receiver) discard(ctx context.Context) (err error) {
	if v.c.Role != state.Standby || v.c.ResumeToken != v.q.Discard {
		return errorf(CodeUnexpected, "its half-received stream is another one").about(v.c)
	}
	v.c, err = v.a.dropPartial(ctx, v.z, v.c)
	return err
}

// room refuses a stream that would fill the pool: a full pool stays full of the half-received stream.
func (v *receiver) room(ctx context.Context) error {
	if v.q.Bytes == 0 {
		return nil
	}
	pool, err := v.z.Pool(ctx, v.a.poolName())
	if err != nil {
		return err
	}
	const spare = 8 << 20
	if need := v.q.Bytes + v.q.Bytes/20 + spare; pool.Free < need {
		return errorf(CodeNoSpace, "pool %s has %d bytes free, the stream needs %d: free space, or choose another node", pool.Name, pool.Free, need)
	}
	return nil
}

// takeOver makes the HTTP connection a stream.
func (v *receiver) takeOver(ctx context.Context, w http.ResponseWriter) {
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
	log := v.a.log.With("volume", v.q.Volume, "from", v.q.From, "guid", v.q.To, "node", v.a.o.Hostname)
	log.Info("receive starts")
	began := time.Now()
	in := stream.NewReader(buffered(rw.Reader, conn))
	err = v.receive(ctx, in, conn)
	log.Info("receive ends", "took", time.Since(began), "bytes", in.Count(), "err", err)
	if err := v.reply(conn, err); err != nil {
		log.Warn("sender did not wait for the reply", "err", err)
	}
}

func upgrade(conn net.Conn) error {
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	_, err := fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", protocol)
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
	head, raw, err := stream.ReadHead(in)
	if err != nil {
		return errorf(CodeRefused, "the stream cannot be read: %w", err)
	}
	if head.To != v.q.To || v.q.Token == "" && head.From != v.q.Base {
		return errorf(CodeRefused, "the stream is of snapshot %s from base %s, not of %s from %s as announced", head.To, head.From, v.q.To, v.q.Base)
	}
	dataset, props := v.a.home(v.q.Volume), map[string]string(nil)
	if v.first {
		props = v.identity()
	} else {
		dataset = v.c.Dataset
	}
	tail := &stream.Tail{R: in}
	err = v.z.Receive(ctx, zfs.ReceiveRequest{Dataset: dataset, Properties: props}, &incoming{head: raw, tail: tail, conn: conn})
	if err == nil || errors.Is(err, zfs.ErrWarning) {
		if err != nil { // a complaint about a property: what was set is looked at afterwards
			v.a.log.Warn("zfs receive warned", "volume", v.q.Volume, "err", err)
		}
		err = v.ended(tail)
	}
	if err != nil {
		return v.explain(err, dataset)
	}
	return v.arrived(ctx)
}

// incoming is a stream for `zfs receive`. Closing it ends its reading and leaves the connection open for the reply: who sent
// the stream is told why it was not taken.
type incoming struct {
	head []byte
	tail *stream.Tail
	conn net.Conn
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

// WriteTo passes the whole stream on in large chunks.
func (r *incoming) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(r.head)
	r.head = r.head[n:]
	if err != nil {
		return int64(n), err
	}
	m, err := r.tail.WriteTo(w)
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

// explain gives zfs's errors the codes that the sender acts on.
func (v *receiver) explain(err error, dataset string) error {
	switch {
	case errors.Is(err, zfs.ErrExists) && v.first:
		return errorf(CodeInTheWay, "dataset %s is there already and is not this volume: rename it: %w", dataset, err)
	case errors.Is(err, zfs.ErrTokenStale), errors.Is(err, zfs.ErrPartial), errors.Is(err, zfs.ErrNoBase):
		return errorf(CodeUnexpected, "it does not take this stream: %w", err)
	case errors.Is(err, zfs.ErrModified):
		return errorf(CodeRefused, "it has been modified and cannot be added to: set it aside: %w", err)
	}
	return err
}

// arrived reads the copy and finds the snapshot in it: what counts.
func (v *receiver) arrived(ctx context.Context) (err error) {
	if v.c, err = v.a.find(ctx, v.z, v.q.UUID, v.q.Volume); err != nil {
		return err
	}
	if v.c == nil || v.c.Find(v.q.To) == nil {
		return errorf(CodeInternal, "zfs receive ended well, but the snapshot is not there")
	}
	if v.c.Role != state.Standby || !v.c.Readonly {
		return errorf(CodeInternal, "zfs receive ended well, but the copy is (%s, readonly %s), not a standby", v.c.Role, onOff(v.c.Readonly))
	}
	if v.q.Tidy == "" {
		return nil
	}
	return v.tidy(ctx)
}

// tidy holds the snapshot, the common one from now on, and lets go of this move's older ones.
func (v *receiver) tidy(ctx context.Context) error {
	if err := v.z.Hold(ctx, zfs.Tag, v.c.Dataset+"@"+v.c.Find(v.q.To).Name); err != nil {
		return err
	}
	if err := dropOlder(ctx, v.z, v.c, v.q.Tidy, v.q.To, v.q.Keep); err != nil {
		v.a.log.Warn("older snapshots stay", "volume", v.q.Volume, "err", err)
	}
	c, err := v.a.find(ctx, v.z, v.q.UUID, v.q.Volume)
	if err == nil && c != nil {
		v.c = c
	}
	return err
}

// identity are the properties of a first copy on this node. They are set when the stream begins, so that a half-received
// copy is known for what it is.
func (v *receiver) identity() map[string]string {
	props := (&change{role: state.Standby, epoch: v.q.Epoch, readonly: true}).properties()
	for name, value := range v.q.Properties {
		props[name] = value
	}
	props[zfs.PropVolume] = string(v.q.Volume)
	props[zfs.PropUUID] = string(v.q.UUID)
	props[zfs.PropLead] = string(v.q.Lead)
	props[zfs.PropReclaim] = string(reclaim(v.q.Reclaim))
	props[zfs.PropSendFlags] = v.q.SendFlags
	props["mountpoint"] = v.a.mountpoint(v.q.Volume)
	return props
}
