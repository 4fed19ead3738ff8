package state

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Child is a dataset below a copy's own. It is no copy: it travels, is fenced, committed, kept and deleted with the copy, and
// the copy's role and epoch are its own. It inherits readonly, so that one change of the copy changes all.
type Child struct {
	Path   string     // below the copy's dataset, such as "logs" or "logs/old"
	Device bool       // a ZFS volume, not a file system: it cannot travel, and but for its snapshots and origin nothing else is known of it
	Claims VolumeName // it says that it is a copy of this volume itself; "" as it should be
	Filesystem
}

// Mountable reports whether the child is mounted with its volume: not if a person has set canmount=off, or no mountpoint.
func (c *Child) Mountable() bool {
	return !c.Device && c.Properties["canmount"] != "off" && strings.HasPrefix(c.Mountpoint, "/")
}

// Child returns the child at a path, or nil.
func (c *Copy) Child(path string) *Child {
	for i := range c.Children {
		if c.Children[i].Path == path {
			return &c.Children[i]
		}
	}
	return nil
}

// Paths returns "" for the copy's own dataset, then the paths of its children, parents before what is below them.
func (c *Copy) Paths() []string {
	paths := []string{""}
	for i := range c.Children {
		paths = append(paths, c.Children[i].Path)
	}
	slices.Sort(paths)
	return paths
}

// Part returns one dataset of the copy as if it were a copy of its own, with the copy's identity, role and epoch: the copy itself
// for "", nil for a path at which it has no child. A child's part is a copy of what is known, not the thing itself.
func (c *Copy) Part(path string) *Copy {
	if path == "" || c == nil {
		return c
	}
	d := c.Child(path)
	if d == nil {
		return nil
	}
	return &Copy{Dataset: c.Dataset + "/" + path, Volume: c.Volume, UUID: c.UUID, Role: c.Role, Epoch: c.Epoch, Lead: c.Lead, Reclaim: c.Reclaim,
		Receiving: c.Receiving, Filesystem: d.Filesystem}
}

// With returns the copy with one of its parts as a later look has found it, at which other parts may have been on their way.
func (c *Copy) With(path string, later *Copy) *Copy {
	if c == nil || later == nil || path == "" && len(c.Children) == 0 {
		return later
	}
	with := *c
	if path == "" {
		with = *later
	}
	with.Children = slices.DeleteFunc(slices.Clone(c.Children), func(d Child) bool { return path != "" && d.Path == path })
	if d := later.Child(path); d != nil {
		with.Children = append(with.Children, *d)
	}
	return &with
}

// Parts returns all datasets of the copy, see [Copy.Part].
func (c *Copy) Parts() []*Copy {
	var parts []*Copy
	for _, path := range c.Paths() {
		parts = append(parts, c.Part(path))
	}
	return parts
}

// HalfReceived returns the resume token of a part of the copy, and which part it is of; "" if no stream into it was cut.
func (c *Copy) HalfReceived() (token, path string) {
	for _, path := range c.Paths() {
		if token := c.Part(path).ResumeToken; token != "" {
			return token, path
		}
	}
	return "", ""
}

// IsHalf reports whether a stream into the copy or one of its children was cut.
func (c *Copy) IsHalf() bool {
	token, _ := c.HalfReceived()
	return token != ""
}

// Below is a digest of the children and of what is in them, by the guid of the newest snapshot of each: two copies with the same
// newest snapshot and the same Below hold the same data. It is "" for a copy without children.
func (c *Copy) Below() string {
	if len(c.Children) == 0 {
		return ""
	}
	h := sha256.New()
	for _, path := range c.Paths()[1:] {
		var newest GUID
		if s := c.Part(path).Newest(); s != nil {
			newest = s.GUID
		}
		fmt.Fprintf(h, "%s\x00%s\n", path, newest)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Unmovable says why a copy cannot be moved as a whole, in one sentence about one of its datasets; "" if it can.
func (c *Copy) Unmovable() string {
	for _, path := range c.Paths() {
		dataset := strings.TrimSuffix(c.Dataset+"/"+path, "/")
		if origin := c.Part(path).Origin; origin != "" && !c.within(origin) {
			return fmt.Sprintf("%s is a clone of %s, and would not be one elsewhere: copy it with zfs send and receive, or promote it", dataset, origin)
		}
		if d := c.Child(path); d != nil {
			if why := d.unmovable(dataset, c.Mountpoint); why != "" {
				return why
			}
		}
	}
	return ""
}

func (c *Copy) within(snapshot string) bool {
	dataset, _, _ := strings.Cut(snapshot, "@")
	return dataset == c.Dataset || strings.HasPrefix(dataset, c.Dataset+"/")
}

func (c *Child) unmovable(dataset, mountpoint string) string {
	at, local := c.Properties["mountpoint"]
	switch {
	case c.Device:
		return fmt.Sprintf("%s is a ZFS volume, and only file systems can be moved: rename it away", dataset)
	case c.Claims != "":
		return fmt.Sprintf("%s is a copy of volume %s, which would not be moved with this one: rename it away", dataset, c.Claims)
	case local && at != "none" && !strings.HasPrefix(at, mountpoint+"/"):
		return fmt.Sprintf("%s has the mountpoint %s, which is not below its volume's, %s: set one below, or zfs inherit mountpoint %s", dataset, at, mountpoint, dataset)
	}
	return ""
}

// KeysMissing names the datasets of the copy that are encrypted and whose key is not loaded.
func (c *Copy) KeysMissing() []string {
	var names []string
	for _, p := range c.Parts() {
		if p.KeyMissing {
			names = append(names, p.Dataset)
		}
	}
	return names
}

// Complete reports whether a copy has everything that its source has, and nothing else: the newest snapshots of all its datasets. What
// somebody has taken of the copy itself since then, while nothing was written, does not count.
func (c *Copy) Complete(src *Copy) bool {
	newest := src.Newest()
	return newest != nil && !c.ChangedSince(newest.GUID) && src.Below() == c.Below()
}
