package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/drover-project/drover/agent/usage"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// node observes everything of this node, at a cost that does not grow with the number of its copies.
func (a *Agent) node(ctx context.Context) (*state.Node, error) {
	n := &state.Node{ID: a.id, Hostname: a.o.Hostname, Address: a.Addr(), Root: a.o.Root, Mounts: a.o.Mounts}
	var root rootFacts
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { n.Pool, err = a.zfs.Pool(gctx, a.poolName()); return err })
	g.Go(func() (err error) { n.Datasets, err = a.zfs.Datasets(gctx, a.poolName()); return err })
	g.Go(func() (err error) { root, err = a.readRoot(gctx); return err })
	g.Go(func() (err error) { n.Copies, err = a.copies(gctx); return err })
	err := g.Wait()
	if err != nil {
		return nil, a.unobserved(ctx, err)
	}
	n.Refused, n.Term = root.refused, root.term
	n.Streams, n.Rates, n.Gate = a.under.streams(), a.rates.all(), a.gate.State()
	n.Limits = a.limits.now()
	if n.Orphans, err = a.locks.orphans(); err != nil {
		return nil, fmt.Errorf("observe node %s: %w", a.o.Hostname, err)
	}
	n.Source = state.Source{At: time.Now()}
	return n, nil
}

// unobserved says why the node could not be observed: in words for people where only they can mend it.
func (a *Agent) unobserved(ctx context.Context, err error) error {
	pool := a.poolName()
	_, perr := a.zfs.Pool(ctx, pool)
	switch {
	case errors.Is(perr, zfs.ErrNoPool):
		return errorf(CodeInternal, "pool %s of %s is not imported: run zpool import %s there", pool, a.o.Hostname, pool)
	case errors.Is(err, zfs.ErrSuspended):
		return errorf(CodeInternal, "pool %s of %s is suspended, because its disks fail: mend them, then run zpool clear %s there", pool, a.o.Hostname, pool)
	}
	return fmt.Errorf("observe node %s: %w", a.o.Hostname, err)
}

// copies observes every copy and who uses it. A copy whose properties cannot be read is there without a role: it is seen,
// and nothing is decided about it.
func (a *Agent) copies(ctx context.Context) ([]state.Copy, error) {
	cs, err := a.zfs.Copies(ctx, a.o.Root)
	if errors.Is(err, zfs.ErrBadProperty) {
		a.log.Warn("copies without a role", "err", err)
	} else if err != nil {
		return nil, err
	}
	seen, err := a.look(ctx, cs)
	if err != nil {
		return nil, err
	}
	for i := range cs {
		a.complete(&cs[i])
		cs[i].Users = seen.Found[i].Users
	}
	return cs, nil
}

// complete fills in what zfs does not know.
func (a *Agent) complete(c *state.Copy) {
	if c.Release != nil {
		c.Release.From = a.id
	}
	c.Receiving = c.Role == state.Standby && (a.under.receiving(c.UUID) || a.locks.orphaned(c.UUID))
}

// target is a copy and all that is below it.
func target(c *state.Copy) usage.Target {
	t := usage.Target{Dataset: c.Dataset, Resting: c.Role == state.Standby}
	if c.Mounted {
		t.Path = c.Mountpoint
	}
	for _, d := range c.Children {
		if d.Mounted {
			t.Below = append(t.Below, d.Mountpoint)
		}
	}
	return t
}

// look looks once for the users of all copies.
func (a *Agent) look(ctx context.Context, cs []state.Copy) (usage.Report, error) {
	targets := make([]usage.Target, len(cs))
	for i := range cs {
		targets[i] = target(&cs[i])
	}
	seen, err := usage.Find(ctx, targets...)
	if err != nil {
		return seen, fmt.Errorf("look for users: %w", err)
	}
	return seen, nil
}

// observeCopy returns this node's copy of a volume with its users, or nil if there is none.
func (a *Agent) observeCopy(ctx context.Context, uuid state.UUID) (*state.Copy, error) {
	c, err := a.find(ctx, a.zfs, uuid, "")
	if err != nil || c == nil {
		return nil, err
	}
	seen, err := a.look(ctx, []state.Copy{*c})
	if err != nil {
		return nil, err
	}
	c.Users = seen.Found[0].Users
	return c, nil
}

// find reads this node's copy of a volume afresh, or returns nil if there is none. It looks first where the volume was last
// found and where it belongs, then everywhere on the pool.
func (a *Agent) find(ctx context.Context, z *zfs.ZFS, uuid state.UUID, v state.VolumeName) (*state.Copy, error) {
	for _, dataset := range a.guesses(uuid, v) {
		c, err := z.Copy(ctx, dataset)
		if errors.Is(err, zfs.ErrNotFound) || errors.Is(err, zfs.ErrNotCopy) {
			continue
		}
		if c.UUID == uuid || err != nil {
			return a.found(c, err)
		}
	}
	return a.search(ctx, z, func(c *state.Copy) bool { return c.UUID == uuid })
}

func (a *Agent) guesses(uuid state.UUID, v state.VolumeName) []string {
	var datasets []string
	if d, ok := a.places.Load(uuid); ok {
		datasets = append(datasets, d.(string))
	}
	if v != "" && !slices.Contains(datasets, a.home(v)) {
		datasets = append(datasets, a.home(v))
	}
	return datasets
}

func (a *Agent) found(c state.Copy, err error) (*state.Copy, error) {
	if err != nil {
		return nil, fmt.Errorf("read the copy: %w", err)
	}
	a.places.Store(c.UUID, c.Dataset)
	a.complete(&c)
	return &c, nil
}

// findNamed reads this node's copy of a volume by its name.
func (a *Agent) findNamed(ctx context.Context, v state.VolumeName) (*state.Copy, error) {
	c, err := a.zfs.Copy(ctx, a.home(v))
	if err == nil && c.Volume == v {
		return a.found(c, nil)
	}
	return a.search(ctx, a.zfs, func(c *state.Copy) bool { return c.Volume == v })
}

// search looks at all copies of the pool. Two that fit are an error: whichever was taken could be the wrong one.
func (a *Agent) search(ctx context.Context, z *zfs.ZFS, fits func(*state.Copy) bool) (*state.Copy, error) {
	cs, err := z.Copies(ctx, a.o.Root)
	if err != nil && !errors.Is(err, zfs.ErrBadProperty) {
		return nil, fmt.Errorf("read the copies: %w", err)
	}
	var match *state.Copy
	for i := range cs {
		switch {
		case !fits(&cs[i]):
		case match != nil:
			return nil, errorf(CodeInTheWay, "datasets %s and %s on %s both claim to be the same volume; remove the drover: properties of the wrong one", match.Dataset, cs[i].Dataset, a.o.Hostname)
		default:
			match = &cs[i]
		}
	}
	if match == nil {
		return nil, nil
	}
	if match.Role == "" {
		return nil, fmt.Errorf("read the copy: %w", err)
	}
	return a.found(*match, nil)
}
