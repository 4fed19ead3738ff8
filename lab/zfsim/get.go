package zfsim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func (c *cli) get(opts []opt, operands []string) error {
	f := flagsOf(opts)
	if f.has('j') {
		return errJSON
	}
	if len(operands) == 0 {
		return usageError("missing property argument")
	}
	sel := selection{types: "fvsb", names: operands[1:], bookmarks: true}
	if err := sel.typesAndDepth(c.m, opts); err != nil {
		return err
	}
	fields, sources, err := getFields(f)
	if err != nil {
		return err
	}
	props := strings.Split(operands[0], ",")
	for _, p := range props {
		if p != "all" && !readable(p) {
			return badPropList(p)
		}
	}
	objs, pools, err := c.collect(sel)
	if err != nil {
		return err
	}
	if err := c.refreshFor(append(props, allSpace(props)...), pools); err != nil {
		return err
	}
	c.printProps(objs, props, fields, sources, f)
	return nil
}

func allSpace(props []string) []string {
	if slices.Contains(props, "all") {
		return []string{"used"}
	}
	return nil
}

func getFields(f flagSet) (fields, sources []string, err error) {
	fields = []string{"name", "property", "value", "source"}
	if f.has('o') {
		fields = strings.Split(f['o'], ",")
		if f['o'] == "all" {
			fields = []string{"name", "property", "value", "received", "source"}
		}
		for _, x := range fields {
			if !slices.Contains([]string{"name", "property", "value", "received", "source"}, x) {
				return nil, nil, usageError(fmt.Sprintf("invalid column name '%s'", x))
			}
		}
	}
	if f.has('s') {
		sources = strings.Split(f['s'], ",")
		for _, x := range sources {
			if !slices.Contains([]string{"local", "default", "inherited", "received", "temporary", "none"}, x) {
				return nil, nil, usageError(fmt.Sprintf("invalid source '%s'", x))
			}
		}
	}
	return fields, sources, nil
}

func (c *cli) printProps(objs []object, props, fields, sources []string, f flagSet) {
	v := c.viewer()
	var rows [][]string
	if !f.has('H') {
		rows = append(rows, upper(fields))
	}
	for _, o := range objs {
		for _, p := range v.expand(o, props) {
			val := v.get(o, p)
			if len(sources) > 0 && !slices.Contains(sources, sourceKind(val.source)) {
				continue
			}
			rows = append(rows, propRow(o, p, val, fields, f.has('p')))
		}
	}
	if len(rows) == 1 && !f.has('H') {
		return // only the titles
	}
	c.rows(rows, f.has('H'), func(int) (int, bool) { return 0, false })
}

func upper(ss []string) []string {
	out := make([]string, len(ss))
	for i, s := range ss {
		out[i] = strings.ToUpper(s)
	}
	return out
}

func propRow(o object, prop string, v value, fields []string, parsable bool) []string {
	row := make([]string, len(fields))
	for i, field := range fields {
		switch field {
		case "name":
			row[i] = o.name()
		case "property":
			row[i] = prop
		case "value":
			row[i] = show(prop, v, parsable)
		case "source":
			row[i] = v.source
		case "received":
			row[i] = "-" // there are no streams with properties
		}
	}
	return row
}

func sourceKind(source string) string {
	switch {
	case source == "-":
		return "none"
	case strings.HasPrefix(source, "inherited"):
		return "inherited"
	}
	return source
}

// expand replaces "all" by every property that the object has.
func (v *viewer) expand(o object, props []string) []string {
	var out []string
	for _, p := range props {
		if p != "all" {
			if def := propOf(p); def != nil {
				p = def.name
			}
			out = append(out, p)
			continue
		}
		for _, def := range propDefs {
			if def.name != "name" && v.get(o, def.name) != none {
				out = append(out, def.name)
			}
		}
		out = append(out, v.userProps(o)...)
	}
	return out
}

func (v *viewer) userProps(o object) []string {
	names := map[string]bool{}
	note := func(props map[string]string) {
		for k := range props {
			if isUserProp(k) {
				names[k] = true
			}
		}
	}
	if o.snap != nil {
		note(o.snap.Props)
	}
	if o.mark == nil {
		for d := o.ds; d != nil; d = o.p.parent(d) {
			note(d.Props)
		}
	}
	return slices.Sorted(maps.Keys(names))
}
