package agent

import (
	"context"
	"errors"
	"slices"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// A bookmark of the common snapshot stays at the source. It takes no space, and is the base of the next increment should somebody
// destroy the snapshot: at the target, where nobody has reason to, the snapshot itself must be there.

// mark makes a bookmark of a snapshot of one dataset, unless there is one. Its name is the snapshot's guid: another snapshot may come to
// have the same name.
func mark(ctx context.Context, z *zfs.ZFS, part *state.Copy, s *state.Snapshot) error {
	if part.Marked(s.GUID) {
		return nil
	}
	err := z.Bookmark(ctx, part.Dataset+"@"+s.Name, part.Dataset+"#drover-"+s.GUID.String())
	if errors.Is(err, zfs.ErrExists) {
		return nil
	}
	return err
}

// keepBase makes bookmarks of the snapshots of a primary that the step names, with those of the datasets below it.
func (v *visit) keepBase(ctx context.Context) error {
	if err := expected(v.c, v.s, state.Primary); err != nil {
		return err
	}
	for _, part := range v.c.Parts() {
		for i := range part.Snapshots {
			if s := &part.Snapshots[i]; slices.Contains(v.s.Keep, s.GUID) {
				if err := mark(ctx, v.z, part, s); err != nil {
					return err
				}
			}
		}
	}
	return v.reread(ctx)
}
