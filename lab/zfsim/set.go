package zfsim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// setCode is the exit code of a failed set, which differs between the versions.
func (c *cli) setCode() exit {
	if c.m.old {
		return 1
	}
	return 255
}

func (c *cli) set(opts []opt, args []string) error {
	pairs, names, err := c.splitSet(args)
	if err != nil {
		return err
	}
	if twice := repeated(pairs); twice != "" {
		fmt.Fprintf(c.err, "property '%s' specified multiple times\n", twice)
		return exit(255)
	}
	failed := false
	for _, name := range names {
		o, err := c.open(name, false)
		if err != nil {
			c.say("%v", err)
			continue
		}
		if err := c.setOn(o, pairs, flagsOf(opts).has('u')); err != nil {
			c.say("%v", err)
			failed = true
		}
	}
	if failed {
		return c.setCode()
	}
	return nil
}

// repeated returns a property that is given twice.
func repeated(pairs []string) string {
	seen := map[string]bool{}
	for _, pair := range pairs {
		k, _, _ := strings.Cut(pair, "=")
		if seen[k] {
			return k
		}
		seen[k] = true
	}
	return ""
}

// splitSet separates property=value pairs from dataset names.
func (c *cli) splitSet(args []string) (pairs, names []string, err error) {
	for _, a := range args {
		switch {
		case !strings.Contains(a, "="):
			names = append(names, a)
		case len(names) > 0 && c.m.old:
			return nil, nil, usageError("invalid argument order")
		case len(names) > 0:
			names = append(names, a)
		default:
			pairs = append(pairs, a)
		}
	}
	if bad := slices.IndexFunc(names, func(n string) bool { return strings.Contains(n, "=") }); bad >= 0 {
		return nil, nil, cannotOpen(names[bad], checkName(names[bad], 0))
	}
	if len(pairs) == 0 {
		return nil, nil, usageError("missing property=value argument(s)")
	}
	if len(names) == 0 {
		return nil, nil, usageError("missing dataset name(s)")
	}
	return pairs, names, nil
}

// setOn sets properties on one object: the plain ones in one step, the others after it one by one.
func (c *cli) setOn(o object, pairs []string, quiet bool) error {
	what := fmt.Sprintf("cannot set property for '%s': ", o.name())
	plain, apart, err := c.checkPairs(o, pairs, what)
	if err != nil {
		return err
	}
	if len(plain) > 0 {
		err = c.update(o.p.Name, func(tx *txn) error { return tx.setPlain(o.name(), plain, quiet) })
	}
	for _, k := range slices.Sorted(maps.Keys(apart)) {
		if err == nil {
			err = c.update(o.p.Name, func(tx *txn) error { return tx.setApart(o.name(), k, apart[k]) })
		}
	}
	if err == nil && plain["readonly"] == "on" {
		c.warnWriters(o)
	}
	return wrapReason(what, err)
}

// warnWriters says what readonly=on cannot do over plain directories.
func (c *cli) warnWriters(o object) {
	who, err := writers(c.m.head(o.p, o.ds))
	if err != nil {
		fmt.Fprintf(c.err, "warning: '%s': %v\n", o.name(), err)
		return
	}
	for _, w := range who {
		fmt.Fprintf(c.err, "warning: '%s' is a plain directory in the lab: readonly=on does not stop process %s, which has files open for writing; what it writes will count as a modification\n", o.name(), w)
	}
}

func (c *cli) checkPairs(o object, pairs []string, what string) (plain, apart map[string]string, err error) {
	plain, apart = map[string]string{}, map[string]string{}
	for _, pair := range pairs {
		k, v, _ := strings.Cut(pair, "=")
		def := propOf(k)
		if def != nil {
			k = def.name
		}
		stored, err := c.m.parseProp(k, v)
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("%s%w", what, err)
		case def != nil && def.oneTime:
			return nil, nil, fmt.Errorf("%s'%s' is readonly", what, k)
		case def != nil && o.snap != nil:
			return nil, nil, errors.New(what + "this property can not be modified for snapshots")
		case def != nil && def.apart:
			apart[k] = stored
		default:
			plain[k] = stored
		}
	}
	return plain, apart, nil
}

func (tx *txn) setPlain(name string, props map[string]string, quiet bool) error {
	o := lookup(tx.p, name)
	if o.ds == nil {
		return printed{cannotOpen(name, errNotExist)}
	}
	if o.snap != nil {
		o.snap.Props = merged(o.snap.Props, props)
		return nil
	}
	before := tx.m.mountpoint(tx.p, o.ds)
	o.ds.Props = merged(o.ds.Props, props)
	if props["canmount"] == "off" {
		if err := tx.unmount(tx.mountedOnly(o.ds), opUnlink); err != nil {
			return err
		}
	}
	if _, ok := props["mountpoint"]; !ok || quiet {
		return nil
	}
	return tx.mountpointChanged(o.ds, before)
}

func (tx *txn) mountedOnly(d *dataset) []*dataset {
	if d.Mounted == "" {
		return nil
	}
	return []*dataset{d}
}

// mountpointChanged follows a change of the mountpoint property. 2.1 mounts an unmounted dataset only if it had no
// mountpoint before.
func (tx *txn) mountpointChanged(d *dataset, before string) error {
	mounted := tx.mountedBelow(d)
	if err := tx.remount(mounted); err != nil {
		return err
	}
	if d.Mounted == "" && !slices.Contains(mounted, d) && (!tx.m.old || before == "") && (d.Recv == nil || !d.Recv.New) {
		if err := tx.automount(d); err != nil {
			return err
		}
	}
	if before == "" {
		for _, x := range tx.p.tree(d)[1:] {
			if x.Recv == nil || !x.Recv.New {
				if err := tx.automount(x); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func merged(old, more map[string]string) map[string]string {
	m := maps.Clone(old)
	if m == nil {
		m = map[string]string{}
	}
	maps.Copy(m, more)
	return m
}

// setApart sets a quota-like property.
func (tx *txn) setApart(name, k, v string) error {
	d := tx.p.find(name)
	if d == nil {
		return printed{cannotOpen(name, errNotExist)}
	}
	if err := tx.checkApart(d, k, v); err != nil {
		return err
	}
	d.Props = merged(d.Props, map[string]string{k: v})
	return nil
}

func (tx *txn) checkApart(d *dataset, k, v string) error {
	if _, err := tx.m.rescan(tx.p, tx.s, d); err != nil {
		return err
	}
	n, sp := number(v), tx.m.space(tx.p)
	switch {
	case n == 0:
	case k == "quota" && n < sp.usedBy(d), k == "refquota" && n < sp.referenced(d):
		return errors.New("size is less than current used or reserved space")
	case k == "reservation" && n > sp.available(d)+sp.usedBy(d), k == "refreservation" && n > sp.available(d)+sp.byDataset(d):
		return errors.New("size is greater than available space")
	}
	return nil
}

func (c *cli) inherit(opts []opt, args []string) error {
	if len(args) < 2 {
		return usageError("missing dataset argument")
	}
	prop := args[0]
	def := propOf(prop)
	if def == nil && !isUserProp(prop) {
		return usageError(fmt.Sprintf("invalid property '%s'", prop))
	}
	if def != nil {
		prop = def.name
		if def.stat || def.oneTime {
			return fmt.Errorf("%s property is read-only", prop)
		}
		if def.own && def.number && !flagsOf(opts).has('S') {
			return fmt.Errorf("'%s' property cannot be inherited\nuse 'zfs set %s=none' to clear\nuse 'zfs inherit -S %s' to revert to received value", prop, prop, prop)
		}
	}
	for _, name := range args[1:] {
		o, err := c.open(name, false)
		if err == nil {
			err = c.update(o.p.Name, func(tx *txn) error { return tx.inherit(name, prop, flagsOf(opts).has('r')) })
			err = wrapReason(fmt.Sprintf("cannot inherit %s for '%s': ", prop, name), err)
		}
		if err != nil {
			c.say("%v", err)
		}
	}
	return nil
}

func (tx *txn) inherit(name, prop string, recursive bool) error {
	o := lookup(tx.p, name)
	if o.ds == nil {
		return printed{cannotOpen(name, errNotExist)}
	}
	if o.snap != nil {
		delete(o.snap.Props, prop)
		return nil
	}
	before := tx.m.mountpoint(tx.p, o.ds)
	for _, d := range tx.p.tree(o.ds) {
		if d == o.ds || recursive {
			delete(d.Props, prop)
			for _, s := range d.Snaps {
				if recursive {
					delete(s.Props, prop)
				}
			}
		}
	}
	if prop == "mountpoint" {
		return tx.mountpointChanged(o.ds, before)
	}
	return nil
}
