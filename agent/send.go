package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

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

// transfer is one stream at its source: the visit, and what is known of the target.
type transfer struct {
	visit
	o        *outgoing
	goal     state.GUID
	dst      *state.Copy // the target's copy as last seen or, at first, as the step says
	noResume bool        // the half-received stream was tried and does not take
}

func (a *Agent) transfer(ctx context.Context, s state.Step, o *outgoing) (Result, error) {
	lock, err := a.locks.take(ctx, s.UUID, "the step "+string(s.Kind))
	if err != nil {
		return Result{}, err
	}
	defer lock.release()
	t := &transfer{visit: visit{a: a, z: lock.zfs(a.zfs), s: s}, o: o}
	if t.c, err = a.find(ctx, t.z, s.UUID, s.Volume); err != nil {
		return Result{}, err
	}
	if err := t.run(ctx); err != nil {
		return Result{}, err
	}
	t.r.Copy, t.r.Peer = t.c, t.dst
	return t.r, nil
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
	if !t.c.Mounted {
		return
	}
	if err := syncFilesystem(t.c.Mountpoint); err != nil {
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
		if err := t.z.Snapshot(ctx, t.s.Snapshot, nil, t.c.Dataset); err != nil {
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
	hold := func() { held <- t.z.Hold(ctx, zfs.Tag, t.c.Dataset+"@"+t.s.Snapshot) }
	switch {
	case have.Held:
		held <- nil
	case t.last():
		go hold() // run waits for it
	default:
		hold()
	}
	return held, nil
}

// legs sends until the target has the goal. Each leg brings it one snapshot closer; a leg that the target refuses because
// it is not what was thought is planned again, on what the target then says it is.
func (t *transfer) legs(ctx context.Context) error {
	if err := t.firstLook(ctx); err != nil {
		return err
	}
	for surprises := 0; ; {
		l, refused := nextLeg(t.c, t.dst, t.goal, func(token string) (state.Snapshot, bool) { return t.resumable(ctx, token) })
		if refused != nil {
			return refused
		}
		if l.done {
			return nil
		}
		err := t.push(ctx, l)
		if err == nil {
			continue
		}
		if surprises++; surprises > 3 || !errors.Is(err, ErrUnexpected) {
			return err
		}
		t.noResume = t.noResume || l.token != ""
		if err := t.ask(ctx); err != nil {
			return err
		}
	}
}

// firstLook trusts the step's base if it names one: asking costs time in the outage, and the target refuses a wrong base.
func (t *transfer) firstLook(ctx context.Context) error {
	if t.s.Base != 0 && t.s.Token == "" && t.c.Find(t.s.Base) != nil {
		t.dst = &state.Copy{UUID: t.s.UUID, Role: state.Standby, Snapshots: []state.Snapshot{{GUID: t.s.Base}}}
		return nil
	}
	return t.ask(ctx)
}

func (t *transfer) ask(ctx context.Context) (err error) {
	t.dst, err = t.peer(ctx)
	return err
}

// resumable looks at a peer's resume token before it is used.
func (t *transfer) resumable(ctx context.Context, token string) (state.Snapshot, bool) {
	if t.noResume {
		return state.Snapshot{}, false
	}
	contents, err := t.z.TokenContents(ctx, token)
	if err != nil {
		t.a.log.Info("half-received stream cannot be resumed", "volume", t.s.Volume, "err", err)
		return state.Snapshot{}, false
	}
	return matches(contents, t.c)
}

// push sends one leg and brings dst up to what the target says afterwards.
func (t *transfer) push(ctx context.Context, l leg) error {
	q := t.head(l)
	flags := t.flags()
	out := zfs.SendRequest{Snapshot: t.c.Dataset + "@" + l.to.Name, Flags: flags}
	if l.base.GUID != 0 {
		out.Base = t.c.Dataset + "@" + l.base.Name
	}
	if l.token != "" {
		out = zfs.SendRequest{Token: l.token}
	}
	if !t.last() {
		size, err := t.z.Estimate(ctx, out)
		if err != nil {
			return fmt.Errorf("estimate %s: %w", l.to.Name, err)
		}
		q.Bytes = size
		t.o.expect(size)
	}
	began, before := time.Now(), t.o.now().Bytes
	reply, err := t.pump(ctx, out, q)
	if err != nil {
		return fmt.Errorf("send %s to node %s: %w", l.to.Name, t.s.Peer, err)
	}
	t.a.rates.measured(t.s.Peer, t.o.now().Bytes-before, time.Since(began))
	if reply.Find(l.to.GUID) == nil { // what counts, whatever anybody's exit code was
		return errorf(CodeInternal, "the stream of %s ended well, but node %s does not have the snapshot", l.to.Name, t.s.Peer)
	}
	reply.Receiving = false // it was read before the target let go of its end
	t.dst = reply
	return nil
}

func (t *transfer) head(l leg) receiveRequest {
	q := receiveRequest{Volume: t.c.Volume, UUID: t.c.UUID, Lead: t.c.Lead, From: t.a.id, Epoch: t.c.Epoch, To: l.to.GUID, Base: l.base.GUID,
		Token: l.token, Discard: l.discard, SendFlags: t.flags()[0], Reclaim: t.c.Reclaim}
	if l.base.GUID == 0 {
		q.Properties = t.s.Properties
	}
	if l.to.GUID == t.goal && !t.last() {
		q.Tidy, q.Keep = tidyPrefix(t.s.Snapshot), t.s.Base
	}
	return q
}

func (t *transfer) flags() []string {
	if t.c.Encrypted {
		return []string{rawFlags}
	}
	if t.dst != nil && t.dst.SendFlags != "" {
		return []string{t.dst.SendFlags}
	}
	return []string{sendFlags}
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

// tidy destroys this move's older snapshots at the source: the newest that both sides have, and the one before it, stay.
func (t *transfer) tidy(ctx context.Context) {
	if err := dropOlder(ctx, t.z, t.c, tidyPrefix(t.s.Snapshot), t.goal, t.s.Base); err != nil {
		t.note("older snapshots stay: %v", err)
	}
}

// dropOlder destroys c's snapshots whose names begin with prefix and that are older than newest, but not keep.
func dropOlder(ctx context.Context, z *zfs.ZFS, c *state.Copy, prefix string, newest, keep state.GUID) error {
	var names, held []string
	for _, s := range c.Snapshots {
		if s.GUID == newest {
			break
		}
		if prefix == "" || !strings.HasPrefix(s.Name, prefix) || s.GUID == keep {
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
