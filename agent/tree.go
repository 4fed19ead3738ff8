package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// A copy may have file systems below its dataset. They inherit readonly from it, so that the one `zfs set` of a row fences or
// opens all of them; here is what has to be done for each.

// prepare makes the children of a copy follow it: none has a readonly=off of its own, which would be no fence, and none is
// mounted by anybody but Drover. It refuses a copy of which a part could not travel.
func (v *visit) prepare(ctx context.Context) error {
	if why := v.c.Unmovable(); why != "" {
		return errorf(CodeRefused, "%s", why).about(v.c)
	}
	changed, err := follow(ctx, v.z, v.c)
	if err != nil || !changed {
		return err
	}
	return v.reread(ctx)
}

// follow reports whether it changed anything.
func follow(ctx context.Context, z *zfs.ZFS, c *state.Copy) (changed bool, err error) {
	for _, d := range c.Children {
		dataset := c.Dataset + "/" + d.Path
		if d.Properties["readonly"] == "off" {
			changed, err = true, errors.Join(err, z.Inherit(ctx, dataset, "readonly"))
		}
		if at := d.Properties["canmount"]; at != "noauto" && at != "off" && !d.Device {
			changed, err = true, errors.Join(err, z.Set(ctx, dataset, map[string]string{"canmount": "noauto"}))
		}
	}
	if err != nil {
		return changed, fmt.Errorf("prepare the datasets below %s: %w", c.Dataset, err)
	}
	return changed, nil
}

// mountTree mounts a copy and, in it, its children.
func (a *Agent) mountTree(ctx context.Context, z *zfs.ZFS, c *state.Copy, options ...string) error {
	if !c.Mounted {
		if err := a.unmountTree(ctx, z, c); err != nil { // a child that is mounted would be covered
			return err
		}
		if err := a.mount(ctx, z, c, options...); err != nil {
			return err
		}
	}
	for _, path := range c.Paths()[1:] {
		d := c.Child(path)
		if d.Mounted || !d.Mountable() {
			continue
		}
		if err := z.Mount(ctx, c.Dataset+"/"+path, options...); err != nil {
			return err
		}
		d.Mounted = true
	}
	return nil
}

// mounted reports whether all of a copy is mounted that should be when it is in use.
func mounted(c *state.Copy) bool {
	return c.Mounted && !slices.ContainsFunc(c.Children, func(d state.Child) bool { return d.Mountable() && !d.Mounted })
}

// unmountTree unmounts a copy with its children. zfs takes those along that inherit their mountpoint.
func (a *Agent) unmountTree(ctx context.Context, z *zfs.ZFS, c *state.Copy) error {
	for _, path := range slices.Backward(c.Paths()[1:]) {
		d := c.Child(path)
		if _, own := d.Properties["mountpoint"]; !d.Mounted || c.Mounted && !own {
			continue
		}
		if err := z.Unmount(ctx, c.Dataset+"/"+path); err != nil {
			return err
		}
		d.Mounted = false
	}
	if c.Mounted {
		if err := z.Unmount(ctx, c.Dataset); err != nil {
			return err
		}
	}
	*c = *unmountedAll(c)
	return nil
}

// unmountedAll returns the copy as it would be if nothing of it were mounted.
func unmountedAll(c *state.Copy) *state.Copy {
	without := *c
	without.Mounted, without.Children = false, slices.Clone(c.Children)
	for i := range without.Children {
		without.Children[i].Mounted = false
	}
	return &without
}

// flushTree writes what is in memory of a mounted copy and its children to disk.
func flushTree(c *state.Copy) error {
	for _, p := range c.Parts() {
		if !p.Mounted {
			continue
		}
		if err := syncFilesystem(p.Mountpoint); err != nil {
			return fmt.Errorf("flush %s: %w", p.Mountpoint, err)
		}
	}
	return nil
}

// newestBelow returns the full names of the newest snapshots of a copy's children.
func newestBelow(c *state.Copy) []string {
	var names []string
	for _, p := range c.Parts()[1:] {
		if s := p.Newest(); s != nil {
			names = append(names, p.Dataset+"@"+s.Name)
		}
	}
	return names
}

// own returns those of a dataset's local properties that are listed.
func own(props map[string]string, listed ...string) map[string]string {
	some := map[string]string{}
	for _, name := range listed {
		if v, ok := props[name]; ok {
			some[name] = v
		}
	}
	return some
}
