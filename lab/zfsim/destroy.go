package zfsim

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
)

func (c *cli) destroy(opts []opt, operands []string) error {
	if len(operands) != 1 {
		return usageError("missing dataset argument")
	}
	f, name := flagsOf(opts), operands[0]
	switch {
	case strings.Contains(name, "@"):
		return c.destroySnaps(name, f)
	case strings.Contains(name, "#"):
		return c.destroyMark(name, f)
	}
	return c.destroyTree(name, f)
}

func (c *cli) destroyMark(name string, f flagSet) error {
	if f.has('n') || f.has('d') || f.has('r') || f.has('R') {
		c.say("-n, -d, -r and -R do not apply to bookmarks")
		return exit(255)
	}
	err := c.update(poolOf(name), func(tx *txn) error {
		o := lookup(tx.p, name)
		if o.mark == nil {
			return printed{fmt.Errorf("bookmark '%s' does not exist.", name)} //nolint:staticcheck // the words of OpenZFS
		}
		o.ds.Marks = slices.DeleteFunc(o.ds.Marks, func(b *bookmark) bool { return b == o.mark })
		return nil
	})
	return wrapReason(fmt.Sprintf("cannot destroy '%s': ", name), err)
}

// view runs fn on a pool without changing it.
func (c *cli) view(pool string, fn func(*txn) error) error {
	p, err := c.m.load(pool)
	if err != nil {
		return err
	}
	tx := &txn{m: c.m, p: p, s: c.m.store(p), txg: p.Txg + 1}
	defer tx.s.Close()
	return fn(tx)
}

// maybe runs fn as a change, or with -n only to see.
func (c *cli) maybe(f flagSet, pool string, fn func(*txn) error) error {
	if f.has('n') {
		return c.view(pool, fn)
	}
	return c.update(pool, fn)
}

func (c *cli) destroySnaps(name string, f flagSet) error {
	base, spec, _ := strings.Cut(name, "@")
	if _, err := c.open(base, false); err != nil {
		return err
	}
	err := c.maybe(f, poolOf(name), func(tx *txn) error {
		d := tx.p.find(base)
		if d == nil {
			return cannotOpen(base, errNotExist)
		}
		victims := tx.matchSnaps(d, spec, f.has('r') || f.has('R'))
		if len(victims) == 0 {
			return errors.New("could not find any snapshots to destroy; check snapshot names.") //nolint:staticcheck // the words of OpenZFS
		}
		for _, v := range victims {
			c.reportDestroy(v.name(), f)
		}
		if err := tx.checkClones(victims, f); err != nil {
			return err
		}
		c.reportReclaim(tx, victims, f)
		if f.has('n') {
			return nil
		}
		if f.has('R') {
			return tx.dropWithClones(victims)
		}
		return tx.dropSnaps(victims, f.has('d'))
	})
	return destroyReason(err)
}

// matchSnaps resolves "a,b", "a%c" and "%" to snapshots of d, and with recursive of all below it.
func (tx *txn) matchSnaps(d *dataset, spec string, recursive bool) []object {
	ds := []*dataset{d}
	if recursive {
		ds = tx.p.tree(d)
	}
	var out []object
	for _, x := range ds {
		for part := range strings.SplitSeq(spec, ",") {
			for _, s := range x.rangeOf(part) {
				o := object{p: tx.p, ds: x, snap: s}
				if !slices.Contains(out, o) {
					out = append(out, o)
				}
			}
		}
	}
	return out
}

func (d *dataset) rangeOf(part string) []*snapshot {
	first, last, ranged := strings.Cut(part, "%")
	if !ranged {
		if s := d.snap(part); s != nil {
			return []*snapshot{s}
		}
		return nil
	}
	from, to := 0, len(d.Snaps)-1
	if first != "" {
		from = slices.IndexFunc(d.Snaps, func(s *snapshot) bool { return s.Name == first })
	}
	if last != "" {
		to = slices.IndexFunc(d.Snaps, func(s *snapshot) bool { return s.Name == last })
	}
	if from < 0 || to < from {
		return nil
	}
	return d.Snaps[from : to+1]
}

// dependents names what hangs on a snapshot: clones, and a half-received increment.
func (tx *txn) dependents(o object) []string {
	var names []string
	for _, x := range tx.p.clones(o.ds, o.snap) {
		names = append(names, x.Name)
	}
	if r := o.ds.Recv; r != nil && !r.New && r.FromGUID == o.snap.GUID {
		names = append(names, o.ds.Name+"/%recv")
	}
	return names
}

func (tx *txn) checkClones(victims []object, f flagSet) error {
	if f.has('d') || f.has('R') {
		return nil
	}
	for _, v := range victims {
		if deps := tx.dependents(v); len(deps) > 0 {
			return fmt.Errorf("cannot destroy '%s': snapshot has dependent clones\nuse '-R' to destroy the following datasets:\n%s",
				v.name(), strings.Join(deps, "\n"))
		}
	}
	return nil
}

// destroyReason says of a pool that takes no change what was tried.
func destroyReason(err error) error {
	if errors.Is(err, errReadOnly) {
		return fmt.Errorf("cannot destroy snapshots: %w", err)
	}
	return err
}

func (c *cli) reportReclaim(tx *txn, victims []object, f flagSet) {
	if !f.has('v') && !f.has('n') {
		return
	}
	if n := tx.reclaim(victims); f.has('p') {
		c.printf("reclaim\t%d\n", n)
	} else if f.has('v') {
		c.printf("%s reclaim %s\n", would(f), nice(n))
	}
}

func would(f flagSet) string {
	if f.has('n') {
		return "would"
	}
	return "will"
}

func (c *cli) reportDestroy(name string, f flagSet) {
	switch {
	case !f.has('v'):
	case f.has('p'):
		c.printf("destroy\t%s\n", name)
	default:
		c.printf("%s destroy %s\n", would(f), name)
	}
}

// reclaim is what destroying these snapshots together would free.
func (tx *txn) reclaim(victims []object) uint64 {
	var n uint64
	done := map[*dataset]bool{}
	for _, v := range victims {
		if done[v.ds] {
			continue
		}
		done[v.ds] = true
		left := *v.ds
		left.Snaps = slices.DeleteFunc(slices.Clone(v.ds.Snaps), func(s *snapshot) bool {
			return slices.ContainsFunc(victims, func(o object) bool { return o.snap == s })
		})
		sp := tx.m.space(tx.p)
		sp.hists[&left] = sp.hists[v.ds]
		n += minus(sp.bySnapshots(v.ds), sp.bySnapshots(&left))
	}
	return n
}

// dropSnaps destroys all or none. With deferred, what is held goes at its last release.
func (tx *txn) dropSnaps(victims []object, deferred bool) error {
	for _, v := range victims {
		if why := tx.snapBusy(v); why != "" && !deferred {
			return fmt.Errorf("cannot destroy snapshot %s: %s", v.name(), why)
		}
	}
	for _, v := range victims {
		if tx.snapBusy(v) != "" {
			v.snap.Defer = true
			continue
		}
		tx.dropSnap(v.ds, v.snap)
	}
	return nil
}

func (tx *txn) snapBusy(v object) string {
	switch {
	case len(v.snap.Holds) > 0 && tx.m.old:
		return "dataset is busy"
	case len(v.snap.Holds) > 0:
		return fmt.Sprintf("it's being held. Run 'zfs holds -r %s' to see holders.", v.name())
	case tx.m.beingSent(tx.p, v.snap):
		return "dataset is busy"
	case len(tx.dependents(v)) > 0:
		return "snapshot is cloned"
	}
	return ""
}

func (tx *txn) dropSnap(d *dataset, s *snapshot) {
	d.Snaps = slices.DeleteFunc(d.Snaps, func(x *snapshot) bool { return x == s })
	tx.p.Garbage = true
}

func (c *cli) destroyTree(name string, f flagSet) error {
	if _, err := c.open(name, false); err != nil {
		return err
	}
	// As OpenZFS does, the snapshots go in a step of their own, before the file systems are unmounted.
	if f.has('R') {
		f['r'] = ""
	}
	err := c.maybe(f, poolOf(name), func(tx *txn) error { return c.destroyAllSnaps(tx, name, f) })
	if err == nil && !f.has('n') {
		err = c.update(poolOf(name), func(tx *txn) error { return tx.destroyFilesystems(name) })
	}
	return destroyReason(wrapReason("", err))
}

func (c *cli) destroyAllSnaps(tx *txn, name string, f flagSet) error {
	d := tx.p.find(name)
	if d == nil {
		return cannotOpen(name, errNotExist)
	}
	if err := tx.destroyRefusal(d, f); err != nil {
		return err
	}
	var victims []object
	for _, x := range tx.p.tree(d) {
		for _, s := range x.Snaps {
			victims = append(victims, object{p: tx.p, ds: x, snap: s})
		}
	}
	for _, x := range tx.p.tree(d) {
		for _, s := range x.Snaps {
			c.reportDestroy(x.Name+"@"+s.Name, f)
		}
		c.reportDestroy(x.Name, f)
	}
	if f.has('n') {
		return nil
	}
	if f.has('R') {
		return tx.dropWithClones(victims)
	}
	return tx.dropAll(victims)
}

// dropAll destroys the snapshots of whole trees; clones within the tree go with it.
func (tx *txn) dropAll(victims []object) error {
	for _, v := range victims {
		if len(v.snap.Holds) > 0 || tx.m.beingSent(tx.p, v.snap) {
			return fmt.Errorf("cannot destroy snapshot %s: %s", v.name(), tx.snapBusy(v))
		}
	}
	for _, v := range victims {
		tx.dropSnap(v.ds, v.snap)
	}
	return nil
}

func (tx *txn) destroyRefusal(d *dataset, f flagSet) error {
	if d.Recv != nil && tx.m.receiving(tx.p, d) {
		return fmt.Errorf("cannot destroy '%s': %w", d.Name, errBusy)
	}
	if parentName(d.Name) == "" && !f.has('r') {
		return fmt.Errorf("cannot destroy '%s': operation does not apply to pools\nuse 'zfs destroy -r %s' to destroy all datasets in the pool\nuse 'zpool destroy %s' to destroy the pool itself",
			d.Name, d.Name, d.Name)
	}
	var below, clones []string
	if d.Recv != nil && !d.Recv.New {
		below = append(below, d.Name+"/%recv")
	}
	for _, x := range tx.p.tree(d) {
		for _, s := range x.Snaps {
			if x == d || !f.has('r') {
				below = append(below, x.Name+"@"+s.Name)
			}
			for _, cl := range tx.p.clones(x, s) {
				if cl != d && !strings.HasPrefix(cl.Name, d.Name+"/") {
					clones = append(clones, cl.Name)
				}
			}
		}
		if x != d {
			below = append(below, x.Name)
		}
	}
	switch {
	case !f.has('r') && len(below) > 0:
		return fmt.Errorf("cannot destroy '%s': filesystem has children\nuse '-r' to destroy the following datasets:\n%s", d.Name, strings.Join(below, "\n"))
	case len(clones) > 0 && !f.has('R'):
		return fmt.Errorf("cannot destroy '%s': filesystem has dependent clones\nuse '-R' to destroy the following datasets:\n%s", d.Name, strings.Join(clones, "\n"))
	}
	return nil
}

func (tx *txn) destroyFilesystems(name string) error {
	d := tx.p.find(name)
	if d == nil {
		return cannotOpen(name, errNotExist)
	}
	if err := tx.unmount(tx.mountedBelow(d), opRmdir); err != nil {
		return err
	}
	for _, x := range slices.Backward(tx.p.tree(d)) {
		if len(x.Snaps) > 0 {
			return fmt.Errorf("cannot destroy '%s': %w", x.Name, errBusy) // somebody was quicker
		}
		if parentName(x.Name) == "" {
			continue // the root of a pool stays
		}
		tx.removeDataset(x)
	}
	return nil
}

func (tx *txn) removeDataset(d *dataset) {
	if d.Recv != nil {
		tx.p.then(op{Do: opNoRecv, ID: d.ID})
		tx.p.then(op{Do: opNoPack, Txg: d.Recv.Txg})
	}
	tx.p.remove(d)
	if o := tx.p.originSnap(d); o.snap != nil && o.snap.Defer && len(o.snap.Holds) == 0 && len(tx.p.clones(o.ds, o.snap)) == 0 {
		tx.dropSnap(o.ds, o.snap) // it was to go with its last clone
	}
	tx.p.then(op{Do: opNoHead, ID: d.ID})
	tx.p.Garbage = true
	os.Remove(tx.m.scanPath(tx.p, d)) // figures only; a leftover refers to a tree that nobody has
}

// beingSent reports whether a running send reads the snapshot.
func (m *machine) beingSent(p *pool, s *snapshot) bool {
	names, err := os.ReadDir(m.path("sends", p.Name))
	if err != nil {
		return false // the folder comes with the first send
	}
	for _, n := range names {
		guid, _, _ := strings.Cut(n.Name(), "-")
		if guid == fmt.Sprint(s.GUID) && m.sendAlive(p, n.Name()) {
			return true
		}
	}
	return false
}

// sendAlive tells by its lock whether the send that made the file still runs; otherwise the file is removed.
func (m *machine) sendAlive(p *pool, name string) bool {
	path := m.path("sends", p.Name, name)
	f, err := lockFile(path, syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		return true
	}
	defer f.Close()
	os.Remove(path) // its send is dead; whoever comes first removes it
	return false
}

// dropWithClones destroys snapshots and, before them, all that was cloned from them.
func (tx *txn) dropWithClones(victims []object) error {
	for _, v := range victims {
		for _, clone := range tx.p.clones(v.ds, v.snap) {
			if err := tx.destroyWithClones(clone); err != nil {
				return err
			}
		}
	}
	return tx.dropAll(victims)
}

// destroyWithClones destroys a tree and, before it, all that was cloned from its snapshots.
func (tx *txn) destroyWithClones(d *dataset) error {
	var victims []object
	for _, x := range tx.p.tree(d) {
		for _, s := range x.Snaps {
			victims = append(victims, object{p: tx.p, ds: x, snap: s})
		}
	}
	if err := tx.dropWithClones(victims); err != nil {
		return err
	}
	return tx.destroyFilesystems(d.Name)
}
