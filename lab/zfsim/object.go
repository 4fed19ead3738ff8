package zfsim

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// object is a file system, snapshot or bookmark.
type object struct {
	p    *pool
	ds   *dataset
	snap *snapshot
	mark *bookmark
}

func (o object) name() string {
	switch {
	case o.snap != nil:
		return o.ds.Name + "@" + o.snap.Name
	case o.mark != nil:
		return o.ds.Name + "#" + o.mark.Name
	}
	return o.ds.Name
}

func (o object) kind() byte {
	switch {
	case o.snap != nil:
		return 's'
	case o.mark != nil:
		return 'b'
	}
	return 'f'
}

func (o object) typeName() string {
	return map[byte]string{'f': "filesystem", 's': "snapshot", 'b': "bookmark"}[o.kind()]
}

func (o object) createTxg() uint64 {
	switch {
	case o.snap != nil:
		return o.snap.CreateTxg
	case o.mark != nil:
		return o.mark.CreateTxg
	}
	return o.ds.CreateTxg
}

func (o object) creation() int64 {
	switch {
	case o.snap != nil:
		return o.snap.Creation
	case o.mark != nil:
		return o.mark.Creation
	}
	return o.ds.Creation
}

func (o object) guid() uint64 {
	switch {
	case o.snap != nil:
		return o.snap.GUID
	case o.mark != nil:
		return o.mark.GUID
	}
	return o.ds.GUID
}

func compareObjects(a, b object) int {
	return cmp.Or(strings.Compare(a.ds.Name, b.ds.Name), int(rankOf(a)-rankOf(b)), cmp.Compare(a.createTxg(), b.createTxg()),
		strings.Compare(a.name(), b.name()))
}

func rankOf(o object) int8 { return map[byte]int8{'f': 0, 's': 1, 'b': 2}[o.kind()] }

// errNotExist is the reason for names that lead nowhere.
var errNotExist = errors.New("dataset does not exist")

// cannotOpen is the message for a name that cannot be used.
func cannotOpen(name string, why any) error { return fmt.Errorf("cannot open '%s': %v", name, why) }

// open finds an object by name among loaded pools. bookmarks says whether '#' may occur.
func (c *cli) open(name string, bookmarks bool) (object, error) {
	kind := byte('@')
	if !strings.Contains(name, "@") {
		kind = 0
	}
	if bookmarks && kind == 0 && strings.Contains(name, "#") {
		kind = '#'
	}
	if why := checkName(name, kind); why != "" {
		return object{}, cannotOpen(name, why)
	}
	p, err := c.m.load(poolOf(name))
	if errors.Is(err, errNoPool) {
		return object{}, cannotOpen(name, errNotExist)
	}
	if err != nil {
		return object{}, err
	}
	o := lookup(p, name)
	if o.ds == nil {
		return object{}, cannotOpen(name, errNotExist)
	}
	return o, nil
}

// lookup finds an object in a pool; the zero object if there is none.
func lookup(p *pool, name string) object {
	base, last, found := cutAny(name)
	d := p.find(base)
	if d == nil || !found {
		return object{p: p, ds: d}
	}
	if name[len(base)] == '@' {
		if s := d.snap(last); s != nil {
			return object{p: p, ds: d, snap: s}
		}
	} else if b := d.mark(last); b != nil {
		return object{p: p, ds: d, mark: b}
	}
	return object{}
}

// selection says which objects list and get shall show.
type selection struct {
	types     string // of "fsb"
	given     bool   // types were asked for by the user
	recursive bool
	depth     int // -1: without limit
	names     []string
	bookmarks bool // operands may be bookmarks without -t
}

func (m *machine) parseTypes(s string) (string, error) {
	types := ""
	for t := range strings.SplitSeq(s, ",") {
		kind, ok := map[string]string{"filesystem": "f", "fs": "f", "volume": "v", "vol": "v", "snapshot": "s", "snap": "s",
			"bookmark": "b", "all": "fvsb"}[t]
		short := t == "fs" || t == "vol"
		if !ok || short && m.old {
			return "", usageError(fmt.Sprintf("invalid type '%s'", t))
		}
		types += kind
	}
	return types, nil
}

// typesAndDepth fills in -t, -d and -r.
func (s *selection) typesAndDepth(m *machine, opts []opt) error {
	s.depth = -1
	for _, o := range opts {
		switch o.c {
		case 't':
			types, err := m.parseTypes(o.val)
			if err != nil {
				return err
			}
			s.types, s.given = types, true
		case 'r':
			s.recursive = true
		case 'd':
			n, err := strconv.Atoi(o.val)
			if err != nil || n < 0 {
				return usageError(o.val + " is not an integer")
			}
			s.recursive, s.depth = true, n
		}
	}
	return nil
}

// collect returns the selected objects in order. Names that lead nowhere are reported and passed over.
func (c *cli) collect(s selection) ([]object, []*pool, error) {
	if len(s.names) == 0 {
		return c.collectAll(s)
	}
	seen, pools := map[string]bool{}, map[string]*pool{}
	var objs []object
	for _, n := range s.names {
		if strings.HasPrefix(n, "/") {
			var err error
			if n, err = c.datasetAt(n); err != nil {
				return nil, nil, err
			}
		}
		o, err := c.open(n, s.bookmarks || s.given && strings.Contains(s.types, "b"))
		if err != nil {
			c.say("%v", err)
			continue
		}
		if pools[o.p.Name] == nil {
			pools[o.p.Name] = o.p
		}
		o = lookup(pools[o.p.Name], n) // all objects of a pool from one state
		if o.ds == nil {
			c.say("%v", cannotOpen(n, errNotExist))
			continue
		}
		s.walk(o, 0, func(o object) {
			if !seen[o.name()] {
				seen[o.name()] = true
				objs = append(objs, o)
			}
		})
	}
	slices.SortStableFunc(objs, compareObjects)
	var ps []*pool
	for _, p := range pools {
		ps = append(ps, p)
	}
	return objs, ps, nil
}

func (c *cli) collectAll(s selection) ([]object, []*pool, error) {
	pools, err := c.m.pools()
	if err != nil {
		return nil, nil, err
	}
	var objs []object
	s.recursive = true
	for _, p := range pools {
		s.walk(object{p: p, ds: p.Datasets[0]}, 0, func(o object) { objs = append(objs, o) })
	}
	slices.SortStableFunc(objs, compareObjects)
	return objs, pools, nil
}

// walk calls fn for the object and, as far as asked for, what is below it.
func (s *selection) walk(o object, depth int, fn func(object)) {
	if o.kind() != 'f' {
		fn(o)
		return
	}
	if strings.Contains(s.types, "f") {
		fn(o)
	}
	if !s.recursive || s.depth >= 0 && depth >= s.depth {
		return
	}
	if strings.Contains(s.types, "s") {
		for _, sn := range o.ds.Snaps {
			fn(object{p: o.p, ds: o.ds, snap: sn})
		}
	}
	if strings.Contains(s.types, "b") {
		for _, b := range o.ds.Marks {
			fn(object{p: o.p, ds: o.ds, mark: b})
		}
	}
	for _, ch := range o.p.children(o.ds) {
		s.walk(object{p: o.p, ds: ch}, depth+1, fn)
	}
}
