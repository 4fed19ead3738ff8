package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// sendFlags are the flags of a volume's streams: large blocks, compressed as on disk, embedded data. The target remembers
// those of its first stream, because later ones must not drop any.
const sendFlags = "-Lce"

// rawFlags are those of an encrypted volume: it leaves its node only as it is on disk, whether its key is loaded or not.
const rawFlags = "-w"

// send starts the stream that a step asks for, or joins it if it runs. It runs on without who asked.
func (a *Agent) send(streams, asked context.Context, s state.Step) (Result, error) {
	if s.Snapshot == "" || s.Peer == "" || s.PeerAddress == "" {
		return Result{}, errorf(CodeBadRequest, "a stream has a snapshot, a target and its address")
	}
	if s.Peer == a.id {
		return Result{}, errorf(CodeRefused, "it is this node's own copy that would be the target")
	}
	o, runs, err := a.under.begin(s)
	if err != nil {
		return Result{}, err
	}
	if !runs {
		go func() {
			r, err := a.transfer(streams, s, o)
			a.under.end(o, r, err)
		}()
	}
	return o.await(asked)
}

// transfer is one volume on its way, at its source: the visit, and what is known of the target.
type transfer struct {
	visit
	id   string // by which the target knows the streams that belong together
	o    *outgoing
	goal state.GUID

	mu  sync.Mutex
	dst *state.Copy // the target's copy: each part as last seen or, at first, as the step says
}

// part is one dataset of a transfer.
type part struct {
	*transfer
	path     string
	goal     state.GUID
	above    *part // the one that it is below
	account  *account
	noResume bool          // its half-received stream was tried and does not take
	later    error         // why its half-received stream could not be looked at now
	had      int64         // bytes of the leg that the target has of a stream that was cut
	over     chan struct{} // closed when it has arrived, or will not
	err      error         // why not; valid when over is closed
}

func (a *Agent) transfer(ctx context.Context, s state.Step, o *outgoing) (Result, error) {
	lock, err := a.locks.take(ctx, s.UUID, "the step "+string(s.Kind))
	if err != nil {
		return Result{}, err
	}
	defer lock.release()
	defer a.lines.drop(s.UUID) // one that this stream could not use
	t := &transfer{visit: visit{a: a, z: lock.zfs(a.zfs), s: s, t: lock.turn}, id: rand.Text(), o: o}
	if err := t.find(ctx); err != nil {
		return Result{}, err
	}
	if err := t.run(ctx); err != nil {
		return Result{}, err
	}
	t.r.Copy, t.r.Peer = t.c, t.dst
	return t.r, nil
}

// find reads the copy, unless its fence has done so just now.
func (t *transfer) find(ctx context.Context) (err error) {
	if t.last() {
		t.z = t.z.WithoutHolds()
	}
	if t.c = t.a.justFenced(t.s, t.t); t.c == nil {
		t.c, err = t.a.find(ctx, t.z, t.s.UUID, t.s.Volume)
	}
	return err
}

func (t *transfer) last() bool { return t.s.Kind == state.LastIncrement }

func (t *transfer) run(ctx context.Context) error {
	role := state.Primary
	if t.last() {
		role = state.Fenced
	}
	if err := expected(t.c, t.s, role); err != nil {
		return err
	}
	if !t.last() {
		if err := t.prepare(ctx); err != nil {
			return err
		}
	}
	held, err := t.snapshot(ctx)
	if err != nil {
		return err
	}
	settled := t.settle(ctx)
	err = t.legs(ctx)
	settled()
	if herr := <-held; herr != nil {
		t.note("snapshot %s is not held: %v", t.s.Snapshot, herr)
	}
	if err != nil || t.last() {
		return err
	}
	t.tidy(ctx)
	t.flush()
	return t.reread(ctx)
}

// flush writes to disk what the app has written meanwhile, so that the fence, which does it again, finds little left.
func (t *transfer) flush() {
	if err := flushTree(t.c); err != nil {
		t.note("not flushed ahead of the fence: %v", err)
	}
}

// settle syncs the pool of a fenced copy while its last increment is under way, so that the release need not. The returned
// function waits for the end of it. If it fails the release syncs, and says why it cannot.
func (t *transfer) settle(ctx context.Context) (wait func()) {
	if !t.last() {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := t.z.Sync(ctx, t.a.poolName()); err == nil {
			t.a.settled.Store(t.s.UUID, settled{t.c.Epoch, t.goal, time.Now()})
		}
	}()
	return func() { <-done }
}

// snapshot makes sure that the snapshot to send exists and is held. In a cutover it exists, and the hold does not keep the
// stream waiting.
func (t *transfer) snapshot(ctx context.Context) (<-chan error, error) {
	held := make(chan error, 1)
	have := named(t.c, t.s.Snapshot)
	if have == nil && t.last() {
		return nil, errorf(CodeUnexpected, "it has no snapshot %s", t.s.Snapshot).about(t.c)
	}
	if have == nil {
		if err := t.z.SnapshotTree(ctx, t.s.Snapshot, t.c.Dataset); err != nil {
			return nil, err
		}
		if err := t.reread(ctx); err != nil {
			return nil, err
		}
		if have = named(t.c, t.s.Snapshot); have == nil {
			return nil, errorf(CodeUnexpected, "its snapshot %s has gone meanwhile", t.s.Snapshot)
		}
	}
	t.goal = have.GUID
	unheld := t.unheld()
	hold := func() { held <- t.z.Hold(ctx, zfs.Tag, unheld...) }
	switch {
	case len(unheld) == 0:
		held <- nil
	case t.last():
		go hold() // run waits for it
	default:
		hold()
	}
	return held, nil
}

// unheld names the snapshots to send, of all parts, that are not held yet.
func (t *transfer) unheld() []string {
	var names []string
	for _, p := range t.c.Parts() {
		if s := named(p, t.s.Snapshot); s != nil && !s.Held {
			names = append(names, p.Dataset+"@"+s.Name)
		}
	}
	return names
}

// abreast is how many datasets of a volume travel side by side at most. More streams make neither a pool nor a network faster.
const abreast = 4

// legs sends until the target has the goal of each part. The parts travel side by side; one that fails does not cut the others,
// which would come again.
func (t *transfer) legs(ctx context.Context) error {
	if err := t.firstLook(ctx); err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(abreast)
	for _, p := range t.parts() {
		g.Go(func() error { return p.run(ctx) })
	}
	return g.Wait()
}

// parts returns the parts that have something to send, those above others before them.
func (t *transfer) parts() []*part {
	var all []*part
	byPath := map[string]*part{}
	for _, path := range t.c.Paths() {
		goal := goalOf(t.c.Part(path), t.s.Snapshot, t.last())
		if goal == nil {
			continue
		}
		p := &part{transfer: t, path: path, goal: goal.GUID, over: make(chan struct{})}
		if path != "" {
			p.above = byPath[parent(path)]
		}
		all, byPath[path] = append(all, p), p
	}
	return all
}

// run sends a part, and says so when that is over.
func (p *part) run(ctx context.Context) error {
	var arrived func()
	p.account, arrived = p.o.depart(p.path)
	p.account.link = p.a.rates.link(p.s.Peer)
	defer arrived()
	defer close(p.over)
	p.err = p.travel(ctx)
	return p.err
}

// travel sends a part. Each leg brings the target one snapshot closer; a leg that the target refuses because it is not what was
// thought is planned again, on what the target then says it is.
func (p *part) travel(ctx context.Context) error {
	src := p.c.Part(p.path)
	for surprises := 0; ; {
		p.had = 0
		if err := p.beneath(); err != nil {
			return err
		}
		l, refused := nextLeg(src, p.seen(), p.goal, func(token string) (state.Snapshot, bool) { return p.resumable(ctx, src, token) })
		if p.later != nil {
			return fmt.Errorf("look at the half-received stream: %w", p.later)
		}
		if refused != nil {
			return refused
		}
		if l.done {
			return nil
		}
		err := p.push(ctx, l)
		if err == nil {
			continue
		}
		if surprises++; surprises > 3 || !errors.Is(err, ErrUnexpected) {
			return err
		}
		p.noResume = p.noResume || l.token != ""
		now, err := p.peer(ctx)
		if err != nil {
			return err
		}
		p.learn(now)
	}
}

// beneath waits, if the target does not have the part at all, until what it is below has arrived: it is made there.
func (p *part) beneath() error {
	if p.above == nil || p.seen() != nil {
		return nil
	}
	<-p.above.over
	return p.above.err
}

// seen returns what is known of the part on the target; nil if it is not there.
func (p *part) seen() *state.Copy {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dst.Part(p.path)
}

// learn brings what is known of the part on the target up to what it says now.
func (p *part) learn(now *state.Copy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dst = p.dst.With(p.path, now)
}

// firstLook trusts the step's base if it names one: asking costs time in the outage, and the target refuses a wrong base. It says
// nothing about children.
func (t *transfer) firstLook(ctx context.Context) (err error) {
	if len(t.c.Children) == 0 && t.s.Base != 0 && t.s.Token == "" && t.c.Had(t.s.Base) {
		t.dst = &state.Copy{UUID: t.s.UUID, Role: state.Standby, Filesystem: state.Filesystem{Snapshots: []state.Snapshot{{GUID: t.s.Base}}}}
		return nil
	}
	t.dst, err = t.peer(ctx)
	return err
}

// resumable looks at a peer's resume token before it is used.
func (p *part) resumable(ctx context.Context, src *state.Copy, token string) (state.Snapshot, bool) {
	if p.noResume {
		return state.Snapshot{}, false
	}
	contents, err := p.z.TokenContents(ctx, token)
	if err != nil {
		p.a.log.Info("half-received stream cannot be resumed", "volume", p.s.Volume, "part", p.path, "err", err)
		if !unusable(err) {
			p.later = err
		}
		return state.Snapshot{}, false
	}
	to, ok := matches(contents, src)
	if ok {
		p.had = contents.Bytes
	}
	return to, ok
}

// push sends one leg and brings dst up to what the target says afterwards.
func (p *part) push(ctx context.Context, l leg) error {
	q, src := p.head(l), p.c.Part(p.path)
	out := zfs.SendRequest{Snapshot: src.Dataset + "@" + l.to.Name, Flags: []string{q.SendFlags}}
	switch {
	case l.base.GUID == 0:
	case src.Find(l.base.GUID) == nil:
		out.Base = src.Dataset + "#" + l.base.Name
	default:
		out.Base = src.Dataset + "@" + l.base.Name
	}
	if l.token != "" {
		out = zfs.SendRequest{Token: l.token}
	}
	if !p.last() {
		size, err := p.z.Estimate(ctx, out)
		if err != nil {
			return fmt.Errorf("estimate %s: %w", l.to.Name, err)
		}
		q.Bytes = size
		p.account.expect(size)
	}
	began, before, alone := time.Now(), p.account.link.Load(), p.account.now().Bytes
	p.account.resumes(p.had)
	reply, err := p.pump(ctx, out, q)
	if err != nil {
		return fmt.Errorf("send %s to node %s: %w", l.to.Name, p.s.Peer, err)
	}
	p.account.arrived()
	if p.account.now().Bytes-alone >= enoughToMeasure {
		p.a.rates.measured(p.s.Peer, p.account.link.Load()-before, time.Since(began))
	}
	if got := reply.Part(p.path); got == nil || got.Find(l.to.GUID) == nil { // what counts, whatever anybody's exit code was
		return errorf(CodeInternal, "the stream of %s ended well, but node %s does not have the snapshot", l.to.Name, p.s.Peer)
	}
	reply.Receiving = false // it was read before the target let go of its end
	p.learn(reply)
	return nil
}

func (p *part) head(l leg) receiveRequest {
	q := receiveRequest{Volume: p.c.Volume, UUID: p.c.UUID, Lead: p.c.Lead, From: p.a.id, Transfer: p.id, Epoch: p.c.Epoch, Child: p.path, To: l.to.GUID, Base: l.base.GUID,
		Token: l.token, Discard: l.discard, SendFlags: p.flags(), Reclaim: p.c.Reclaim}
	if l.base.GUID == 0 {
		q.Settled = settledOf(p.c, p.path)
		if p.path == "" {
			q.Properties = p.s.Properties
		}
	}
	if l.to.GUID == p.goal && !p.last() {
		q.Tidy, q.Keep, q.Settled = p.older(), p.keep(p.path), settledOf(p.c, p.path)
	}
	return q
}

// flags returns how a part is sent: as the target remembers of its first stream, raw if it is encrypted.
func (p *part) flags() string {
	src, dst := p.c.Part(p.path), p.seen()
	if src.Encrypted || dst == nil || dst.SendFlags == "" {
		return flagsOf(src)
	}
	return dst.SendFlags
}

// flagsOf returns how a part is sent if its target remembers nothing else.
func flagsOf(part *state.Copy) string {
	if part.Encrypted {
		return rawFlags
	}
	return sendFlags
}

// older returns how the names of the snapshots begin that go once a newer one is on both sides: those of this move, or, if the step
// says which ones are needed yet, of all moves.
func (t *transfer) older() string {
	if t.s.Sweep {
		return "drover-"
	}
	return tidyPrefix(t.s.Snapshot)
}

// keep names the older snapshots of a part that stay all the same: the one before, and what the step says.
func (t *transfer) keep(path string) []state.GUID {
	keep := slices.Clone(t.s.Keep)
	base := t.c.Find(t.s.Base)
	if base == nil {
		return keep
	}
	if s := named(t.c.Part(path), base.Name); s != nil {
		keep = append(keep, s.GUID)
	}
	return keep
}

// tidyPrefix returns how the names of a move's snapshots begin, for "drover-0.2-3" it is "drover-0.2-". Snapshots of other
// moves stay: the way back from an old copy begins at one of them.
func tidyPrefix(snapshot string) string {
	at := strings.LastIndexByte(snapshot, '-')
	if !strings.HasPrefix(snapshot, "drover-") || at < len("drover-") {
		return ""
	}
	return snapshot[:at+1]
}

// tidy destroys older snapshots at the source: the newest that both sides have, and the one before it, stay.
func (t *transfer) tidy(ctx context.Context) {
	for _, path := range t.c.Paths() {
		part := t.c.Part(path)
		goal := named(part, t.s.Snapshot)
		if goal == nil {
			continue
		}
		if err := dropOlder(ctx, t.z, part, t.older(), goal.GUID, t.keep(path)); err != nil {
			t.note("older snapshots of %s stay: %v", part.Dataset, err)
		}
		if err := t.mark(ctx, part, goal); err != nil {
			t.note("of %s@%s there is no bookmark, or older ones stay: %v", part.Dataset, goal.Name, err)
		}
	}
}

// mark makes a bookmark of the snapshot that both sides have, and destroys older ones that nothing rests on, if that is known.
func (t *transfer) mark(ctx context.Context, part *state.Copy, common *state.Snapshot) error {
	if err := mark(ctx, t.z, part, common); err != nil || !t.s.Sweep {
		return err
	}
	for _, old := range part.Bookmarks {
		if !ourBookmark.MatchString(old.Name) || old.Txg >= common.Txg || slices.Contains(t.s.Keep, old.GUID) {
			continue
		}
		if err := t.z.Destroy(ctx, part.Dataset+"#"+old.Name); err != nil {
			return err
		}
	}
	return nil
}

// dropOlder destroys c's snapshots whose names begin with prefix and that are older than newest, but those in keep.
func dropOlder(ctx context.Context, z *zfs.ZFS, c *state.Copy, prefix string, newest state.GUID, keep []state.GUID) error {
	var names, held []string
	for _, s := range c.Snapshots {
		if s.GUID == newest {
			break
		}
		if prefix == "" || !strings.HasPrefix(s.Name, prefix) || !ourSnapshot.MatchString(s.Name) || slices.Contains(keep, s.GUID) {
			continue
		}
		names = append(names, s.Name)
		if s.Held {
			held = append(held, c.Dataset+"@"+s.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	if len(held) > 0 {
		if err := z.ReleaseHold(ctx, zfs.Tag, held...); err != nil {
			return err
		}
	}
	return z.DestroySnapshots(ctx, c.Dataset, names...)
}
