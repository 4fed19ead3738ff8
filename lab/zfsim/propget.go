package zfsim

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// value is a property of an object, as get shows it.
type value struct {
	text   string // parsable form; "-" if not applicable
	number bool
	source string // "local", "default", "inherited from X", "-"
}

var none = value{text: "-", source: "-"}

// viewer answers for properties of objects; it computes space figures once per pool.
type viewer struct {
	m      *machine
	spaces map[*pool]*space
}

func (c *cli) viewer() *viewer { return &viewer{m: c.m, spaces: map[*pool]*space{}} }

func (v *viewer) space(p *pool) *space {
	if v.spaces[p] == nil {
		v.spaces[p] = v.m.space(p)
	}
	return v.spaces[p]
}

// spaceProps are those for which heads must be looked at.
func isSpaceProp(name string) bool {
	if isWritten(name) {
		return true
	}
	d := propOf(name)
	return d != nil && slices.Contains([]string{"used", "available", "referenced", "written", "logicalused", "logicalreferenced",
		"usedbysnapshots", "usedbydataset", "usedbychildren", "usedbyrefreservation"}, d.name)
}

// refreshFor looks at heads if one of the properties needs it.
func (c *cli) refreshFor(props []string, pools []*pool) error {
	if !slices.ContainsFunc(props, isSpaceProp) {
		return nil
	}
	for _, p := range pools {
		if err := c.m.refresh(p, scanAge); err != nil {
			return err
		}
	}
	return nil
}

// get returns a property; name must be readable.
func (v *viewer) get(o object, name string) value {
	if isWritten(name) {
		return v.writtenSince(o, name)
	}
	def := propOf(name)
	if def == nil {
		return v.user(o, name)
	}
	if !strings.Contains(def.on, string(o.kind())) {
		return none
	}
	if def.stat {
		return v.stat(o, def)
	}
	text, source := v.m.effective(o.p, o.ds, def)
	if def.name == "readonly" && text == "off" && o.ds.Mounted != "" && (o.ds.MountedRO || o.p.ReadOnly) {
		return value{text: "on", source: "temporary"}
	}
	return value{text, def.number && text != "none" && text != noLimit, source}
}

// user returns a user property: of the snapshot itself, or of the nearest dataset that has it.
func (v *viewer) user(o object, name string) value {
	if o.mark != nil {
		return none
	}
	if o.snap != nil {
		if s, ok := o.snap.Props[name]; ok {
			return value{text: s, source: "local"}
		}
	}
	for d := o.ds; d != nil; d = o.p.parent(d) {
		if s, ok := d.Props[name]; ok {
			if d == o.ds && o.snap == nil {
				return value{text: s, source: "local"}
			}
			return value{text: s, source: "inherited from " + d.Name}
		}
	}
	return none
}

// effective returns the value of a settable native property and where it comes from.
func (m *machine) effective(p *pool, d *dataset, def *propDef) (text, source string) {
	if s, ok := d.Props[def.name]; ok {
		return s, "local"
	}
	if !def.own {
		for x := p.parent(d); x != nil; x = p.parent(x) {
			if s, ok := x.Props[def.name]; ok {
				return inheritedValue(def, s, x, d), "inherited from " + x.Name
			}
		}
	}
	return m.defaultOf(d, def), "default"
}

func inheritedValue(def *propDef, s string, from, to *dataset) string {
	if def.name != "mountpoint" || s == "none" || s == "legacy" {
		return s
	}
	return strings.TrimSuffix(s, "/") + strings.TrimPrefix(to.Name, from.Name)
}

func (m *machine) defaultOf(d *dataset, def *propDef) string {
	switch def.name {
	case "mountpoint":
		return "/" + d.Name
	case "filesystem_limit", "snapshot_limit":
		if m.old {
			return noLimit
		}
	case "compression", "relatime":
		if m.old {
			return "off"
		}
	}
	return def.def
}

// prop is the effective value of a property.
func (m *machine) prop(p *pool, d *dataset, name string) string {
	text, _ := m.effective(p, d, propOf(name))
	return text
}

func (v *viewer) stat(o object, def *propDef) value {
	num := func(n uint64) value { return value{strconv.FormatUint(n, 10), true, "-"} }
	plain := func(s string) value { return value{text: s, source: "-"} }
	switch def.name {
	case "name":
		return plain(o.name())
	case "type":
		return plain(o.typeName())
	case "creation":
		return num(uint64(o.creation()))
	case "createtxg":
		return plain(strconv.FormatUint(o.createTxg(), 10))
	case "guid":
		return plain(strconv.FormatUint(o.guid(), 10))
	case "objsetid":
		return plain(strconv.FormatUint(o.ds.ID, 10))
	case "compressratio", "refcompressratio":
		return plain("1.00")
	case "snapshots_changed":
		return none
	}
	switch o.kind() {
	case 's':
		return v.snapStat(o, def.name)
	case 'b':
		if def.name == "referenced" {
			return num(o.mark.Referenced)
		}
		return none
	}
	if n, ok := v.fsSpace(o, def.name); ok {
		return num(n)
	}
	return plain(v.fsStat(o, def.name))
}

func (v *viewer) fsSpace(o object, name string) (uint64, bool) {
	sp := v.space(o.p)
	switch name {
	case "used":
		return sp.usedBy(o.ds), true
	case "available":
		return sp.available(o.ds), true
	case "referenced", "logicalreferenced":
		return sp.referenced(o.ds), true
	case "logicalused":
		return sp.usedBy(o.ds) / 2, true
	case "written":
		return sp.hists[o.ds].Since(o.p.lastTxg(o.ds)), true
	case "usedbysnapshots":
		return sp.bySnapshots(o.ds), true
	case "usedbydataset":
		return sp.byDataset(o.ds), true
	case "usedbychildren":
		return sp.byChildren(o.ds), true
	case "usedbyrefreservation":
		return sp.byRefreservation(o.ds), true
	}
	return 0, false
}

func (v *viewer) fsStat(o object, name string) string {
	switch name {
	case "mounted":
		if o.ds.Mounted != "" {
			return "yes"
		}
		return "no"
	case "origin":
		if s := o.p.originName(o.ds); s != "" {
			return s
		}
	case "receive_resume_token":
		if o.ds.Recv != nil && o.ds.Recv.Resumable {
			return v.m.token(o.p, o.ds)
		}
	case "filesystem_count", "snapshot_count":
		return "none"
	}
	return "-"
}

func (v *viewer) snapStat(o object, name string) value {
	num := func(n uint64) value { return value{strconv.FormatUint(n, 10), true, "-"} }
	i := slices.Index(o.ds.Snaps, o.snap)
	sp := v.space(o.p)
	switch name {
	case "used":
		return num(sp.unique(o.ds, i))
	case "referenced", "logicalreferenced":
		return num(o.snap.Hist.Total())
	case "written":
		return num(o.snap.Hist.Since(sp.prevTxg(o.ds, i)))
	case "userrefs":
		return value{text: strconv.Itoa(len(o.snap.Holds)), source: "-"}
	case "defer_destroy":
		return value{text: map[bool]string{true: "on", false: "off"}[o.snap.Defer], source: "-"}
	case "clones":
		var names []string
		for _, d := range o.p.clones(o.ds, o.snap) {
			names = append(names, d.Name)
		}
		return value{text: cmp.Or(strings.Join(names, ","), "-"), source: "-"}
	}
	return none
}

// writtenSince answers written@SNAP and written#BOOKMARK.
func (v *viewer) writtenSince(o object, name string) value {
	if o.kind() != 'f' {
		return none
	}
	ref := lookup(o.p, o.ds.Name+strings.TrimPrefix(name, "written"))
	if ref.ds == nil {
		return none
	}
	return value{strconv.FormatUint(v.space(o.p).hists[o.ds].Since(ref.createTxg()), 10), true, "-"}
}

// show formats a value for people, or for programs.
func show(name string, v value, parsable bool) string {
	def := propOf(name)
	if parsable || def == nil && !isWritten(name) || v.text == "-" {
		return v.text
	}
	if strings.HasSuffix(name, "compressratio") {
		return v.text + "x"
	}
	if v.text == noLimit {
		return "none"
	}
	if !v.number {
		return v.text
	}
	n := number(v.text)
	switch {
	case name == "creation":
		return niceTime(int64(n))
	case n == 0 && slices.Contains([]string{"quota", "refquota", "reservation", "refreservation"}, def.name):
		return "none"
	}
	return nice(n)
}

func header(name string) string {
	if def := propOf(name); def != nil && def.header != "" {
		return def.header
	}
	return strings.ToUpper(name)
}

func badPropList(name string) error {
	return usageError(fmt.Sprintf("bad property list: invalid property '%s'", name))
}
