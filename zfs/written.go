package zfs

import (
	"context"
	"fmt"
	"sync"

	"github.com/drover-project/drover/state"
)

// When a pool is imported, be it at boot, OpenZFS notes in the head of every file system that has ever had an intent log that the
// log is claimed. Then `written` is not 0 though nobody has written: 1024 bytes on 2.1.11 and 2.3.2 with sectors of 512 bytes. OpenZFS
// itself does not count that as modified when it receives; a copy that was at rest while its node restarted must not look as if it
// held data of its own either.

// maxLogHead bounds what a claimed log adds to `written`: one small block, some copies of it, in sectors of at most 16 KiB.
const maxLogHead = 64 << 10

// emptyStream is the length of an increment that carries nothing: a begin and an end record.
const emptyStream = 2 * 312

// proofs are the copies that were found to hold nothing but a claimed log, each as it was then. It is shared by all that were made of
// one ZFS, and only observation relies on it.
type proofs struct{ known sync.Map }

// discount sets a resting copy's Written to 0, and that of what is below it, where an increment of its head carries nothing. What
// cannot be proven stays as it is.
func (z *ZFS) discount(ctx context.Context, c *state.Copy, remembered bool) {
	if c.Role == state.Primary || c.Encrypted {
		return
	}
	c.Written = z.written(ctx, c.Dataset, &c.Filesystem, remembered)
	for i := range c.Children {
		d := &c.Children[i]
		d.Written = z.written(ctx, c.Dataset+"/"+d.Path, &d.Filesystem, remembered)
	}
}

// written returns how much of what zfs calls written to a dataset really was, in bytes.
func (z *ZFS) written(ctx context.Context, dataset string, f *state.Filesystem, remembered bool) int64 {
	written, newest := f.Written, f.Newest()
	if !f.Readonly || f.Mounted || written == 0 || written > maxLogHead || newest == nil {
		return written
	}
	key := fmt.Sprintf("%s@%d+%d", dataset, newest.GUID, written)
	if _, known := z.proofs.known.Load(key); known && remembered {
		return 0
	}
	out, err := z.run(ctx, "zfs", "send", "-i", "@"+newest.Name, dataset)
	if err != nil || len(out) != emptyStream {
		z.log.Debug("more than the newest snapshot", "dataset", dataset, "written", written, "bytes", len(out), "err", err)
		return written
	}
	z.proofs.known.Store(key, true)
	return 0
}
