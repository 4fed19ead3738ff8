package zfsim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

func (c *cli) list(opts []opt, names []string) error {
	f := flagsOf(opts)
	if f.has('j') {
		return errJSON
	}
	sel := selection{types: "f", names: names}
	if err := sel.typesAndDepth(c.m, opts); err != nil {
		return err
	}
	cols, err := listColumns(f)
	if err != nil {
		return err
	}
	for _, key := range sortKeys(opts) {
		if !readable(key) {
			return usageError(fmt.Sprintf("invalid property '%s'", key))
		}
	}
	if (sel.types == "s" || sel.types == "b") && len(names) > 0 && !sel.recursive {
		sel.recursive, sel.depth = true, 1
	}
	objs, pools, err := c.collect(sel)
	if err != nil {
		return err
	}
	if err := c.refreshFor(append(slices.Clone(cols), sortKeys(opts)...), pools); err != nil {
		return err
	}
	v := c.viewer()
	v.sort(objs, opts)
	if len(objs) == 0 {
		if c.rc == 0 && !f.has('H') {
			fmt.Fprintln(c.err, "no datasets available")
		}
		return nil
	}
	c.table(v, objs, cols, f)
	return nil
}

func listColumns(f flagSet) ([]string, error) {
	cols := []string{"name", "used", "available", "referenced", "mountpoint"}
	if !f.has('o') {
		return cols, nil
	}
	var given []string
	for col := range strings.SplitSeq(f['o'], ",") {
		if col == "space" {
			given = append(given, "name", "available", "used", "usedbysnapshots", "usedbydataset", "usedbyrefreservation", "usedbychildren")
			continue
		}
		if !readable(col) {
			return nil, badPropList(col)
		}
		if def := propOf(col); def != nil {
			col = def.name
		}
		given = append(given, col)
	}
	if f['o'] == "space" {
		given = given[:7]
	}
	return given, nil
}

func sortKeys(opts []opt) []string {
	var keys []string
	for _, o := range opts {
		if o.c == 's' || o.c == 'S' {
			keys = append(keys, o.val)
		}
	}
	return keys
}

// sort orders by the -s and -S options, then as usual.
func (v *viewer) sort(objs []object, opts []opt) {
	slices.SortStableFunc(objs, func(a, b object) int {
		for _, o := range opts {
			if o.c != 's' && o.c != 'S' {
				continue
			}
			n := compareValues(o.val, v.get(a, o.val), v.get(b, o.val))
			if o.c == 'S' {
				n = -n
			}
			if n != 0 {
				return n
			}
		}
		return compareObjects(a, b)
	})
}

func compareValues(name string, a, b value) int {
	if a.number || b.number || name == "createtxg" || name == "guid" || name == "userrefs" {
		return cmp.Compare(number(a.text), number(b.text))
	}
	return strings.Compare(a.text, b.text)
}

// table prints rows, aligned for people or separated by tabs.
func (c *cli) table(v *viewer, objs []object, cols []string, f flagSet) {
	rows := make([][]string, 0, len(objs)+1)
	if !f.has('H') {
		head := make([]string, len(cols))
		for i, col := range cols {
			head[i] = header(col)
		}
		rows = append(rows, head)
	}
	for _, o := range objs {
		row := make([]string, len(cols))
		for i, col := range cols {
			row[i] = show(col, v.get(o, col), f.has('p'))
		}
		rows = append(rows, row)
	}
	c.rows(rows, f.has('H'), func(i int) (width int, right bool) { return c.columnShape(cols[i]) })
}

// columnShape returns the least width of a column and whether it is aligned to the right.
func (c *cli) columnShape(col string) (int, bool) {
	def := propOf(col)
	if def == nil {
		return 0, false
	}
	if c.m.old && def.name == "referenced" {
		return 8, true
	}
	return 5 * min(1, boolInt(def.number)), def.number || def.name == "compressratio"
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// rows prints a table. The last column is not filled up.
func (c *cli) rows(rows [][]string, tabs bool, shape func(i int) (int, bool)) {
	if tabs {
		for _, r := range rows {
			c.printf("%s\n", strings.Join(r, "\t"))
		}
		return
	}
	width := map[int]int{}
	for _, r := range rows {
		for i, cell := range r {
			w, _ := shape(i)
			width[i] = max(width[i], w, len([]rune(cell)))
		}
	}
	for _, r := range rows {
		for i, cell := range r {
			sep := "  "
			if i == 0 {
				sep = ""
			}
			switch _, right := shape(i); {
			case right:
				c.printf("%s%*s", sep, width[i], cell)
			case i == len(r)-1:
				c.printf("%s%s", sep, cell)
			default:
				c.printf("%s%-*s", sep, width[i], cell)
			}
		}
		c.printf("\n")
	}
}
