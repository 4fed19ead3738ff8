package zfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/drover-project/drover/state"
)

// Copies returns every copy on the pool of root, by name: the file systems with a local drover:volume, with all that is below
// each. It takes four commands however many there are (as long as their names fit on a command line): which there are, their
// properties, their snapshots, the holds of those that have any. The four are not one moment; a copy that a step depends on is read again by
// [ZFS.Copy], under its lock.
//
// A copy whose drover: properties cannot be read has no Role, and the returned error is ErrBadProperty and says why for
// each; the list is whole nevertheless. With any other error there is no list. Users are not filled in, nor Receiving:
// OpenZFS shows a resume token both while a receive runs and after it broke. Release.From is left empty.
func (z *ZFS) Copies(ctx context.Context, root string) ([]state.Copy, error) {
	if err := checkDataset(root); err != nil {
		return nil, fmt.Errorf("copies: %w", err)
	}
	copies, err := z.copies(ctx, root)
	// Between two of the commands a copy may have been renamed or destroyed. Dropping it would make it look gone.
	for range 2 {
		if !errors.Is(err, ErrNotFound) {
			break
		}
		copies, err = z.copies(ctx, root)
	}
	for i := range copies {
		z.discount(ctx, &copies[i], true)
	}
	return copies, err
}

func (z *ZFS) copies(ctx context.Context, root string) ([]state.Copy, error) {
	out, err := z.run(ctx, "zfs", "get", "-Hp", "-s", "local", "-r", "-t", "filesystem", "-o", "name,value",
		PropVolume, poolOf(root))
	if err != nil {
		return nil, err
	}
	table, err := rows(out, 2)
	if err != nil {
		return nil, fmt.Errorf("zfs get %s: %w", PropVolume, err)
	}
	names := make([]string, len(table))
	for i, r := range table {
		names[i] = r[0]
	}
	slices.Sort(names)
	copies, err := z.describe(ctx, names)
	// One that lost its property between the commands is not a copy any more.
	return slices.DeleteFunc(copies, func(c state.Copy) bool { return c.Volume == "" }), err
}

// Copy returns one copy, read afresh. Errors: ErrNotFound; ErrNotCopy if the dataset has no local drover:volume;
// ErrBadProperty with a copy without Role, as in [ZFS.Copies].
func (z *ZFS) Copy(ctx context.Context, dataset string) (state.Copy, error) {
	if err := checkDataset(dataset); err != nil {
		return state.Copy{}, fmt.Errorf("copy: %w", err)
	}
	copies, err := z.describe(ctx, []string{dataset})
	if len(copies) != 1 {
		return state.Copy{}, err
	}
	if copies[0].Volume == "" {
		return state.Copy{}, fmt.Errorf("%s: %w", dataset, ErrNotCopy)
	}
	z.discount(ctx, &copies[0], false)
	return copies[0], err
}

// Children returns what is below any dataset, a copy or not. Errors: ErrNotFound.
func (z *ZFS) Children(ctx context.Context, dataset string) ([]state.Child, error) {
	if err := checkDataset(dataset); err != nil {
		return nil, fmt.Errorf("children: %w", err)
	}
	found, err := z.describe(ctx, []string{dataset})
	if len(found) != 1 {
		return nil, err
	}
	return found[0].Children, nil // whether the dataset is a copy, and a good one, was not the question
}

// Again brings a copy without datasets below it up to the snapshots that it has by now and what was written since, with one command. It
// reports false, and leaves the copy alone, if there is something below it by now. Errors: ErrNotFound.
func (z *ZFS) Again(ctx context.Context, c *state.Copy) (bool, error) {
	if err := checkDataset(c.Dataset); err != nil {
		return false, fmt.Errorf("copy: %w", err)
	}
	out, err := z.run(ctx, "zfs", "list", "-Hp", "-r", "-t", "filesystem,volume,snapshot", "-o", snapshotColumns, c.Dataset)
	if err != nil {
		return false, err
	}
	own, rest, _ := strings.Cut(string(out), "\n") // zfs lists a dataset before its snapshots
	f := strings.Split(own, "\t")
	if len(f) != 6 || f[0] != c.Dataset {
		return false, fmt.Errorf("zfs list: first line %q: want %s: %w", clip(own), c.Dataset, ErrOutput)
	}
	written, err := number(f[4])
	if err != nil {
		return false, fmt.Errorf("written of %s: %w", c.Dataset, err)
	}
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, c.Dataset+"@") {
			return false, nil
		}
	}
	snaps := newListing()
	if err := snaps.parse([]byte(rest)); err != nil {
		return false, fmt.Errorf("zfs list: %w", err)
	}
	z.renew(ctx, c, snaps.snapshots[c.Dataset], written)
	return true, nil
}

// renew keeps what is known of holds.
func (z *ZFS) renew(ctx context.Context, c *state.Copy, snaps []state.Snapshot, written int64) {
	for i := range snaps {
		before := c.Find(snaps[i].GUID)
		snaps[i].Held = before != nil && before.Held
	}
	slices.SortStableFunc(snaps, func(a, b state.Snapshot) int { return cmp.Compare(a.Txg, b.Txg) })
	c.Snapshots, c.Written = snaps, written
	z.discount(ctx, c, false)
}

// describe reads properties, snapshots and holds of the named datasets and of all that is below them. Properties and snapshots are read
// side by side: an app may be down meanwhile.
func (z *ZFS) describe(ctx context.Context, names []string) ([]state.Copy, error) {
	var props map[string]map[string]value
	var snaps *listing
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { props, err = z.properties(gctx, outermost(names)); return err })
	g.Go(func() (err error) { snaps, err = z.snapshots(gctx, outermost(names)); return err })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var bad []error
	all := slices.Sorted(maps.Keys(props))
	copies := make([]state.Copy, 0, len(names))
	for _, name := range names {
		c, err := newCopy(name, props[name])
		if errors.Is(err, ErrOutput) {
			return nil, err
		}
		bad = append(bad, err)
		c.Snapshots, c.Bookmarks = snaps.snapshots[name], snaps.bookmarks[name]
		for _, below := range under(name, all) {
			d, err := newChild(name, below, props[below])
			if err != nil {
				return nil, err
			}
			d.Snapshots, d.Bookmarks = snaps.snapshots[below], snaps.bookmarks[below]
			c.Children = append(c.Children, d)
		}
		copies = append(copies, c)
	}
	return copies, errors.Join(bad...)
}

// outermost returns the names that are not below another one: a recursive listing prints each dataset once.
func outermost(names []string) []string {
	listed := make(map[string]bool, len(names))
	for _, n := range names {
		listed[n] = true
	}
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		for at := strings.LastIndexByte(n, '/'); at > 0; at = strings.LastIndexByte(n[:at], '/') {
			if listed[n[:at]] {
				return true
			}
		}
		return false
	})
}

// under returns those of the sorted names that are below a dataset.
func under(dataset string, sorted []string) []string {
	from, _ := slices.BinarySearch(sorted, dataset+"/")
	to := from
	for to < len(sorted) && strings.HasPrefix(sorted[to], dataset+"/") {
		to++
	}
	return sorted[from:to]
}

// value is one property of one dataset.
type value struct {
	text  string
	local bool
}

// columns are the properties that describe reads of each copy.
var columns = strings.Join(slices.Concat([]string{
	PropVolume, PropUUID, PropRole, PropEpoch, PropReleased, PropLead, PropSendFlags, PropGraceServed, PropReclaim, PropLimits,
	"type", "mounted", "used", "referenced", "written", "encryption", "keystatus", "origin", "receive_resume_token",
}, native), ",")

func (z *ZFS) properties(ctx context.Context, names []string) (map[string]map[string]value, error) {
	all := make(map[string]map[string]value, len(names))
	for _, batch := range batches(names, maxArgs) {
		out, err := z.run(ctx, slices.Concat(
			[]string{"zfs", "get", "-Hp", "-r", "-t", "filesystem,volume", "-o", "name,property,value,source", columns}, batch)...)
		if err != nil {
			return nil, err
		}
		if err := parseValues(out, all); err != nil {
			return nil, fmt.Errorf("zfs get: %w", err)
		}
	}
	return all, nil
}

// parseValues adds rows of name, property, value, source. A row that comes twice was forged by a newline in some value.
func parseValues(out []byte, all map[string]map[string]value) error {
	table, err := rows(out, 4)
	if err != nil {
		return err
	}
	for _, r := range table {
		props := all[r[0]]
		if props == nil {
			props = make(map[string]value, 50)
			all[r[0]] = props
		}
		if _, twice := props[r[1]]; twice {
			return fmt.Errorf("property %s of %s comes twice: %w", clip(r[1]), clip(r[0]), ErrOutput)
		}
		props[r[1]] = value{text: r[2], local: r[3] == "local"}
	}
	return nil
}

// snapshotColumns are what a listing reads.
const snapshotColumns = "name,guid,createtxg,creation,written,userrefs"

// snapshots lists the snapshots and bookmarks of each of the datasets and of all that is below them, oldest first.
func (z *ZFS) snapshots(ctx context.Context, names []string) (*listing, error) {
	all := newListing()
	for _, batch := range batches(names, maxArgs) {
		out, err := z.run(ctx, slices.Concat([]string{"zfs", "list", "-Hp", "-t", "snapshot,bookmark", "-r", "-o", snapshotColumns}, batch)...)
		if err != nil {
			return nil, err
		}
		if err := all.parse(out); err != nil {
			return nil, fmt.Errorf("zfs list: %w", err)
		}
	}
	for _, byDataset := range []map[string][]state.Snapshot{all.snapshots, all.bookmarks} {
		for _, snaps := range byDataset {
			slices.SortStableFunc(snaps, func(a, b state.Snapshot) int { return cmp.Compare(a.Txg, b.Txg) })
		}
	}
	return all, z.markHeld(ctx, all)
}

// markHeld finds out whose holds they are. zfs counts holds with the other columns; their tags take a command more, which
// only asks for the snapshots that have any. One that was destroyed or let go meanwhile is not held: that is its truth now.
func (z *ZFS) markHeld(ctx context.Context, all *listing) error {
	if len(all.referenced) == 0 || z.noHolds {
		return nil
	}
	tags, err := z.holds(ctx, all.referenced, "dataset does not exist", "no datasets available")
	if err != nil {
		return err
	}
	for dataset, snaps := range all.snapshots {
		for i := range snaps {
			snaps[i].Held = slices.ContainsFunc(tags[dataset+"@"+snaps[i].Name], isOurs)
		}
	}
	return nil
}
