package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// The effects of the handover table: each asks its row in handover.go and does what that says.

// fence stops writes. Its order: nobody uses it, the intent log is replayed, what is in memory is on disk, then the one
// `zfs set`, then the last snapshot.
func (v *visit) fence(ctx context.Context) error {
	if v.s.Snapshot == "" {
		return errorf(CodeBadRequest, "the step names no snapshot")
	}
	f := facts{node: v.a.id}
	if err := v.use(ctx, &f); err != nil {
		return err
	}
	if v.c != nil && v.c.Role == state.Primary {
		if err := v.prepare(ctx); err != nil {
			return err
		}
	}
	ch, refused := fence(v.c, v.s, f)
	if refused != nil {
		return refused
	}
	v.openLine(ctx)
	err := v.stop(ctx, ch)
	if err != nil {
		v.a.lines.drop(v.s.UUID)
	}
	return err
}

// stop makes a row's change, if there is one to make, and takes the last snapshot.
func (v *visit) stop(ctx context.Context, ch *change) error {
	if ch != nil {
		if err := v.stopWrites(ctx, ch); err != nil {
			return err
		}
	}
	return v.lastSnapshot(ctx)
}

func (v *visit) stopWrites(ctx context.Context, ch *change) error {
	if !mounted(v.c) {
		// After a power cut fsynced writes are in the intent log only, and only a mount replays it.
		if err := v.a.mountTree(ctx, v.z, v.c, "ro"); err != nil {
			return fmt.Errorf("replay the intent log: %w", err)
		}
	}
	if err := flushTree(v.c); err != nil {
		return err
	}
	return v.apply(ctx, ch)
}

// lastSnapshot takes the snapshot after which nothing can have been written, unless it is there already from an attempt
// that was cut short. Whoever began to use the volume meanwhile may have pages in memory that are not in it.
func (v *visit) lastSnapshot(ctx context.Context) error {
	var f facts
	if err := v.use(ctx, &f); err != nil {
		return err
	}
	if err := unused(v.c, f); err != nil {
		return err
	}
	var g errgroup.Group // without a context of its own: each is let to its end
	g.Go(func() error { return v.takeLast(ctx) })
	c := *v.c
	g.Go(func() error {
		if err := v.a.unmountTree(ctx, v.z, &c); err != nil {
			v.note("%s stays mounted at %s, read-only: %v", v.c.Dataset, v.c.Mountpoint, err) // tidiness only
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	v.c.Mounted = c.Mounted
	if err := v.again(ctx); err != nil {
		return err
	}
	if refused := inherits(v.c); refused != nil {
		return refused
	}
	v.a.fences.Store(v.s.UUID, fenced{copy: v.c, turn: v.t, at: time.Now()})
	return nil
}

// again brings the copy up to its last snapshot. Its properties are those that this fence has set; what is below it is read anew, because
// a dataset may have appeared there.
func (v *visit) again(ctx context.Context) error {
	if len(v.c.Children) == 0 {
		alone, err := v.z.Again(ctx, v.c)
		if err != nil || alone {
			return err
		}
	}
	return v.reread(ctx)
}

// fenced is a copy as its fence has left it.
type fenced struct {
	copy *state.Copy
	turn uint64 // of the volume's lock
	at   time.Time
}

// justFenced returns the copy of a volume if its fence was the last who had its lock before a turn, and has only just let go of it.
func (a *Agent) justFenced(s state.Step, turn uint64) *state.Copy {
	noted, ok := a.fences.LoadAndDelete(s.UUID)
	if !ok || s.Kind != state.LastIncrement {
		return nil
	}
	f := noted.(fenced)
	if f.turn+1 != turn || time.Since(f.at) >= freshlySettled {
		return nil
	}
	return f.copy
}

func (v *visit) takeLast(ctx context.Context) error {
	if named(v.c, v.s.Snapshot) != nil {
		return nil
	}
	err := v.z.SnapshotTree(ctx, v.s.Snapshot, v.c.Dataset)
	if errors.Is(err, zfs.ErrExists) {
		return nil
	}
	return err
}

func (v *visit) release(ctx context.Context) error {
	f := facts{node: v.a.id}
	if follows(v.s) {
		var err error
		if f.lead, _, err = v.lead(ctx); err != nil {
			return err
		}
	}
	return v.row(ctx)(release(v.c, v.s, f))
}

// row applies what a row says.
func (v *visit) row(ctx context.Context) func(*change, *Error) error {
	return func(ch *change, refused *Error) error {
		if refused != nil {
			return refused
		}
		if ch == nil {
			return nil
		}
		return v.apply(ctx, ch)
	}
}

// promote is the commit point of a move. The hold on the last snapshot keeps it as the base of the way back.
func (v *visit) promote(ctx context.Context) error {
	f, err := v.facts(ctx)
	if err != nil {
		return err
	}
	ch, err := v.letGo(ctx, func(c *state.Copy) (*change, *Error) { return promote(c, v.s, f) })
	if err != nil {
		return err
	}
	if ch != nil {
		if err := v.apply(ctx, ch); err != nil {
			return err
		}
	}
	base := v.c.Find(v.s.Release.GUID)
	common := slices.Concat([]string{v.c.Dataset + "@" + base.Name}, newestBelow(v.c)) // before the mount changes the copy
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return v.up(gctx) })
	var held error
	if ch != nil {
		held = v.z.Hold(ctx, zfs.Tag, common...)
	}
	if err := g.Wait(); err != nil || ch == nil {
		return err
	}
	if held != nil {
		v.note("the base of the way back is not held: %v", held)
		return nil
	}
	base.Held = true
	for i := range v.c.Children {
		v.c.Children[i].Newest().Held = true // the row has seen that it has one
	}
	return nil
}

// letGo asks a row that wants the dataset unmounted. If that is all that is missing it is unmounted here: readonly copies
// may have been mounted by hand to look at them.
func (v *visit) letGo(ctx context.Context, row func(*state.Copy) (*change, *Error)) (*change, error) {
	if v.c == nil {
		ch, refused := row(v.c)
		return ch, asErr(refused)
	}
	ch, refused := row(unmountedAll(v.c))
	if refused != nil || ch == nil {
		return ch, asErr(refused)
	}
	return ch, v.a.unmountTree(ctx, v.z, v.c)
}

// asErr keeps a nil *Error from becoming a non-nil error.
func asErr(e *Error) error {
	if e == nil {
		return nil
	}
	return e
}

// up mounts a primary with its children.
func (v *visit) up(ctx context.Context) error {
	if mounted(v.c) {
		return nil
	}
	if err := v.a.mountTree(ctx, v.z, v.c); err != nil {
		return fmt.Errorf("it is %s at %s now, but not mounted: %w", v.c.Role, v.c.Epoch, err)
	}
	return nil
}

func (v *visit) retire(ctx context.Context) error { return v.row(ctx)(retire(v.c, v.s)) }

// swearOff records on the root dataset, so that it holds without a copy too.
func (v *visit) swearOff(ctx context.Context) error {
	root, err := v.a.readRoot(ctx)
	if err != nil {
		return err
	}
	f := facts{node: v.a.id, refused: root.refused[v.s.UUID], taken: root.taken[v.s.UUID]}
	e, refused := swearOff(v.c, v.s, f)
	if refused != nil {
		return refused
	}
	if !e.IsZero() {
		if err := v.z.Set(ctx, v.a.o.Root, map[string]string{zfs.PropRefused + string(v.s.UUID): e.String()}); err != nil {
			return err
		}
	}
	v.r.Refused = &state.Refusal{Node: v.a.id, Epoch: v.s.Epoch} // true of exactly this epoch
	return nil
}

func (v *visit) goBack(ctx context.Context) error {
	f := facts{node: v.a.id}
	if follows(v.s) {
		var err error
		if f.lead, f.leadBack, err = v.lead(ctx); err != nil {
			return err
		}
	}
	ch, refused := goBack(v.c, v.s, f)
	if refused != nil {
		return refused
	}
	if ch != nil {
		// What a fence mounted to replay the intent log is mounted read-only.
		if err := v.a.unmountTree(ctx, v.z, v.c); err != nil {
			v.note("%s stays mounted at %s, in use: %v", v.c.Dataset, v.c.Mountpoint, err)
		}
		if err := v.apply(ctx, ch); err != nil {
			return err
		}
	}
	return v.up(ctx)
}

func parseBack(text string) (*state.Release, error) {
	if text == "" {
		return nil, nil
	}
	to, epoch, ok := strings.Cut(text, "/")
	e, err := state.ParseEpoch(epoch)
	if !ok || err != nil {
		return nil, fmt.Errorf("property %s=%q: want NODE/EPOCH", propBack, text)
	}
	return &state.Release{To: state.NodeID(to), Epoch: e}, nil
}

func (v *visit) rejoin(ctx context.Context) error {
	if v.s.Expect.Role == state.Retired && already(v.c, v.s, state.Standby, v.s.Expect.Epoch) {
		return nil
	}
	if err := expected(v.c, v.s, state.Retired); err != nil {
		return err // before anybody is asked
	}
	peer, err := v.peer(ctx)
	if err != nil {
		return err
	}
	ch, refused := rejoin(v.c, v.s, peer)
	if refused != nil || ch == nil {
		return asErr(refused)
	}
	if err := v.liftLimits(ctx); err != nil {
		return err
	}
	return v.apply(ctx, ch)
}

func isNotFound(err error) bool { return errors.Is(err, ErrNotFound) }
