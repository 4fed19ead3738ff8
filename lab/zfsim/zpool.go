package zfsim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func zpoolCommands() map[string]command {
	return map[string]command{
		"version": {usage: "", run: (*cli).version, spec: "j"},
		"create":  {spec: "fndo:O:m:R:t:", usage: "[-fnd] [-o property=value] ... [-O file-system-property=value] ... [-m mountpoint] <pool> <vdev> ...", changes: true, run: (*cli).poolCreate},
		"destroy": {spec: "f", usage: "[-f] <pool>", changes: true, run: (*cli).poolDestroy},
		"list":    {spec: "gHLo:pPT:vj", long: jsonLong, usage: "[-gHLpPv] [-o property[,...]] [pool] ...", run: (*cli).poolList},
		"get":     {spec: "Hpo:j", long: jsonLong, usage: "[-Hp] [-o \"all\" | field[,...]] <\"all\" | property[,...]> <pool> ...", run: (*cli).poolGet},
		"set":     {spec: "", usage: "<property=value> <pool>", changes: true, run: (*cli).poolSet},
		"status":  {spec: "gLPvxDstT:cij", long: jsonLong, usage: "[-gLPvx] [pool] ...", run: (*cli).poolStatus},
		"export":  {spec: "fa", usage: "[-af] <pool> ...", changes: true, run: (*cli).poolExport},
		"import":  {spec: "d:aNfo:R:", usage: "[-d dir] [-N] [-o property=value] [pool | id]", changes: true, run: (*cli).poolImport},
		"sync":    {spec: "f", usage: "[pool] ...", run: (*cli).poolSync},
		"scrub":   {spec: "psw", usage: "<pool> ...", run: func(*cli, []opt, []string) error { return nil }},
		"wait":    {spec: "t:", usage: "<pool>", run: func(*cli, []opt, []string) error { return nil }},
	}
}

func (c *cli) poolCreate(opts []opt, args []string) error {
	if len(args) == 0 {
		return usageError("missing pool name argument")
	}
	if len(args) == 1 {
		return usageError("missing vdev specification")
	}
	name, file, f := args[0], args[1], flagsOf(opts)
	what := fmt.Sprintf("cannot create '%s': ", name)
	if strings.Contains(name, "/") || checkName(name, 0) != "" {
		return fmt.Errorf("%sinvalid character in pool name", what)
	}
	if len(args) > 2 {
		return errors.New(what + "this stand-in takes one plain file as the only device")
	}
	props, err := c.parseOptions(fsOptions(opts), 'O', what)
	if err != nil {
		return err
	}
	if f.has('m') {
		props["mountpoint"] = f['m']
	}
	p, err := c.m.newPool(name, file, poolProps(opts))
	if err != nil {
		return wrapReason(what, err)
	}
	return wrapReason(what, c.m.addPool(p, props))
}

// fsOptions leaves the options for the root file system.
func fsOptions(opts []opt) []opt {
	return slices.DeleteFunc(slices.Clone(opts), func(o opt) bool { return o.c != 'O' })
}

func poolProps(opts []opt) map[string]string {
	props := map[string]string{}
	for _, o := range opts {
		if k, v, ok := strings.Cut(o.val, "="); o.c == 'o' && ok {
			props[k] = v
		}
	}
	return props
}

const minVdev = 64 << 20

func (m *machine) newPool(name, file string, props map[string]string) (*pool, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, printed{fmt.Errorf("cannot resolve path '%s'", file)}
	case !st.Mode().IsRegular():
		return nil, printed{fmt.Errorf("cannot open '%s': no such device in /dev\nmust be a full path or shorthand device name", file)}
	case st.Size() < minVdev:
		return nil, errors.New("one or more devices is less than the minimum size (64M)")
	}
	return &pool{Name: name, GUID: newGUID(), Vdev: path, Size: vdevSize(uint64(st.Size())), Txg: 7, NextID: 53, Created: time.Now().Unix(),
		Props: props}, nil
}

// addPool makes the pool's folders and its root file system.
func (m *machine) addPool(p *pool, props map[string]string) error {
	lock, err := lockFile(m.lockPath(p.Name), syscall.LOCK_EX)
	if err != nil {
		return err
	}
	defer lock.Close() // closing unlocks
	if old, err := m.loadAny(p.Name); err == nil && !old.Exported {
		return errors.New("pool already exists")
	}
	for _, kind := range []string{"packs", "heads", "recv", "scans", "sends"} {
		if err := removeTree(m.path(kind, p.Name)); err != nil {
			return err
		}
		if err := os.MkdirAll(m.path(kind, p.Name), 0o755); err != nil {
			return err
		}
	}
	return m.change(p, func(tx *txn) error {
		d, err := tx.newDataset(p.Name, props)
		if err != nil {
			return err
		}
		return tx.automount(d)
	})
}

func (c *cli) poolDestroy(opts []opt, args []string) error {
	if len(args) != 1 {
		return usageError("missing pool argument")
	}
	name := args[0]
	err := c.update(name, func(tx *txn) error {
		if err := tx.unmount(tx.mountedBelow(tx.p.Datasets[0]), opRmdir); err != nil {
			return err
		}
		tx.p.Exported = true // from here on nobody sees it; the rest may be left to the next create
		return nil
	})
	if err != nil {
		return wrapPool(name, fmt.Sprintf("cannot destroy '%s': ", name), err)
	}
	for _, kind := range []string{"packs", "heads", "recv", "scans", "sends"} {
		if err := removeTree(c.m.path(kind, name)); err != nil {
			return err
		}
	}
	return os.Remove(c.m.statePath(name))
}

func wrapPool(name, what string, err error) error {
	if errors.Is(err, errNoPool) {
		return fmt.Errorf("cannot open '%s': %w", name, err)
	}
	return wrapReason(what, err)
}

// somePools returns the pools named, or all; what is missing is reported by miss.
func (c *cli) somePools(names []string, miss func(name string)) ([]*pool, error) {
	if len(names) == 0 {
		return c.m.pools()
	}
	var ps []*pool
	for _, n := range names {
		p, err := c.m.load(n)
		if errors.Is(err, errNoPool) {
			miss(n)
			continue
		}
		if err != nil {
			return nil, err
		}
		ps = append(ps, p)
	}
	return ps, nil
}

func (c *cli) missingPool(name string) { c.say("cannot open '%s': no such pool", name) }

func (c *cli) poolList(opts []opt, names []string) error {
	f := flagsOf(opts)
	if f.has('j') {
		return errJSON
	}
	cols := []string{"name", "size", "allocated", "free", "checkpoint", "expandsize", "fragmentation", "capacity", "dedupratio", "health", "altroot"}
	if f.has('o') {
		cols = strings.Split(f['o'], ",")
	}
	head := make([]string, len(cols))
	for i, col := range cols {
		full, ok := poolPropName(col)
		if !ok {
			return badPropList(col)
		}
		cols[i], head[i] = full, strings.ToUpper(full)
		if h := poolColumns[full]; h != "" {
			head[i] = h
		}
	}
	ps, err := c.somePools(names, c.missingPool)
	if err != nil {
		return err
	}
	if len(ps) == 0 && c.rc == 0 && !f.has('H') {
		c.printf("no pools available\n")
		return nil
	}
	return c.poolTable(ps, cols, head, f)
}

func (c *cli) poolTable(ps []*pool, cols, head []string, f flagSet) error {
	var rows [][]string
	if !f.has('H') && len(ps) > 0 {
		rows = append(rows, head)
	}
	for _, p := range ps {
		if err := c.m.refresh(p, scanAge); err != nil {
			return err
		}
		sp, row := c.m.space(p), make([]string, len(cols))
		for i, col := range cols {
			row[i] = showPool(col, c.poolValue(p, sp, col), f.has('p'))
		}
		rows = append(rows, row)
	}
	c.rows(rows, f.has('H'), func(i int) (int, bool) {
		return 5, !slices.Contains([]string{"name", "health", "altroot", "guid"}, cols[i])
	})
	return nil
}

func (c *cli) poolStatus(opts []opt, names []string) error {
	f := flagsOf(opts)
	if f.has('j') {
		return errJSON
	}
	ps, err := c.somePools(names, c.missingPool)
	if err != nil {
		return err
	}
	if f.has('x') && len(names) == 0 {
		c.printf("all pools are healthy\n")
		return nil
	}
	for _, p := range ps {
		if f.has('x') {
			c.printf("pool '%s' is healthy\n", p.Name)
			continue
		}
		c.printf("  pool: %s\n state: ONLINE\nconfig:\n\n\tNAME        STATE     READ WRITE CKSUM\n", p.Name)
		c.printf("\t%-10s  ONLINE       0     0     0\n\t  %-8s  ONLINE       0     0     0\n\nerrors: No known data errors\n", p.Name, p.Vdev)
	}
	return nil
}

func (c *cli) poolExport(opts []opt, names []string) error {
	if len(names) == 0 && !flagsOf(opts).has('a') {
		return usageError("missing pool argument")
	}
	for _, n := range names {
		err := c.m.update(n, func(tx *txn) error {
			if tx.streaming() {
				return errors.New("pool is busy")
			}
			if err := tx.unmount(tx.mountedBelow(tx.p.Datasets[0]), opUnlink); err != nil {
				return err
			}
			tx.p.Exported, tx.p.ReadOnly = true, false
			return nil
		})
		if err := wrapPool(n, fmt.Sprintf("cannot export '%s': ", n), err); err != nil {
			c.say("%v", err)
		}
	}
	return nil
}

// streaming reports whether something is sent from or received into the pool.
func (tx *txn) streaming() bool {
	for _, d := range tx.p.Datasets {
		if d.Recv != nil && tx.m.receiving(tx.p, d) || slices.ContainsFunc(d.Snaps, func(s *snapshot) bool { return tx.m.beingSent(tx.p, s) }) {
			return true
		}
	}
	return false
}

func (c *cli) poolImport(opts []opt, args []string) error {
	f := flagsOf(opts)
	names, err := c.m.poolNames()
	if err != nil {
		return err
	}
	var found []*pool
	for _, n := range names {
		p, err := c.m.loadAny(n)
		if err != nil {
			return err
		}
		if p.Exported && (!f.has('d') || sameFolder(f['d'], p.Vdev)) {
			found = append(found, p)
		}
	}
	if len(args) == 0 && !f.has('a') {
		c.showImportable(found)
		return nil
	}
	for _, p := range found {
		if len(args) == 0 || args[0] == p.Name || args[0] == strconv.FormatUint(p.GUID, 10) {
			if err := c.importPool(p.Name, f); err != nil || len(args) > 0 {
				return err
			}
		}
	}
	if len(args) > 0 {
		if _, err := c.m.load(args[0]); err == nil {
			return fmt.Errorf("cannot import '%s': a pool with that name already exists\nuse the form 'zpool import <pool | id> <newpool>' to give it a new name", args[0])
		}
		return fmt.Errorf("cannot import '%s': no such pool available", args[0])
	}
	return nil
}

func sameFolder(dir, file string) bool {
	a, err1 := filepath.EvalSymlinks(dir)
	b, err2 := filepath.EvalSymlinks(filepath.Dir(file))
	return err1 == nil && err2 == nil && a == b
}

func (c *cli) showImportable(ps []*pool) {
	pad := ""
	if c.m.old {
		pad = " "
	}
	for _, p := range ps {
		c.printf("%s  pool: %s\n%s    id: %d\n%s state: ONLINE\n%saction: The pool can be imported using its name or numeric identifier.\n%sconfig:\n\n",
			pad, p.Name, pad, p.GUID, pad, pad, pad)
		c.printf("\t%-10s  ONLINE\n\t  %-8s  ONLINE\n", p.Name, p.Vdev)
	}
	if len(ps) == 0 {
		fmt.Fprintln(c.err, "no pools available to import")
	}
}

// importPool brings an exported pool back and, without -N, mounts what mounts by itself.
func (c *cli) importPool(name string, f flagSet) error {
	lock, err := lockFile(c.m.lockPath(name), syscall.LOCK_EX)
	if err != nil {
		return err
	}
	defer lock.Close() // closing unlocks
	p, err := c.m.loadAny(name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(p.Vdev); err != nil {
		return fmt.Errorf("cannot import '%s': no such pool available", name)
	}
	return c.m.change(p, func(tx *txn) error {
		p.Exported, p.ReadOnly = false, f['o'] == "readonly=on"
		if f.has('N') {
			return nil
		}
		for _, d := range p.Datasets {
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

// poolSync looks at every head, so that the figures are those of this moment.
func (c *cli) poolSync(_ []opt, names []string) error {
	ps, err := c.somePools(names, c.missingPool)
	if err != nil {
		return err
	}
	for _, p := range ps {
		s := c.m.store(p)
		for _, d := range p.Datasets {
			if _, err := c.m.rescan(p, s, d); err != nil {
				return fmt.Errorf("cannot sync '%s': %w", p.Name, err)
			}
		}
		s.Close()
	}
	return nil
}
