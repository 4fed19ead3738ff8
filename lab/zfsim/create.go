package zfsim

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/drover-project/drover/lab/zfsim/internal/store"
)

// parseOptions reads -o (and -O) property=value pairs. what begins the messages.
func (c *cli) parseOptions(opts []opt, letter byte, what string) (map[string]string, error) {
	props := map[string]string{}
	for _, o := range opts {
		if o.c != letter {
			continue
		}
		k, v, ok := strings.Cut(o.val, "=")
		if !ok {
			return nil, usageError("missing '=' for property=value argument")
		}
		if def := propOf(k); def != nil {
			k = def.name
		}
		if _, twice := props[k]; twice {
			return nil, usageError(fmt.Sprintf("property '%s' specified multiple times", k))
		}
		stored, err := c.m.parseProp(k, v)
		if err != nil {
			return nil, fmt.Errorf("%s%w", what, err)
		}
		props[k] = stored
	}
	return props, nil
}

func (c *cli) create(opts []opt, operands []string) error {
	f := flagsOf(opts)
	if len(operands) != 1 {
		return usageError("missing filesystem argument")
	}
	name := operands[0]
	what := fmt.Sprintf("cannot create '%s': ", name)
	if f.has('V') || f.has('s') {
		return errors.New(what + "volumes are not modelled by this stand-in")
	}
	if why := checkName(name, 0); why != "" {
		return errors.New(what + why)
	}
	props, err := c.parseOptions(opts, 'o', what)
	if err != nil {
		return err
	}
	err = c.update(poolOf(name), func(tx *txn) error { return tx.create(name, props, f) })
	if errors.Is(err, errNoPool) {
		return fmt.Errorf("%sno such pool '%s'", what, poolOf(name))
	}
	return wrapReason(what, err)
}

// printed marks an error whose text is already complete.
type printed struct{ error }

// wrapReason puts the beginning of a message before a bare reason.
func wrapReason(what string, err error) error {
	var done printed
	var code exit
	if err == nil || errors.As(err, &done) || errors.As(err, &code) {
		return err
	}
	return fmt.Errorf("%s%w", what, err)
}

var (
	errExists   = errors.New("dataset already exists")
	errNoParent = errors.New("parent does not exist")
	errBusy     = errors.New("dataset is busy")
)

func (tx *txn) create(name string, props map[string]string, f flagSet) error {
	if tx.p.find(name) != nil {
		if f.has('p') {
			return nil
		}
		return errExists
	}
	if tx.p.find(parentName(name)) == nil {
		if !f.has('p') {
			return errNoParent
		}
		if err := tx.create(parentName(name), nil, f); err != nil {
			return err
		}
	}
	if sp := tx.m.space(tx.p); sp.available(tx.p.find(parentName(name))) == 0 {
		return errNoSpace
	}
	d, err := tx.newDataset(name, props)
	if err != nil || f.has('u') {
		return err
	}
	return tx.automount(d)
}

// newDataset adds an empty file system and its head.
func (tx *txn) newDataset(name string, props map[string]string) (*dataset, error) {
	d := tx.record(name, props)
	if err := os.MkdirAll(tx.m.head(tx.p, d), 0o755); err != nil {
		return nil, err
	}
	pack, err := tx.pack()
	if err != nil {
		return nil, err
	}
	if err := tx.scanInto(d, pack); err != nil {
		return nil, err
	}
	return d, pack.Close()
}

// record adds a dataset without a head.
func (tx *txn) record(name string, props map[string]string) *dataset {
	tx.p.NextID++
	d := &dataset{Name: name, ID: tx.p.NextID, GUID: newGUID(), CreateTxg: tx.txg, Creation: time.Now().Unix(),
		Props: props, Hist: store.Hist{tx.txg: fsOverhead}}
	if d.Props == nil {
		d.Props = map[string]string{}
	}
	tx.p.add(d)
	return d
}

// pack opens the pack of this transaction for more blocks. What an earlier process left there and never committed is
// overwritten the first time.
func (tx *txn) pack() (*store.Pack, error) {
	if tx.wrote {
		return tx.s.Append(tx.txg)
	}
	tx.wrote = true
	return tx.s.Create(tx.txg, 0)
}

// scanInto brings a dataset's tree up to its head.
func (tx *txn) scanInto(d *dataset, pack *store.Pack) error {
	if d.Recv != nil && d.Recv.New {
		return nil
	}
	res, err := tx.s.Scan(tx.m.scanOptions(tx.p, d, tx.txg, pack))
	if err != nil {
		return err
	}
	d.Tree, d.Hist = res.Root, res.Hist
	return nil
}
