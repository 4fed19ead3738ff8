package zfsim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// poolDefs are the properties that zpool knows, in the order of "list".
var poolColumns = map[string]string{"allocated": "ALLOC", "checkpoint": "CKPOINT", "expandsize": "EXPANDSZ", "fragmentation": "FRAG",
	"capacity": "CAP", "dedupratio": "DEDUP"}

var poolAliases = map[string]string{"alloc": "allocated", "frag": "fragmentation", "cap": "capacity", "dedup": "dedupratio",
	"ckpoint": "checkpoint", "expandsz": "expandsize"}

var poolDefaults = map[string]string{"autotrim": "off", "bootfs": "-", "failmode": "wait", "listsnapshots": "off", "ashift": "0",
	"version": "-", "autoexpand": "off", "autoreplace": "off", "cachefile": "-", "comment": "-", "delegation": "on", "multihost": "off",
	"compatibility": "off", "altroot": "-"}

var poolFeatures = map[string]string{"encryption": "enabled", "extensible_dataset": "active", "bookmarks": "enabled",
	"bookmark_v2": "enabled", "large_blocks": "enabled", "zstd_compress": "enabled", "embedded_data": "active", "lz4_compress": "active",
	"bookmark_written": "enabled", "hole_birth": "active", "async_destroy": "enabled", "spacemap_histogram": "active"}

func poolPropName(name string) (string, bool) {
	if full, ok := poolAliases[name]; ok {
		name = full
	}
	if feature, ok := strings.CutPrefix(name, "feature@"); ok {
		return name, poolFeatures[feature] != ""
	}
	_, settable := poolDefaults[name]
	return name, settable || slices.Contains([]string{"name", "size", "allocated", "free", "checkpoint", "expandsize", "fragmentation",
		"capacity", "dedupratio", "health", "guid", "freeing", "leaked", "readonly", "load_guid"}, name)
}

// poolValue returns a pool property in parsable form.
func (c *cli) poolValue(p *pool, sp *space, name string) value {
	num := func(n uint64) value { return value{strconv.FormatUint(n, 10), true, "-"} }
	plain := func(s string) value { return value{text: s, source: "-"} }
	switch name {
	case "name":
		return plain(p.Name)
	case "size":
		return num(p.Size)
	case "allocated":
		return num(min(sp.allocated(), p.Size))
	case "free":
		return num(minus(p.Size, sp.allocated()))
	case "capacity":
		return plain(fmt.Sprint(min(sp.allocated(), p.Size) * 100 / max(p.Size, 1)))
	case "freeing", "leaked":
		return num(0)
	case "fragmentation":
		return plain("0")
	case "dedupratio":
		return plain("1.00")
	case "health":
		return plain("ONLINE")
	case "guid", "load_guid":
		return plain(strconv.FormatUint(p.GUID, 10))
	case "readonly":
		return plain(map[bool]string{true: "on", false: "off"}[p.ReadOnly])
	case "checkpoint", "expandsize":
		return plain("-")
	}
	if feature, ok := strings.CutPrefix(name, "feature@"); ok {
		return value{text: poolFeatures[feature], source: "local"}
	}
	if v, ok := p.Props[name]; ok {
		return value{text: v, source: "local"}
	}
	return value{text: poolDefaults[name], source: "default"}
}

func showPool(name string, v value, parsable bool) string {
	switch {
	case parsable || v.text == "-":
		return v.text
	case name == "capacity" || name == "fragmentation":
		return v.text + "%"
	case name == "dedupratio":
		return v.text + "x"
	case v.number:
		return strings.TrimSuffix(nice(number(v.text)), "B")
	}
	return v.text
}

func (c *cli) poolGet(opts []opt, args []string) error {
	f := flagsOf(opts)
	if f.has('j') {
		return errJSON
	}
	if len(args) == 0 {
		return usageError("missing property argument")
	}
	fields, _, err := getFields(f)
	if err != nil {
		return err
	}
	props, err := poolPropList(args[0])
	if err != nil {
		return err
	}
	ps, err := c.somePools(args[1:], func(n string) {
		if c.m.old {
			c.missingPool(n)
			return
		}
		c.say("Cannot get properties of %s: no such pool available.", n)
	})
	if err != nil {
		return err
	}
	var rows [][]string
	if !f.has('H') && len(ps) > 0 {
		rows = append(rows, upper(fields))
	}
	for _, p := range ps {
		if err := c.m.refresh(p, scanAge); err != nil {
			return err
		}
		sp := c.m.space(p)
		for _, name := range props {
			v := c.poolValue(p, sp, name)
			rows = append(rows, poolRow(p, name, v, fields, f.has('p')))
		}
	}
	c.rows(rows, f.has('H'), func(int) (int, bool) { return 0, false })
	return nil
}

func poolPropList(arg string) ([]string, error) {
	if arg == "all" {
		return []string{"size", "capacity", "health", "guid", "version", "bootfs", "failmode", "autotrim", "ashift", "listsnapshots",
			"free", "allocated", "readonly", "fragmentation", "dedupratio", "freeing", "leaked"}, nil
	}
	props := strings.Split(arg, ",")
	for i, p := range props {
		full, ok := poolPropName(p)
		if !ok {
			return nil, badPropList(p)
		}
		props[i] = full
	}
	return props, nil
}

func poolRow(p *pool, name string, v value, fields []string, parsable bool) []string {
	row := make([]string, len(fields))
	for i, field := range fields {
		row[i] = map[string]string{"name": p.Name, "property": name, "value": showPool(name, v, parsable), "source": v.source, "received": "-"}[field]
	}
	return row
}

func (c *cli) poolSet(_ []opt, args []string) error {
	if len(args) != 2 {
		return usageError("missing property=value argument")
	}
	k, v, _ := strings.Cut(args[0], "=")
	name, ok := poolPropName(k)
	if _, settable := poolDefaults[name]; !ok || !settable {
		return fmt.Errorf("cannot set property for '%s': invalid property '%s'", args[1], k)
	}
	err := c.update(args[1], func(tx *txn) error {
		tx.p.Props = merged(tx.p.Props, map[string]string{name: v})
		return nil
	})
	return wrapPool(args[1], fmt.Sprintf("cannot set property for '%s': ", args[1]), err)
}
