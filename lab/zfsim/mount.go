package zfsim

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// mountpoint is where a dataset belongs; "" if nowhere.
func (m *machine) mountpoint(p *pool, d *dataset) string {
	mp := m.prop(p, d, "mountpoint")
	if mp == "none" || mp == "legacy" {
		return ""
	}
	return mp
}

// automount mounts a dataset if canmount and mountpoint say so.
func (tx *txn) automount(d *dataset) error {
	if d.Mounted != "" || tx.m.prop(tx.p, d, "canmount") != "on" || tx.m.mountpoint(tx.p, d) == "" {
		return nil
	}
	return tx.mount(d)
}

// mount notes the link to be made.
func (tx *txn) mount(d *dataset) error {
	path := tx.m.mountpoint(tx.p, d)
	if !onlyEmpty(path) || tx.pathTaken(path) {
		return fmt.Errorf("cannot mount '%s': directory is not empty", path)
	}
	d.Mounted = path
	tx.p.then(op{Do: opLink, ID: d.ID, Path: path})
	return nil
}

func (tx *txn) pathTaken(path string) bool {
	return slices.ContainsFunc(tx.p.Datasets, func(d *dataset) bool { return d.Mounted == path })
}

// mountedBelow returns the mounted datasets of a tree, children first.
func (tx *txn) mountedBelow(d *dataset) []*dataset {
	var ds []*dataset
	for _, x := range tx.p.tree(d) {
		if x.Mounted != "" {
			ds = append(ds, x)
		}
	}
	slices.Reverse(ds)
	return ds
}

// checkIdle refuses if a process uses one of the datasets.
func (tx *txn) checkIdle(ds []*dataset) error {
	if len(ds) == 0 {
		return nil
	}
	for _, d := range ds {
		busy, err := inUse(tx.m.head(tx.p, d))
		if err != nil {
			return err
		}
		if busy {
			return printed{fmt.Errorf("cannot unmount '%s': pool or dataset is busy", d.Mounted)}
		}
	}
	return nil
}

// unmount takes mounted datasets off, after making sure that nobody uses them. do is opUnlink or opRmdir.
func (tx *txn) unmount(ds []*dataset, do string) error {
	if err := tx.checkIdle(ds); err != nil {
		return err
	}
	for _, d := range ds {
		tx.p.then(op{Do: opUnlink, Path: d.Mounted})
		if do == opRmdir {
			tx.p.then(op{Do: opRmdir, Path: d.Mounted})
		}
		d.Mounted, d.MountedRO = "", false
	}
	return nil
}

// remount moves mounted datasets to where their properties now say. was are their mountpoints before.
func (tx *txn) remount(ds []*dataset) error {
	var moved []*dataset
	for _, d := range ds {
		if d.Mounted != tx.m.mountpoint(tx.p, d) {
			moved = append(moved, d)
		}
	}
	if err := tx.unmount(moved, opRmdir); err != nil {
		return err
	}
	slices.Reverse(moved)
	for _, d := range moved {
		if tx.m.mountpoint(tx.p, d) == "" {
			continue
		}
		if err := tx.mount(d); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) mount(opts []opt, operands []string) error {
	f := flagsOf(opts)
	switch {
	case f.has('j'):
		return errJSON
	case f.has('a'):
		return c.mountAll()
	case len(operands) == 0:
		return c.showMounts()
	}
	return c.mountOne(operands[0], opts)
}

func (c *cli) mountOne(name string, opts []opt) error {
	if _, err := c.open(name, false); err != nil {
		return err
	}
	err := c.update(poolOf(name), func(tx *txn) error {
		d := tx.p.find(name)
		if d == nil {
			return printed{cannotOpen(name, errNotExist)}
		}
		if why := tx.mountRefusal(d); why != "" {
			return errors.New(why)
		}
		d.MountedRO = slices.ContainsFunc(opts, func(o opt) bool { return o.c == 'o' && slices.Contains(strings.Split(o.val, ","), "ro") })
		return tx.mount(d)
	})
	return wrapReason(fmt.Sprintf("cannot mount '%s': ", name), stripMount(err))
}

// stripMount passes on messages that already say what could not be mounted.
func stripMount(err error) error {
	if err != nil && strings.HasPrefix(err.Error(), "cannot mount ") {
		return printed{err}
	}
	return err
}

func (tx *txn) mountRefusal(d *dataset) string {
	switch {
	case d.Recv != nil && d.Recv.New && d.Recv.Resumable:
		return `Contains partially-completed state from "zfs receive -s", which can be resumed with "zfs send -t"`
	case d.Recv != nil && d.Recv.New:
		return errBusy.Error()
	case tx.m.prop(tx.p, d, "mountpoint") == "legacy":
		return "legacy mountpoint\nuse mount(8) to mount this filesystem"
	case tx.m.mountpoint(tx.p, d) == "":
		return "no mountpoint set"
	case tx.m.prop(tx.p, d, "canmount") == "off":
		return "'canmount' property is set to 'off'"
	case d.Mounted != "":
		return "filesystem already mounted"
	}
	return ""
}

func (c *cli) mountAll() error {
	return c.eachPool(func(tx *txn) error {
		for _, d := range tx.p.Datasets {
			if d.Recv != nil && d.Recv.New {
				continue
			}
			if err := tx.automount(d); err != nil {
				c.say("%v", err)
			}
		}
		return nil
	})
}

func (c *cli) eachPool(fn func(*txn) error) error {
	ps, err := c.m.pools()
	if err != nil {
		return err
	}
	for _, p := range ps {
		if err := c.update(p.Name, fn); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) showMounts() error {
	ps, err := c.m.pools()
	if err != nil {
		return err
	}
	for _, p := range ps {
		for _, d := range p.Datasets {
			if d.Mounted != "" {
				c.printf("%-30s  %s\n", d.Name, d.Mounted)
			}
		}
	}
	return nil
}

func (c *cli) unmount(opts []opt, operands []string) error {
	if flagsOf(opts).has('a') {
		return c.eachPool(func(tx *txn) error { return tx.unmount(tx.mountedBelow(tx.p.Datasets[0]), opUnlink) })
	}
	if len(operands) != 1 {
		return usageError("missing filesystem argument")
	}
	name, err := c.mountedAt(operands[0])
	if err != nil {
		return err
	}
	if _, err := c.open(name, false); err != nil {
		return err
	}
	err = c.update(poolOf(name), func(tx *txn) error {
		d := tx.p.find(name)
		if d == nil {
			return printed{cannotOpen(name, errNotExist)}
		}
		if d.Mounted == "" {
			return errors.New("not currently mounted")
		}
		return tx.unmount(tx.mountedBelow(d), opUnlink)
	})
	return wrapReason(fmt.Sprintf("cannot unmount '%s': ", operands[0]), err)
}

// datasetAt returns the name of the dataset that a path lies in; the path itself if it is in none.
func (c *cli) datasetAt(path string) (string, error) {
	ps, err := c.m.pools()
	if err != nil {
		return "", err
	}
	found, longest := path, 0
	for _, p := range ps {
		for _, d := range p.Datasets {
			if d.Mounted != "" && under(filepath.Clean(path), d.Mounted) && len(d.Mounted) > longest {
				found, longest = d.Name, len(d.Mounted)
			}
		}
	}
	return found, nil
}

// mountedAt turns a mountpoint into the name of the dataset.
func (c *cli) mountedAt(arg string) (string, error) {
	if !strings.HasPrefix(arg, "/") {
		return arg, nil
	}
	ps, err := c.m.pools()
	if err != nil {
		return "", err
	}
	for _, p := range ps {
		for _, d := range p.Datasets {
			if d.Mounted == filepath.Clean(arg) {
				return d.Name, nil
			}
		}
	}
	return "", fmt.Errorf("cannot unmount '%s': not a mountpoint", arg)
}
