package zfsim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

func (c *cli) snapshot(opts []opt, names []string) error {
	if len(names) == 0 {
		return usageError("missing snapshot argument")
	}
	props, err := c.parseOptions(opts, 'o', "cannot create snapshots : ")
	if err != nil {
		return err
	}
	for name := range props {
		if propOf(name) != nil {
			return errors.New("cannot create snapshots : this property can not be modified for snapshots")
		}
	}
	recursive := flagsOf(opts).has('r')
	for _, n := range names {
		if err := c.checkSnapName(n); err != nil {
			return err
		}
	}
	pool := poolOf(names[0])
	for _, n := range names {
		if poolOf(n) != pool {
			return errors.New("cannot create snapshots : multiple snapshots must be in the same pool\nno snapshots were created")
		}
	}
	err = c.update(pool, func(tx *txn) error { return tx.snapshots(names, props, recursive) })
	if err != nil && (len(names) > 1 || recursive) {
		err = fmt.Errorf("%w\nno snapshots were created", err)
	}
	return wrapReason("cannot create snapshots : ", snapReason(err))
}

// snapReason passes on messages that are complete.
func snapReason(err error) error {
	if err != nil && strings.HasPrefix(err.Error(), "cannot create snapshot") {
		return printed{err}
	}
	return err
}

// checkSnapName opens the file system of a snapshot to be. A failure shows the usage, as OpenZFS does.
func (c *cli) checkSnapName(n string) error {
	ds, _, ok := strings.Cut(n, "@")
	if !ok {
		return usageError(fmt.Sprintf("'%s' is not a snapshot", n)) // OpenZFS words it differently per version
	}
	if _, err := c.open(ds, false); err != nil {
		return usageError(err.Error())
	}
	if why := checkName(n, '@'); why != "" {
		return fmt.Errorf("cannot create snapshot '%s': %s", n, why)
	}
	return nil
}

func (tx *txn) snapshots(names []string, props map[string]string, recursive bool) error {
	targets, err := tx.targets(names, recursive)
	if err != nil {
		return err
	}
	if err := tx.roomForSnapshots(targets); err != nil {
		return err
	}
	pack, err := tx.pack()
	if err != nil {
		return err
	}
	for _, t := range targets {
		if err := tx.scanInto(t.ds, pack); err != nil {
			return err
		}
		tx.addSnapshot(t.ds, t.snap.Name, newGUID(), time.Now().Unix(), props)
	}
	if err := pack.Close(); err != nil {
		return err
	}
	for _, t := range targets {
		if err := tx.m.noteScan(tx.p, t.ds); err != nil {
			return err
		}
	}
	return tx.checkFull()
}

// addSnapshot makes a snapshot of the dataset's tree.
func (tx *txn) addSnapshot(d *dataset, name string, guid uint64, creation int64, props map[string]string) {
	d.Snaps = append(d.Snaps, &snapshot{Name: name, GUID: guid, CreateTxg: tx.txg, Creation: creation,
		Props: maps.Clone(props), Tree: d.Tree, Hist: d.Hist})
}

// noteScan records that the head was just found to be as its tree says.
func (m *machine) noteScan(p *pool, d *dataset) error {
	return m.saveScan(p, d, &scanInfo{Base: d.Tree, Hist: d.Hist, At: time.Now()})
}

func (tx *txn) targets(names []string, recursive bool) ([]object, error) {
	var ts []object
	seen := map[*dataset]bool{}
	for _, n := range names {
		ds, snap, _ := strings.Cut(n, "@")
		d := tx.p.find(ds)
		if d == nil {
			return nil, printed{cannotOpen(ds, errNotExist)}
		}
		all := []*dataset{d}
		if recursive {
			all = tx.p.tree(d)
		}
		for _, x := range all {
			if seen[x] {
				return nil, errors.New("multiple snapshots of same fs not allowed")
			}
			seen[x] = true
			if recursive && x.Recv != nil && x.Recv.New {
				continue
			}
			if err := tx.snapRefusal(x, snap); err != nil {
				return nil, err
			}
			ts = append(ts, object{p: tx.p, ds: x, snap: &snapshot{Name: snap}})
		}
	}
	return ts, nil
}

func (tx *txn) snapRefusal(d *dataset, snap string) error {
	what := fmt.Sprintf("cannot create snapshot '%s@%s': ", d.Name, snap)
	if d.snap(snap) != nil {
		return errors.New(what + errExists.Error())
	}
	if d.Recv != nil && d.Recv.New {
		return errors.New(what + errBusy.Error())
	}
	return nil
}

func (tx *txn) roomForSnapshots(targets []object) error {
	sp := tx.m.space(tx.p)
	for _, t := range targets {
		if sp.available(t.ds) == 0 {
			return errNoSpace
		}
	}
	return nil
}

// checkFull refuses a change that would need more than the pool has. Applications could write it, since their files
// lie in plain directories; here it comes out.
func (tx *txn) checkFull() error {
	if tx.m.space(tx.p).allocated() > tx.p.Size {
		return errNoSpace
	}
	return nil
}

func (c *cli) bookmark(_ []opt, args []string) error {
	if len(args) != 2 {
		return usageError("missing bookmark argument")
	}
	from, to := args[0], args[1]
	if base, _, _ := cutAny(to); strings.HasPrefix(from, "@") || strings.HasPrefix(from, "#") {
		from = base + from
	} else if b, _, _ := cutAny(from); strings.HasPrefix(to, "#") {
		to = b + to
	}
	o, err := c.open(from, true)
	if err != nil {
		return usageError(err.Error())
	}
	what := fmt.Sprintf("cannot create bookmark '%s': ", to)
	if why := checkName(to, '#'); why != "" {
		return errors.New(what + why)
	}
	err = c.update(o.p.Name, func(tx *txn) error { return tx.bookmark(from, to) })
	return wrapReason(what, err)
}

func (tx *txn) bookmark(from, to string) error {
	o := lookup(tx.p, from)
	base, name, _ := cutAny(to)
	switch {
	case o.ds == nil:
		return printed{cannotOpen(from, errNotExist)}
	case base != o.ds.Name:
		return errors.New("bookmark not supported for this datatype")
	case o.ds.mark(name) != nil:
		return errors.New("bookmark exists")
	case tx.m.space(tx.p).available(o.ds) == 0:
		return errNoSpace
	}
	b := &bookmark{Name: name, GUID: o.guid(), CreateTxg: o.createTxg(), Creation: o.creation()}
	if o.snap != nil {
		b.Referenced = o.snap.Hist.Total()
	} else if o.mark != nil {
		b.Referenced = o.mark.Referenced
	}
	o.ds.Marks = append(o.ds.Marks, b)
	return nil
}

func (c *cli) hold(opts []opt, args []string) error {
	return c.eachSnap(opts, args, func(tx *txn, o object, tag string) error {
		if _, ok := o.snap.Holds[tag]; ok {
			return errors.New("tag already exists on this dataset")
		}
		if o.snap.Holds == nil {
			o.snap.Holds = map[string]int64{}
		}
		o.snap.Holds[tag] = time.Now().Unix()
		return nil
	}, "cannot hold snapshot '%s': ")
}

func (c *cli) release(opts []opt, args []string) error {
	return c.eachSnap(opts, args, func(tx *txn, o object, tag string) error {
		if _, ok := o.snap.Holds[tag]; !ok {
			return errors.New("no such tag on this dataset")
		}
		delete(o.snap.Holds, tag)
		if o.snap.Defer && len(o.snap.Holds) == 0 && len(tx.p.clones(o.ds, o.snap)) == 0 {
			tx.dropSnap(o.ds, o.snap)
		}
		return nil
	}, "cannot release hold from snapshot '%s': ")
}

// eachSnap runs fn for each snapshot named, or with -r for those of the same name below, all in one step.
func (c *cli) eachSnap(opts []opt, args []string, fn func(*txn, object, string) error, what string) error {
	if len(args) < 2 {
		return usageError("missing snapshot argument")
	}
	tag := args[0]
	if strings.HasPrefix(tag, ".") {
		return usageError("tag may not start with '.'")
	}
	if len(tag) > 255 {
		return errors.New("tag too long")
	}
	for _, name := range args[1:] {
		if !strings.Contains(name, "@") {
			c.say("'%s' is not a snapshot", name)
			continue
		}
		err := c.update(poolOf(name), func(tx *txn) error {
			return tx.snapsNamed(name, flagsOf(opts).has('r'), func(o object) error { return fn(tx, o, tag) })
		})
		if errors.Is(err, errNoPool) {
			err = errNotExist
		}
		if errors.Is(err, errReadOnly) {
			return fmt.Errorf("cannot %s: %w", c.name, err)
		}
		if err = wrapReason(fmt.Sprintf(what, name), err); err != nil {
			c.say("%v", err)
		}
	}
	return nil
}

func (tx *txn) snapsNamed(name string, recursive bool, fn func(object) error) error {
	base, snap, _ := strings.Cut(name, "@")
	d := tx.p.find(base)
	if d == nil || d.snap(snap) == nil && !recursive {
		return errNotExist
	}
	ds := []*dataset{d}
	if recursive {
		ds = tx.p.tree(d)
	}
	for _, x := range ds {
		if s := x.snap(snap); s != nil {
			if err := fn(object{p: tx.p, ds: x, snap: s}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *cli) holds(opts []opt, names []string) error {
	f := flagsOf(opts)
	if c.m.old && f.has('p') {
		return usageError("invalid option 'p'")
	}
	if len(names) == 0 {
		return usageError("missing snapshot argument")
	}
	var rows [][]string
	if !f.has('H') {
		rows = append(rows, []string{"NAME", "TAG", "TIMESTAMP"})
	}
	for _, n := range names {
		rows = append(rows, c.holdRows(n, f)...)
	}
	if len(rows) > 1 || f.has('H') {
		c.rows(rows, f.has('H'), func(int) (int, bool) { return 0, false })
	}
	if c.rc != 0 && (len(rows) == 0 || len(rows) == 1 && !f.has('H')) {
		fmt.Fprintln(c.err, "no datasets available")
	}
	return nil
}

func (c *cli) holdRows(name string, f flagSet) [][]string {
	if !strings.Contains(name, "@") {
		c.say("'%s' is not a snapshot", name)
		return nil
	}
	o, err := c.open(name, false)
	if err != nil {
		c.say("%v", err)
		return nil
	}
	ds := []*dataset{o.ds}
	if f.has('r') {
		ds = o.p.tree(o.ds)
	}
	var rows [][]string
	for _, d := range ds {
		s := d.snap(o.snap.Name)
		if s == nil {
			continue
		}
		for _, tag := range slices.Sorted(maps.Keys(s.Holds)) {
			at := time.Unix(s.Holds[tag], 0).Format("Mon Jan _2 15:04 2006")
			if f.has('p') {
				at = fmt.Sprint(s.Holds[tag])
			}
			rows = append(rows, []string{d.Name + "@" + s.Name, tag, at})
		}
	}
	return rows
}
