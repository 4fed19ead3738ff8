package agent

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/drover-project/drover/agent/usage"
	"github.com/drover-project/drover/state"
)

// ahead is what a visit has found out under its lock while the copy was still being read. It is used once: a second question
// is asked anew.
type ahead struct {
	target usage.Target
	seen   *usage.Report // who uses target
	root   *rootFacts
}

// read reads the copy and, beside it, what else the deed rests on.
func (v *visit) read(ctx context.Context, d deed) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return v.readCopy(ctx, d.synced) })
	for _, f := range d.beside {
		g.Go(func() error { return f(v, ctx) })
	}
	return g.Wait()
}

func (v *visit) readCopy(ctx context.Context, synced bool) (err error) {
	if synced && !v.settled() {
		if err := v.z.Sync(ctx, v.a.poolName()); err != nil {
			return err
		}
	}
	v.c, err = v.a.find(ctx, v.z, v.s.UUID, v.s.Volume)
	return err
}

// settled is when the pool was synced after a volume had been fenced at an epoch with this last snapshot. Nothing is written to
// it from then on: what Written says stays true.
type settled struct {
	epoch state.Epoch
	guid  state.GUID
	at    time.Time
}

// freshlySettled bounds how long ago that may have been: a person may lift readonly by hand.
const freshlySettled = 10 * time.Second

// settled reports whether the last increment of the fence that the step releases has had the pool synced just now.
func (v *visit) settled() bool {
	noted, ok := v.a.settled.LoadAndDelete(v.s.UUID)
	if !ok || v.s.Kind != state.ReleaseVolume || v.s.Release == nil {
		return false
	}
	s := noted.(settled)
	return s.epoch == v.s.Expect.Epoch && s.guid == v.s.Release.GUID && time.Since(s.at) < freshlySettled
}

// lookAhead looks who uses the copy, where it should be if it is what the step expects.
func (v *visit) lookAhead(ctx context.Context) error {
	t := usage.Target{Dataset: v.a.home(v.s.Volume), Resting: v.s.Expect.Role == state.Standby}
	if v.s.Expect.Role == state.Primary {
		t.Path = v.a.mountpoint(v.s.Volume)
	}
	seen, err := usage.Find(ctx, t)
	if err != nil {
		return fmt.Errorf("look for users: %w", err)
	}
	v.ahead.target, v.ahead.seen = t, &seen
	return nil
}

// use finds out who uses the copy and where it is mounted.
func (v *visit) use(ctx context.Context, f *facts) error {
	if v.c == nil {
		return nil
	}
	seen, err := v.users(ctx)
	if err != nil {
		return err
	}
	f.users, f.mounts = seen.Found[0].Users, seen.Found[0].Mounts
	v.r.Notes = append(v.r.Notes, seen.Notes()...)
	return nil
}

func (v *visit) users(ctx context.Context) (usage.Report, error) {
	seen := v.ahead.seen
	v.ahead.seen = nil
	if seen != nil && v.ahead.target.Equal(target(v.c)) {
		return *seen, nil
	}
	return v.a.look(ctx, []state.Copy{*v.c})
}

func (v *visit) rootAhead(ctx context.Context) error {
	root, err := v.a.readRoot(ctx)
	v.ahead.root = &root
	return err
}

func (v *visit) root(ctx context.Context) (rootFacts, error) {
	if root := v.ahead.root; root != nil {
		v.ahead.root = nil
		return *root, nil
	}
	return v.a.readRoot(ctx)
}
