package zfsim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

func (c *cli) rename(opts []opt, args []string) error {
	if len(args) != 2 {
		return usageError("missing target dataset argument")
	}
	f, from, to := flagsOf(opts), args[0], args[1]
	if strings.Contains(from, "@") {
		return c.renameSnap(from, to, f)
	}
	if _, err := c.open(from, false); err != nil {
		return err
	}
	if why := checkName(to, 0); why != "" {
		return fmt.Errorf("cannot rename to '%s': %s", to, why)
	}
	if parentName(to) == "" {
		return fmt.Errorf("cannot create '%s': missing dataset name", to)
	}
	if poolOf(from) != poolOf(to) {
		return fmt.Errorf("cannot rename to '%s': datasets must be within same pool", to)
	}
	err := c.update(poolOf(from), func(tx *txn) error { return tx.rename(from, to, f) })
	return wrapReason(fmt.Sprintf("cannot rename '%s': ", from), err)
}

func (tx *txn) rename(from, to string, f flagSet) error {
	d := tx.p.find(from)
	switch {
	case d == nil:
		return printed{cannotOpen(from, errNotExist)}
	case from == to:
		return nil
	case parentName(from) == "":
		return errors.New("operation not applicable to pools")
	case tx.p.find(to) != nil:
		return errExists
	case strings.HasPrefix(to, from+"/"):
		return printed{fmt.Errorf("cannot rename to '%s': New dataset name cannot be a descendant of current dataset name", to)}
	}
	if tx.p.find(parentName(to)) == nil {
		if !f.has('p') {
			return printed{fmt.Errorf("cannot create '%s': %w", to, errNoParent)}
		}
		if err := tx.createParent(to, f); err != nil {
			return err
		}
	}
	return tx.move(d, to, f.has('u'))
}

// move gives a dataset and all below it new names, and mounts them where they belong then.
func (tx *txn) move(d *dataset, to string, keepMounts bool) error {
	all, from := tx.p.tree(d), d.Name
	for _, x := range all {
		x.Name = to + strings.TrimPrefix(x.Name, from)
	}
	tx.p.sort()
	if keepMounts {
		return nil
	}
	return tx.remount(tx.mountedBelow(d))
}

func (c *cli) renameSnap(from, to string, f flagSet) error {
	base, old, _ := strings.Cut(from, "@")
	if strings.HasPrefix(to, "@") {
		to = base + to
	}
	toBase, name, ok := strings.Cut(to, "@")
	switch {
	case !ok:
		to = base + "@" + to
		name = strings.TrimPrefix(to, base+"@")
	case toBase != base:
		return fmt.Errorf("cannot rename '%s': snapshots must be part of same dataset", from)
	}
	if why := checkName(to, '@'); why != "" {
		return fmt.Errorf("cannot create '%s': %s", to, why)
	}
	if _, err := c.open(from, false); err != nil {
		return err
	}
	err := c.update(poolOf(from), func(tx *txn) error {
		if old == name {
			return nil
		}
		return tx.snapsNamed(from, f.has('r'), func(o object) error {
			if o.ds.snap(name) != nil {
				return errExists
			}
			o.snap.Name = name
			return nil
		})
	})
	return wrapReason(fmt.Sprintf("cannot rename '%s': ", from), err)
}

func (c *cli) clone(opts []opt, args []string) error {
	if len(args) != 2 {
		return usageError("missing target dataset argument")
	}
	f, from, to := flagsOf(opts), args[0], args[1]
	if why := checkName(from, '@'); why != "" {
		return cannotOpen(from, why)
	}
	if _, err := c.open(from, false); err != nil {
		return err
	}
	what := fmt.Sprintf("cannot create '%s': ", to)
	props, err := c.parseOptions(opts, 'o', what)
	if err != nil {
		return err
	}
	switch why := checkName(to, 0); {
	case why != "":
		return errors.New(what + why)
	case poolOf(from) != poolOf(to):
		return errors.New(what + "source and target pools differ")
	}
	err = c.update(poolOf(from), func(tx *txn) error { return tx.clone(from, to, props, f) })
	return wrapReason(what, err)
}

func (tx *txn) clone(from, to string, props map[string]string, f flagSet) error {
	o := lookup(tx.p, from)
	switch {
	case o.ds == nil:
		return printed{cannotOpen(from, errNotExist)}
	case tx.p.find(to) != nil:
		return errExists
	case tx.p.find(parentName(to)) == nil && !f.has('p'):
		return errNoParent
	case tx.p.find(parentName(to)) == nil:
		if err := tx.createParent(to, f); err != nil {
			return err
		}
	}
	d := tx.record(to, props)
	d.Tree, d.Hist, d.Origin = o.snap.Tree, o.snap.Hist.Clone(), &origin{o.ds.ID, o.snap.GUID}
	tx.p.then(op{Do: opApply, ID: d.ID, To: d.Tree, Txg: tx.txg})
	if f.has('u') {
		return nil
	}
	return tx.automount(d)
}

func (c *cli) promote(_ []opt, args []string) error {
	if len(args) != 1 {
		return usageError("missing clone filesystem argument")
	}
	name := args[0]
	if why := checkName(name, 0); why != "" {
		return cannotOpen(name, why)
	}
	if _, err := c.open(name, false); err != nil {
		return err
	}
	err := c.update(poolOf(name), func(tx *txn) error { return tx.promote(name) })
	return wrapReason(fmt.Sprintf("cannot promote '%s': ", name), err)
}

// promote moves the snapshots up to the clone's origin, and the bookmarks, from the parent to the clone.
func (tx *txn) promote(name string) error {
	d := tx.p.find(name)
	if d == nil {
		return printed{cannotOpen(name, errNotExist)}
	}
	if d.Origin == nil {
		return errors.New("not a cloned filesystem")
	}
	parent := tx.p.byID(d.Origin.ID)
	at := parent.snapByGUID(d.Origin.GUID)
	moved := func(txg uint64) bool { return txg <= at.CreateTxg }
	for _, s := range parent.Snaps {
		if moved(s.CreateTxg) && d.snap(s.Name) != nil {
			return fmt.Errorf("snapshot name '%s@%s' from origin \nconflicts with '%s@%s' from target", parent.Name, s.Name, d.Name, s.Name)
		}
	}
	tx.moveHistory(parent, d, moved)
	d.Origin, parent.Origin = parent.Origin, &origin{d.ID, at.GUID}
	return nil
}

func (tx *txn) moveHistory(parent, d *dataset, moved func(txg uint64) bool) {
	var snaps []*snapshot
	for _, s := range parent.Snaps {
		if moved(s.CreateTxg) {
			snaps = append(snaps, s)
		}
	}
	for _, x := range tx.p.Datasets {
		if x.Origin != nil && x.Origin.ID == parent.ID && slices.ContainsFunc(snaps, func(s *snapshot) bool { return s.GUID == x.Origin.GUID }) {
			x.Origin.ID = d.ID
		}
	}
	parent.Snaps = slices.DeleteFunc(parent.Snaps, func(s *snapshot) bool { return moved(s.CreateTxg) })
	d.Snaps = append(snaps, d.Snaps...)
	for _, b := range parent.Marks {
		if moved(b.CreateTxg) {
			d.Marks = append(d.Marks, b)
		}
	}
	parent.Marks = slices.DeleteFunc(parent.Marks, func(b *bookmark) bool { return moved(b.CreateTxg) })
}

func (c *cli) rollback(opts []opt, args []string) error {
	if len(args) != 1 {
		return usageError("missing dataset argument")
	}
	name, f := args[0], flagsOf(opts)
	if why := checkName(name, '@'); why != "" {
		return cannotOpen(name, why)
	}
	o, err := c.open(name, false)
	if err != nil {
		return err
	}
	if clones := clonesAfter(o); len(clones) > 0 && f.has('r') {
		return fmt.Errorf("cannot rollback to '%s': clones of previous snapshots exist\nuse '-R' to force deletion of the following clones and dependents:\n%s",
			name, strings.Join(clones, "\n"))
	}
	if f.has('r') || f.has('R') {
		if err := c.dropNewer(o); err != nil {
			return err
		}
	}
	err = c.update(o.p.Name, func(tx *txn) error { return tx.rollback(name) })
	return wrapReason(fmt.Sprintf("cannot rollback '%s': ", o.ds.Name), err)
}

// dropNewer destroys what is newer than the snapshot one by one, as OpenZFS does: what is held stays and stops the
// rollback, the others are gone.
func (c *cli) dropNewer(o object) error {
	for _, s := range o.ds.Snaps {
		if s.CreateTxg <= o.snap.CreateTxg {
			continue
		}
		name := o.ds.Name + "@" + s.Name
		err := c.update(o.p.Name, func(tx *txn) error {
			v := lookup(tx.p, name)
			if v.ds == nil {
				return nil
			}
			if tx.snapBusy(v) != "" {
				return fmt.Errorf("cannot destroy '%s': dataset is busy", name)
			}
			tx.dropSnap(v.ds, v.snap)
			return nil
		})
		if err != nil {
			c.say("%v", err)
		}
	}
	if c.rc != 0 {
		return exit(c.rc)
	}
	return c.update(o.p.Name, func(tx *txn) error {
		if d := tx.p.find(o.ds.Name); d != nil {
			d.Marks = slices.DeleteFunc(d.Marks, func(b *bookmark) bool { return b.CreateTxg > o.snap.CreateTxg })
		}
		return nil
	})
}

func (tx *txn) rollback(name string) error {
	o := lookup(tx.p, name)
	if o.ds == nil {
		return printed{cannotOpen(name, errNotExist)}
	}
	if newer := newerThan(o); len(newer) > 0 {
		return printed{fmt.Errorf("cannot rollback to '%s': more recent snapshots or bookmarks exist\nuse '-r' to force deletion of the following snapshots and bookmarks:\n%s",
			name, strings.Join(newer[:min(32, len(newer))], "\n"))}
	}
	return tx.resetTo(o.ds, o.snap)
}

// clonesAfter names what was cloned from newer snapshots.
func clonesAfter(o object) []string {
	var names []string
	for _, s := range o.ds.Snaps {
		if s.CreateTxg > o.snap.CreateTxg {
			for _, clone := range o.p.clones(o.ds, s) {
				names = append(names, clone.Name)
			}
		}
	}
	return names
}

func newerThan(o object) []string {
	var names []string
	for _, s := range o.ds.Snaps {
		if s.CreateTxg > o.snap.CreateTxg {
			names = append(names, o.ds.Name+"@"+s.Name)
		}
	}
	for _, b := range o.ds.Marks {
		if b.CreateTxg > o.snap.CreateTxg {
			names = append(names, o.ds.Name+"#"+b.Name)
		}
	}
	return names
}

// resetTo makes the head what the snapshot is: it is read as it is now, so that only differences are written.
func (tx *txn) resetTo(d *dataset, s *snapshot) error {
	pack, err := tx.pack()
	if err != nil {
		return err
	}
	res, err := tx.s.Scan(tx.m.scanOptions(tx.p, d, tx.txg, pack))
	if cerr := pack.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	d.Tree, d.Hist = s.Tree, maps.Clone(s.Hist)
	tx.p.then(op{Do: opApply, ID: d.ID, From: res.Root, To: s.Tree, Txg: tx.txg})
	tx.p.Garbage = true
	return nil
}
