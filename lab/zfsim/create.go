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
	switch {
	case len(operands) == 0:
		return usageError("missing filesystem argument")
	case len(operands) > 1:
		return usageError("too many arguments")
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
		return plainly(err)
	}
	if f.has('v') || f.has('P') {
		c.reportCreate(name, f)
	}
	if f.has('n') {
		return nil
	}
	err = c.update(poolOf(name), func(tx *txn) error { return tx.create(name, props, f) })
	if errors.Is(err, errNoPool) {
		return fmt.Errorf("%sno such pool '%s'", what, poolOf(name))
	}
	if err != nil || f.has('u') {
		return wrapReason(what, err)
	}
	return c.mountNew(name)
}

// mountNew mounts what was just created. Creating is done by then, and stays.
func (c *cli) mountNew(name string) error {
	err := c.update(poolOf(name), func(tx *txn) error {
		if d := tx.p.find(name); d != nil {
			return tx.automount(d)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w\nfilesystem successfully created, but not mounted", err)
	}
	return nil
}

// plainly makes an error of wrong use one that shows no usage text.
func plainly(err error) error {
	var usage usageError
	if errors.As(err, &usage) {
		return errors.New(string(usage))
	}
	return err
}

func (c *cli) reportCreate(name string, f flagSet) {
	switch {
	case f.has('P'):
		c.printf("create\t%s\n", name)
	case f.has('n'):
		c.printf("would create %s\n", name)
	default:
		c.printf("create %s\n", name)
	}
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
		if err := tx.createParent(name, f); err != nil {
			return err
		}
	}
	// A quota binds the file system's own first blocks too.
	quota := number(props["quota"])
	if sp := tx.m.space(tx.p); sp.available(tx.p.find(parentName(name))) == 0 || quota > 0 && quota < fsOverhead {
		return errNoSpace
	}
	_, err := tx.newDataset(name, props)
	return err
}

// createParent creates and mounts the parent of a dataset to be, and its parents.
func (tx *txn) createParent(name string, f flagSet) error {
	if err := tx.create(parentName(name), nil, f); err != nil {
		return err
	}
	return tx.automount(tx.p.find(parentName(name)))
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
