package agent

import (
	"context"
	"fmt"
	"strings"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// deleteOld destroys an old copy: the only thing in this package that destroys data. It asks the primary itself, now, and
// proves that nobody uses the copy before `destroy -r`, which removes every snapshot before it notices that a mount is busy.
func (v *visit) deleteOld(ctx context.Context) error {
	if v.c == nil {
		v.r.Gone = true
		return nil
	}
	if err := v.provenOld(ctx); err != nil {
		return err
	}
	if err := v.onlyOurHolds(ctx); err != nil {
		return err
	}
	if err := v.noClones(ctx); err != nil {
		return err
	}
	if err := v.a.remember(ctx, v.z, v.c); err != nil {
		return err
	}
	if err := v.toTrash(ctx); err != nil {
		return err
	}
	return v.destroyTrash(ctx)
}

func (v *visit) provenOld(ctx context.Context) error {
	if err := expected(v.c, v.s, state.Retired); err != nil {
		return err // before anybody is asked
	}
	peer, err := v.peer(ctx)
	if err != nil {
		return fmt.Errorf("ask the primary: %w", err)
	}
	f := facts{node: v.a.id}
	if err := v.use(ctx, &f); err != nil {
		return err
	}
	return asErr(deletable(v.c, v.s, f, peer))
}

// onlyOurHolds refuses if somebody else holds a snapshot of it: they want it kept.
func (v *visit) onlyOurHolds(ctx context.Context) error {
	holds, err := v.z.Holds(ctx, v.snapshots()...)
	if err != nil {
		return err
	}
	for snapshot, tags := range holds {
		for _, tag := range tags {
			if tag != zfs.Tag && !strings.HasPrefix(tag, zfs.Tag+":") {
				return errorf(CodeRefused, "somebody holds %s with the tag %q: release it, then it can be deleted", snapshot, tag).about(v.c)
			}
		}
	}
	return nil
}

// noClones refuses if somebody works with a clone of one of its snapshots.
func (v *visit) noClones(ctx context.Context) error {
	clones, err := v.z.Clones(ctx, v.c.Dataset)
	if err != nil {
		return err
	}
	for snapshot, names := range clones {
		return errorf(CodeRefused, "%s is a clone of %s: promote or destroy the clone, then it can be deleted", names[0], snapshot).about(v.c)
	}
	return nil
}

// snapshots returns the full names of the copy's snapshots and its children's.
func (v *visit) snapshots() []string {
	var names []string
	for _, p := range v.c.Parts() {
		for _, s := range p.Snapshots {
			names = append(names, p.Dataset+"@"+s.Name)
		}
	}
	return names
}

// held returns those of the snapshots that Drover holds.
func (v *visit) held() []string {
	var names []string
	for _, p := range v.c.Parts() {
		for _, s := range p.Snapshots {
			if s.Held {
				names = append(names, p.Dataset+"@"+s.Name)
			}
		}
	}
	return names
}

// toTrash unmounts the copy and renames it, which can be undone. A copy that a crash left there already stays.
func (v *visit) toTrash(ctx context.Context) error {
	if err := v.a.unmountTree(ctx, v.z, v.c); err != nil {
		return err
	}
	suffix := ".trash-" + v.c.Epoch.String()
	if strings.HasSuffix(v.c.Dataset, suffix) {
		return nil
	}
	if err := v.z.Rename(ctx, v.c.Dataset, v.c.Dataset+suffix); err != nil {
		return err
	}
	v.c.Dataset += suffix
	v.a.places.Store(v.s.UUID, v.c.Dataset)
	return nil
}

// destroyTrash looks once more, then lets go of the holds, of which one would make destroy fail before it did anything.
func (v *visit) destroyTrash(ctx context.Context) error {
	var f facts
	if err := v.use(ctx, &f); err != nil {
		return err
	}
	if err := unused(v.c, f); err != nil {
		return err
	}
	if err := unmounted(v.c, f); err != nil {
		return err
	}
	if held := v.held(); len(held) > 0 {
		if err := v.z.ReleaseHold(ctx, zfs.Tag, held...); err != nil {
			return err
		}
	}
	if err := v.z.DestroyTree(ctx, v.c.Dataset); err != nil {
		return err
	}
	v.a.places.Delete(v.s.UUID)
	v.r.Gone = true
	return nil
}
