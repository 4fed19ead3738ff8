package reconcile

import (
	"maps"
	"slices"
	"strings"

	"github.com/drover-project/drover/state"
)

// A volume may have datasets below its own, which move with it. Here is what deciding asks about all of them together.

// delta returns the bytes that src holds beyond what dst has of it: what bringing dst up to date has to carry.
func delta(src, dst *state.Copy) int64 {
	var total int64
	for _, path := range src.Paths() {
		part, its := src.Part(path), dst.Part(path)
		if its == nil {
			total += part.Referenced
			continue
		}
		if base := common(part, its); base != nil {
			total += since(part, base)
		} else {
			total += part.Referenced
		}
	}
	return total
}

// misfit returns a child of a standby that an increment does not fit on, or that its source does not have any more, and why. A
// move does not wait for a person because of it: it is renamed out of the tree, and what should be there is sent afresh.
func misfit(src, dst *state.Copy) (path, why string) {
	for _, path := range dst.Paths()[1:] {
		d, its := dst.Part(path), src.Part(path)
		switch {
		case its == nil:
			return path, "it is not below " + string(src.Volume) + " any more where that is primary"
		case d.ResumeToken != "" && len(d.Snapshots) == 0: // a first stream that goes on
		case diverged(its, d):
			return path, "it cannot be brought up to date"
		}
	}
	return "", ""
}

// behind reports whether a target lacks the newest snapshot of a part of its source.
func behind(src, dst *state.Copy) bool {
	return slices.ContainsFunc(src.Paths(), func(path string) bool {
		newest, its := src.Part(path).Newest(), dst.Part(path)
		return its == nil || newest != nil && its.Find(newest.GUID) == nil
	})
}

// newcomer reports whether a source has a child that its standby has not.
func newcomer(src, dst *state.Copy) bool {
	return slices.ContainsFunc(src.Paths(), func(path string) bool { return dst.Part(path) == nil })
}

// touched names a part of a fenced copy that its last snapshots do not have all of; "" as it should be.
func touched(src *state.Copy) string {
	for _, p := range src.Parts() {
		if p.Written != 0 || p.Newest() == nil {
			return p.Dataset
		}
	}
	return ""
}

// setAsideChild renames a child of a standby out of its tree.
func (a *appCase) setAsideChild(vc *volumeCase, dst *state.Copy, at *state.Node, path, why string) (state.Decision, bool) {
	return a.do(state.Step{Kind: state.SetAside, Volume: vc.want.Name, UUID: vc.birth.UUID, Node: at.ID, Expect: expect(dst), Child: path,
		Dataset: dst.Dataset + "/" + path, Why: why + "; it is renamed, not destroyed"})
}

// keyless says what a person has to do about an encrypted copy before it can be used; "" if there is nothing.
func keyless(c *state.Copy, at *state.Node) string {
	if c == nil || len(c.KeysMissing()) == 0 {
		return ""
	}
	return "volume " + string(c.Volume) + " is encrypted, and its key is not loaded on " + string(at.Hostname) + ": run zfs load-key -r " + c.Dataset + " there"
}

// needed returns the snapshots of a volume's primary that must stay for its other copies, and whether all of them are known: what
// a node that does not answer rests on is not.
func (a *appCase) needed(vc *volumeCase, src *state.Copy) ([]state.GUID, bool) {
	for id := range a.o.Register.Members {
		if n := a.o.Nodes[id]; n == nil || !n.Answered() {
			return nil, false
		}
	}
	if len(a.silent()) > 0 {
		return nil, false
	}
	var keep []state.GUID
	for _, p := range vc.copies {
		if p.copy == src {
			continue
		}
		for _, path := range src.Paths() {
			part, its := src.Part(path), p.copy.Part(path)
			if its == nil {
				continue
			}
			if base := common(part, its); base != nil {
				keep = append(keep, base.GUID)
			}
		}
	}
	slices.Sort(keep)
	return slices.Compact(keep), true
}

// limits returns the quotas and reservations among a part's local properties; the refquota of the copy itself is the manifest's.
func limits(props map[string]string, path string) map[string]string {
	some := map[string]string{}
	for _, name := range []string{"quota", "refquota", "refreservation", "reservation"} {
		if v := props[name]; v != "" && v != "0" && (path != "" || name != "refquota") {
			some[name] = v
		}
	}
	return some
}

// limited reports whether a primary is yet to get the limits that its predecessor had.
func limited(c *state.Copy) bool {
	return slices.ContainsFunc(c.Parts(), func(p *state.Copy) bool { return len(p.Limits) > 0 })
}

// cloneCopies copies copies so deep that Predict can change them.
func cloneCopies(copies []state.Copy) []state.Copy {
	deep := func(f *state.Filesystem) {
		f.Snapshots, f.Bookmarks = slices.Clone(f.Snapshots), slices.Clone(f.Bookmarks)
		f.Properties, f.Limits = maps.Clone(f.Properties), maps.Clone(f.Limits)
	}
	out := slices.Clone(copies)
	for i := range out {
		c := &out[i]
		deep(&c.Filesystem)
		c.Children = slices.Clone(c.Children)
		for j := range c.Children {
			deep(&c.Children[j].Filesystem)
		}
	}
	return out
}

// mountedWhole reports whether a primary is mounted with all its children that can be.
func mountedWhole(c *state.Copy) bool {
	return c.Mounted && !slices.ContainsFunc(c.Children, func(d state.Child) bool { return d.Mountable() && !d.Mounted })
}

// remount predicts that a copy is mounted with its children, or that it is not.
func remount(c *state.Copy, mounted, readonly bool) {
	c.Mounted, c.Readonly = mounted, readonly
	for i := range c.Children {
		d := &c.Children[i]
		d.Mounted = mounted && d.Mountable()
		if d.Properties["readonly"] != "on" {
			d.Readonly = readonly
		}
	}
}

// childLike predicts what a child becomes on a target.
func childLike(src *state.Child, root string, from string) state.Child {
	d := *src
	d.Readonly, d.Mounted, d.Snapshots, d.Bookmarks, d.ResumeToken, d.KeyMissing = true, false, nil, nil, "", src.Encrypted
	d.Limits, d.Properties = limits(src.Properties, src.Path), maps.Clone(src.Properties)
	if rest, below := strings.CutPrefix(src.Mountpoint, from+"/"); below {
		d.Mountpoint = root + "/" + rest
	}
	return d
}
