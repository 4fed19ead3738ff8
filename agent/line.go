package agent

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/drover-project/drover/agent/stream"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// This file is the line of a last increment at its source. Most of what a small increment costs is not its data: to reach the target, to
// have it read its copy and start `zfs receive`. While the source fences, that is done already. Nothing rests on a line being
// there: one that is gone, or does not fit, leaves the increment to a connection of its own.

// lineLife is how long a line may be open without being used. Both ends keep it, each by its own clock.
const lineLife = 30 * time.Second

// lines are the lines that this node has opened and not used yet, by volume.
type lines struct {
	mu      sync.Mutex
	open    map[state.UUID]*line
	ended   bool
	life    time.Duration // 0 for lineLife
	running sync.WaitGroup
}

// line is an open connection on which the target waits for an increment.
type line struct {
	q      receiveRequest // without the snapshot that is to come
	to     state.NodeID
	addr   string
	cancel context.CancelCauseFunc
	timer  *time.Timer       // closes it unless it is used before
	ready  chan struct{}     // closed when it is open, or could not be opened
	conn   *outConn          // valid when ready is closed; nil if it could not be opened
	answer chan receiveReply // the target's last word
	gone   chan struct{}     // closed when nothing of it runs any more

	mu   sync.Mutex
	hear func(stream.Pulse) // nil until it is used
}

var (
	errLineUnused = errors.New("the line is not needed")
	errLineGone   = errors.New("the line is not there any more")
)

// openLine has the line of a fence's last increment opened, if the step says where it goes. It does not wait for it.
func (v *visit) openLine(ctx context.Context) {
	s := v.s
	if s.Peer == "" || s.Peer == v.a.id || s.PeerAddress == "" || len(v.c.Children) > 0 || !v.c.Had(s.Base) {
		return
	}
	q := receiveRequest{Volume: v.c.Volume, UUID: v.c.UUID, Lead: v.c.Lead, From: v.a.id, Epoch: v.c.Epoch, Base: s.Base, Line: true,
		SendFlags: flagsOf(v.c), Reclaim: v.c.Reclaim}
	v.a.lines.begin(ctx, v.a, &line{q: q, to: s.Peer, addr: s.PeerAddress,
		ready: make(chan struct{}), answer: make(chan receiveReply, 1), gone: make(chan struct{})})
}

// begin opens a line, unless its like is open already: a fence may be asked for twice.
func (ls *lines) begin(ctx context.Context, a *Agent, l *line) {
	uuid := l.q.UUID
	if ls.has(l) {
		return
	}
	ls.drop(uuid)
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.ended {
		return
	}
	if ls.open == nil {
		ls.open = map[state.UUID]*line{}
	}
	ctx, l.cancel = context.WithCancelCause(ctx)
	l.timer = time.AfterFunc(cmp.Or(ls.life, lineLife), func() { ls.expire(l) })
	ls.open[uuid] = l
	ls.running.Go(func() { l.run(ctx, a) })
}

// has reports whether a line like that is open and may still be used.
func (ls *lines) has(l *line) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	old := ls.open[l.q.UUID]
	if old == nil || old.to != l.to || old.addr != l.addr || old.q.Base != l.q.Base || old.q.Epoch != l.q.Epoch {
		return false
	}
	select {
	case <-old.gone:
		return false
	default:
		return true
	}
}

// take takes a volume's line out, for its last increment, or returns nil.
func (ls *lines) take(uuid state.UUID) *line {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.open[uuid]
	if l == nil {
		return nil
	}
	delete(ls.open, uuid)
	l.timer.Stop()
	return l
}

// drop closes a volume's line if it has one.
func (ls *lines) drop(uuid state.UUID) {
	if l := ls.take(uuid); l != nil {
		l.close()
	}
}

// expire closes a line that nobody has used.
func (ls *lines) expire(l *line) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.open[l.q.UUID] == l {
		delete(ls.open, l.q.UUID)
		l.cancel(errLineUnused)
	}
}

// finish closes all lines that are not in use, and has none opened any more.
func (ls *lines) finish() {
	ls.mu.Lock()
	ls.ended = true
	for uuid, l := range ls.open {
		delete(ls.open, uuid)
		l.timer.Stop()
		l.cancel(errStopping)
	}
	ls.mu.Unlock()
	ls.running.Wait()
}

// run opens the line and hears what the target says, until it is closed.
func (l *line) run(ctx context.Context, a *Agent) {
	defer close(l.gone)
	conn, _, err := a.offer(ctx, l.addr, l.q)
	if err != nil || conn == nil {
		a.log.Debug("no line to the target", "volume", l.q.Volume, "addr", l.addr, "err", err)
		close(l.ready)
		return
	}
	defer conn.Close() // the reply has been read
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	l.conn = conn
	close(l.ready)
	l.answer <- readReply(conn, l.pulsed)
}

// close closes the line and waits for the end of it.
func (l *line) close() {
	l.cancel(errLineUnused)
	<-l.gone
}

func (l *line) pulsed(p stream.Pulse) {
	l.mu.Lock()
	hear := l.hear
	l.mu.Unlock()
	if hear != nil {
		hear(p)
	}
}

// use waits until the line is open and returns its connection, nil if there is none.
func (l *line) use(ctx context.Context, hear func(stream.Pulse)) *outConn {
	select {
	case <-l.ready:
	case <-ctx.Done():
		return nil
	}
	select {
	case <-l.gone:
		return nil
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hear = hear
	return l.conn
}

// fits reports whether a stream is one that the line was opened for.
func (l *line) fits(s state.Step, q receiveRequest) bool {
	return s.Kind == state.LastIncrement && l.to == s.Peer && l.addr == s.PeerAddress && l.q.Base == q.Base && l.q.Epoch == q.Epoch &&
		q.Child == "" && q.Token == "" && q.Discard == "" && l.q.SendFlags == q.SendFlags
}

// overLine sends an increment over the line that its fence has opened. It reports false if that did not succeed, for whatever
// reason: then the stream has a connection of its own, and errors that are not the line's come again there.
func (p *part) overLine(ctx context.Context, out zfs.SendRequest, q receiveRequest) (*state.Copy, bool) {
	l := p.a.lines.take(p.s.UUID)
	if l == nil {
		return nil, false
	}
	defer l.close()
	if !l.fits(p.s, q) {
		return nil, false
	}
	reply, err := p.pumpLine(ctx, out, q, l)
	if err != nil {
		p.a.log.Info("not by the line", "volume", p.s.Volume, "to", p.s.Peer, "err", err)
	}
	return reply, err == nil
}

func (p *part) pumpLine(ctx context.Context, out zfs.SendRequest, q receiveRequest, l *line) (*state.Copy, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { l.cancel(context.Cause(ctx)) })()
	sending, err := p.z.Send(ctx, out)
	if err != nil {
		return nil, err
	}
	defer sending.Close() // its outcome was asked for where it matters
	conn := l.use(ctx, p.account.told)
	if conn == nil {
		return nil, errLineGone
	}
	w, err := p.outflow(ctx, conn)
	if err != nil {
		return nil, err
	}
	if err := announce(w, q.To); err != nil {
		return nil, err
	}
	return p.carry(ctx, cancel, w, sending, l.answer)
}

// announce says which snapshot comes on a line: its guid, before the stream.
func announce(w io.Writer, to state.GUID) error {
	_, err := w.Write(binary.BigEndian.AppendUint64(nil, uint64(to)))
	return err
}
