package zfsim

import (
	"errors"
	"fmt"

	"github.com/drover-project/drover/lab/zfsim/internal/stream"
)

// errIgnored: the snapshot is here already.
var errIgnored = errors.New("snapshot already exists")

func parentOrSelf(name string) string {
	if p := parentName(name); p != "" {
		return p
	}
	return name
}

// check says whether the stream may be received.
func (rv *receiving) check(tx *txn) error {
	d := tx.p.find(rv.target)
	switch {
	case rv.begin.Resuming():
		return rv.checkResume(tx, d)
	case rv.begin.FromGUID == 0:
		return rv.checkFull(tx, d)
	case d == nil:
		return fmt.Errorf("destination '%s' does not exist", rv.target)
	}
	return rv.checkIncrement(tx, d)
}

func (rv *receiving) checkFull(tx *txn, d *dataset) error {
	switch {
	case d == nil && tx.p.find(parentName(rv.target)) == nil:
		return printed{fmt.Errorf("cannot open '%s': %w\n%sunable to restore to destination", parentName(rv.target), errNotExist, rv.what)}
	case d == nil:
		return nil
	case !rv.f.has('F'):
		return fmt.Errorf("destination '%s' exists\nmust specify -F to overwrite it", rv.target)
	case d.Recv != nil:
		return rv.partlyThere()
	case len(d.Snaps) > 0:
		return fmt.Errorf("destination has snapshots (eg. %s@%s)\nmust destroy them to overwrite it", rv.target, d.Snaps[0].Name)
	}
	return errors.New("overwriting a file system with -F is not modelled by this stand-in: Drover never does it")
}

func (rv *receiving) partlyThere() error {
	return fmt.Errorf(`destination %s contains partially-complete state from "zfs receive -s".`, rv.target) //nolint:staticcheck // the words of OpenZFS
}

func (rv *receiving) checkResume(tx *txn, d *dataset) error {
	upgrade := errors.New("kernel modules must be upgraded to receive this stream.") //nolint:staticcheck // the words of OpenZFS
	if d == nil {
		return fmt.Errorf("destination '%s' does not exist", rv.target)
	}
	if d.Recv == nil || !d.Recv.Resumable || d.Recv.ToGUID != rv.begin.ToGUID || d.Recv.FromGUID != rv.begin.FromGUID {
		return upgrade
	}
	if tx.m.receiving(tx.p, d) {
		return rv.partlyThere()
	}
	if at := tx.m.progressOf(tx.p, d); at.Object != rv.begin.Object || at.Offset != rv.begin.Offset {
		return upgrade
	}
	return nil
}

func (rv *receiving) checkIncrement(tx *txn, d *dataset) error {
	switch {
	case d.Recv != nil && d.Recv.Resumable:
		return rv.partlyThere()
	case d.Recv != nil:
		return errBusy
	}
	if s := d.snap(rv.snap); s != nil {
		if s.GUID == rv.begin.ToGUID {
			return errIgnored
		}
		if rv.c.packed && !tx.m.old {
			return errIgnored // of several in one stream 2.3 looks at the name alone
		}
		rv.say("receiving")
		return printed{fmt.Errorf("cannot restore to %s@%s: destination already exists", rv.target, rv.snap)}
	}
	if !rv.f.has('n') {
		rv.say("receiving") // what follows is found by the kernel, after the announcement
	}
	base := d.snapByGUID(rv.begin.FromGUID)
	if base == nil {
		return rv.mismatch()
	}
	if d.Large && rv.begin.Features&stream.FeatureLargeBlocks == 0 {
		return errors.New("incremental send stream requires -L (--large-block), to match previous receive.") //nolint:staticcheck // the words of OpenZFS
	}
	if rv.f.has('F') {
		return rv.heldAfter(d, base)
	}
	return rv.checkUnmodified(tx, d, base)
}

func (rv *receiving) mismatch() error {
	return fmt.Errorf("most recent snapshot of %s does not\nmatch incremental source", rv.target)
}

func (rv *receiving) heldAfter(d *dataset, base *snapshot) error {
	for _, s := range d.Snaps {
		if s.CreateTxg > base.CreateTxg && len(s.Holds) > 0 {
			return errBusy
		}
	}
	return nil
}

// checkUnmodified looks at the head: nothing may differ from the base.
func (rv *receiving) checkUnmodified(tx *txn, d *dataset, base *snapshot) error {
	info, err := tx.m.rescan(tx.p, tx.s, d)
	if err != nil {
		return err
	}
	if info.Changed || d.Hist.Since(base.CreateTxg) > 0 {
		return fmt.Errorf("destination %s has been modified\nsince most recent snapshot", rv.target)
	}
	return nil
}

// checkEnd repeats the checks: somebody may have written or taken snapshots while the stream came.
func (rv *receiving) checkEnd(tx *txn, d *dataset) error {
	if rv.recv.New {
		return nil
	}
	if d.Tree != rv.base || d.last() == nil || d.last().GUID != rv.newest || d.snapByGUID(rv.recv.FromGUID) == nil {
		return fmt.Errorf("%w: %w", errDrop, rv.mismatch())
	}
	if err := rv.checkUnmodified(tx, d, d.snapByGUID(rv.recv.FromGUID)); err != nil {
		return err
	}
	return nil
}
