package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// dataFolder is what an app sees: a folder inside the dataset, so that it is absent where the volume is not mounted.
const dataFolder = "data"

// create makes the volume's first copy, and finishes one that a crash left half-made.
func (v *visit) create(ctx context.Context) error {
	if home := v.a.home(v.s.Volume); v.s.Epoch.IsZero() || v.s.Dataset != "" && v.s.Dataset != home {
		return errorf(CodeBadRequest, "a volume is created as %s at an epoch, not as %q at %s", home, v.s.Dataset, v.s.Epoch)
	}
	if v.c == nil {
		if err := v.bear(ctx); err != nil {
			return err
		}
	}
	return v.firstCopy(ctx)
}

// bear creates the dataset. A node that remembers a copy of the volume does not make an empty one in its place.
func (v *visit) bear(ctx context.Context) error {
	root, err := v.a.readRoot(ctx)
	if err != nil {
		return err
	}
	if past := state.MaxEpoch(root.taken[v.s.UUID], root.refused[v.s.UUID]); !past.IsZero() {
		return errorf(CodeRefused, "this node has known the volume at epoch %s: it is not created empty again", past)
	}
	props := v.identity()
	maps.Copy(props, v.s.Properties)
	props["mountpoint"] = v.a.mountpoint(v.s.Volume)
	home := v.a.home(v.s.Volume)
	err = v.z.Create(ctx, home, props)
	if errors.Is(err, zfs.ErrExists) {
		return errorf(CodeInTheWay, "dataset %s is there already and is not this volume: rename it, or adopt it", home)
	}
	if err != nil {
		return err
	}
	return v.reread(ctx)
}

// identity are the properties that make a dataset a volume's first copy.
func (v *visit) identity() map[string]string {
	props := (&change{role: state.Primary, epoch: v.s.Epoch}).properties()
	props[zfs.PropVolume] = string(v.s.Volume)
	props[zfs.PropUUID] = string(v.s.UUID)
	props[zfs.PropLead] = string(v.s.Lead)
	props[zfs.PropReclaim] = string(reclaim(v.s.Reclaim))
	return props
}

func reclaim(r state.Reclaim) state.Reclaim {
	if r == "" {
		return state.Retain
	}
	return r
}

// firstCopy brings a first copy into use: quota, mount, folder.
func (v *visit) firstCopy(ctx context.Context) error {
	if v.c.Role != state.Primary || v.c.Epoch != v.s.Epoch {
		return errorf(CodeUnexpected, "there is a copy already, (%s, %s)", v.c.Role, v.c.Epoch).about(v.c)
	}
	if v.s.Quota > 0 && v.s.Quota != v.c.Quota {
		if err := v.z.Set(ctx, v.c.Dataset, map[string]string{"refquota": strconv.FormatInt(v.s.Quota, 10)}); err != nil {
			return err
		}
	}
	if err := v.up(ctx); err != nil {
		return err
	}
	if err := v.makeData(); err != nil {
		return err
	}
	return v.reread(ctx)
}

// makeData makes the folder for the app, but only in a copy that nobody has ever used: where there was data and the folder
// is missing, an empty one would hide the loss.
func (v *visit) makeData() error {
	if len(v.c.Snapshots) > 0 {
		return nil
	}
	inside, err := os.ReadDir(v.c.Mountpoint)
	if err != nil || len(inside) > 0 {
		return err
	}
	return os.Mkdir(filepath.Join(v.c.Mountpoint, dataFolder), 0o755)
}

// adopt makes an existing dataset the volume's first copy.
func (v *visit) adopt(ctx context.Context) error {
	if v.c == nil {
		if err := v.takeOver(ctx); err != nil {
			return err
		}
	}
	return v.firstCopy(ctx)
}

func (v *visit) takeOver(ctx context.Context) error {
	d := v.s.Dataset
	if v.s.Epoch.IsZero() || !strings.HasPrefix(d, v.a.poolName()+"/") || d == v.a.o.Root {
		return errorf(CodeBadRequest, "dataset %q cannot be adopted: want one on pool %s, and an epoch", d, v.a.poolName())
	}
	known, err := v.z.Facts(ctx, d)
	if errors.Is(err, zfs.ErrNotFound) {
		return errorf(CodeNotFound, "there is no dataset %s to adopt", d)
	}
	if err != nil {
		return err
	}
	if known.Volume || !filepath.IsAbs(known.Mountpoint) {
		return errorf(CodeRefused, "dataset %s cannot be adopted: it is not a file system with a mountpoint of its own", d)
	}
	if err := v.claimable(ctx, d, known); err != nil {
		return err
	}
	if err := v.z.Mount(ctx, d); err != nil {
		return err
	}
	if err := checkContent(known.Mountpoint); err != nil {
		return err
	}
	if err := v.z.Set(ctx, d, v.identity()); err != nil {
		return err
	}
	if len(v.s.Properties) > 0 {
		if err := v.z.SetEach(ctx, d, v.s.Properties); err != nil {
			return err
		}
	}
	return v.reread(ctx)
}

// claimable refuses what is somebody else's, or would not move as a whole.
func (v *visit) claimable(ctx context.Context, dataset string, known zfs.Facts) error {
	props, err := v.z.LocalProperties(ctx, dataset)
	if err != nil {
		return err
	}
	if other := props[zfs.PropVolume]; other != "" {
		return errorf(CodeInTheWay, "dataset %s belongs to volume %s (uuid %s) already", dataset, other, props[zfs.PropUUID])
	}
	children, err := v.z.Children(ctx, dataset)
	if err != nil {
		return err
	}
	whole := state.Copy{Dataset: dataset, Filesystem: state.Filesystem{Mountpoint: known.Mountpoint, Origin: strings.Trim(known.Origin, "-")}, Children: children}
	if why := whole.Unmovable(); why != "" {
		return errorf(CodeRefused, "dataset %s cannot be adopted: %s", dataset, why)
	}
	return nil
}

func checkContent(mountpoint string) error {
	inside, err := os.ReadDir(mountpoint)
	if err != nil {
		return err
	}
	if len(inside) == 0 || slices.ContainsFunc(inside, func(e os.DirEntry) bool { return e.Name() == dataFolder && e.IsDir() }) {
		return nil
	}
	return errorf(CodeRefused, "%s has content but no folder %s: apps see only that folder; move the content into it", mountpoint, dataFolder)
}

var everyRole = []state.Role{state.Primary, state.Fenced, state.Released, state.Retired, state.Standby}

// setProperties sets what differs.
func (v *visit) setProperties(ctx context.Context) error {
	if err := expected(v.c, v.s, everyRole...); err != nil {
		return err
	}
	if v.s.Quota > 0 && v.s.Quota < v.c.Referenced {
		return errorf(CodeNoSpace, "it holds %d bytes, more than the quota of %d: raise the quota or delete data", v.c.Referenced, v.s.Quota).about(v.c)
	}
	props := map[string]string{}
	for name, value := range v.s.Properties {
		if v.c.Properties[name] != value {
			props[name] = value
		}
	}
	if v.s.Quota != v.c.Quota {
		props["refquota"] = strconv.FormatInt(v.s.Quota, 10) // 0 is none
	}
	if v.s.Reclaim != "" && v.s.Reclaim != v.c.Reclaim {
		props[zfs.PropReclaim] = string(v.s.Reclaim)
	}
	if len(props) > 0 {
		if err := v.z.SetEach(ctx, v.c.Dataset, props); err != nil {
			return err
		}
	}
	if err := v.setLimits(ctx); err != nil {
		return err
	}
	return v.reread(ctx)
}

// setLimits gives a primary and its children the quotas and reservations that they had where they came from.
func (v *visit) setLimits(ctx context.Context) error {
	for _, p := range v.c.Parts() {
		if len(p.Limits) == 0 || v.c.Role != state.Primary {
			continue
		}
		if err := v.z.SetEach(ctx, p.Dataset, p.Limits); err != nil {
			return err
		}
		if err := v.z.Inherit(ctx, p.Dataset, zfs.PropLimits); err != nil {
			return err
		}
	}
	return nil
}

// liftLimits takes the quotas and reservations away from a copy that will receive: they could keep the data from arriving. It
// gets those of its source when it is promoted.
func (v *visit) liftLimits(ctx context.Context) error {
	for _, p := range v.c.Parts() {
		none := map[string]string{}
		for name, value := range own(p.Properties, zfs.Limits...) {
			if value != "0" {
				none[name] = "0"
			}
		}
		if len(none) == 0 {
			continue
		}
		if err := v.z.SetEach(ctx, p.Dataset, none); err != nil {
			return err
		}
	}
	return nil
}

func (v *visit) mountVolume(ctx context.Context) error {
	if err := expected(v.c, v.s, state.Primary); err != nil {
		return err
	}
	return v.up(ctx)
}

// mount mounts a copy over a folder that refuses writes.
func (a *Agent) mount(ctx context.Context, z *zfs.ZFS, c *state.Copy, options ...string) error {
	if !filepath.IsAbs(c.Mountpoint) {
		return errorf(CodeRefused, "dataset %s has no mountpoint of its own (%q): set one", c.Dataset, c.Mountpoint)
	}
	if err := a.bareMountpoint(c.Mountpoint); err != nil {
		return fmt.Errorf("prepare the mountpoint: %w", err)
	}
	if err := z.Mount(ctx, c.Dataset, options...); err != nil {
		return err
	}
	c.Mounted = true
	return nil
}

// bareMountpoint makes the folder under a mount refuse writes, so that an app that is started where the volume is not
// mounted fails instead of writing to the node's own disk.
func (a *Agent) bareMountpoint(path string) error {
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.Mkdir(path, 0o555)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	st, err := os.Lstat(path)
	if err != nil || !st.IsDir() {
		return err // a link: the lab's stand-in mounts so
	}
	if st.Mode().Perm()&0o222 != 0 {
		if err := os.Chmod(path, 0o555); err != nil {
			return err
		}
	}
	if a.o.Immutable {
		if err := makeImmutable(path); err != nil {
			a.log.Warn("the bare mountpoint cannot be made immutable", "path", path, "err", err)
		}
	}
	return nil
}

// setAside renames a copy that cannot become a standby and takes its identity away. Nothing is destroyed.
func (v *visit) setAside(ctx context.Context) error {
	if v.c == nil {
		return v.nothingInTheWay(ctx)
	}
	if err := v.asideAllowed(ctx); err != nil {
		return err
	}
	if v.s.Child != "" {
		return v.childAside(ctx)
	}
	if err := v.a.remember(ctx, v.z, v.c); err != nil {
		return err
	}
	if !strings.Contains(v.c.Dataset, ".aside-") {
		name, err := v.renameAside(ctx, v.c.Dataset, v.c.Dataset)
		if err != nil {
			return err
		}
		v.c.Dataset = name
	}
	was := fmt.Sprintf("%s/%s/%s/%s", v.c.Volume, v.c.UUID, v.c.Role, v.c.Epoch)
	if err := v.z.Set(ctx, v.c.Dataset, map[string]string{propAside: was, "readonly": "on", "canmount": "noauto"}); err != nil {
		return err
	}
	// The name goes first: without it the dataset is no copy any more, whatever a crash leaves of the rest.
	for _, prop := range []string{zfs.PropVolume, zfs.PropUUID} {
		if err := v.z.Inherit(ctx, v.c.Dataset, prop); err != nil {
			return err
		}
	}
	v.a.places.Delete(v.s.UUID)
	v.r.Gone = true
	v.note("it is kept as %s", v.c.Dataset)
	return nil
}

func (v *visit) asideAllowed(ctx context.Context) error {
	if err := expected(v.c, v.s, state.Standby, state.Retired); err != nil {
		return err
	}
	if v.c.Receiving {
		return errorf(CodeBusy, "it is receiving").about(v.c)
	}
	f := facts{}
	if err := v.use(ctx, &f); err != nil {
		return err
	}
	if err := unused(v.c, f); err != nil {
		return err
	}
	if err := unmountable(v.c, f); err != nil {
		return err
	}
	return v.a.unmountTree(ctx, v.z, v.c)
}

// nothingInTheWay says so if a dataset that is not the volume's has its name; that one is never touched.
func (v *visit) nothingInTheWay(ctx context.Context) error {
	home := v.a.home(v.s.Volume)
	_, err := v.z.Facts(ctx, home)
	if errors.Is(err, zfs.ErrNotFound) {
		v.r.Gone = true
		return nil
	}
	if err != nil {
		return err
	}
	return errorf(CodeInTheWay, "dataset %s is not a copy of this volume and is not touched: rename it", home)
}

// childAside renames a child of a standby, with what is below it, out of the tree. It stays readonly, which it has inherited.
func (v *visit) childAside(ctx context.Context) error {
	part := v.c.Part(v.s.Child)
	if part == nil {
		return nil
	}
	was := fmt.Sprintf("%s/%s/%s/%s", v.c.Volume, v.c.UUID, v.c.Role, v.c.Epoch)
	if err := v.z.Set(ctx, part.Dataset, map[string]string{propAside: was, "readonly": "on", "canmount": "noauto"}); err != nil {
		return err
	}
	name, err := v.renameAside(ctx, part.Dataset, v.c.Dataset+"."+strings.ReplaceAll(v.s.Child, "/", "."))
	if err != nil {
		return err
	}
	v.note("%s is kept as %s", part.Dataset, name)
	return v.reread(ctx)
}

// renameAside renames a dataset to the first free name that begins so, and returns it.
func (v *visit) renameAside(ctx context.Context, dataset, begins string) (string, error) {
	all, err := v.z.Datasets(ctx, v.a.poolName())
	if err != nil {
		return "", err
	}
	for n := 1; ; n++ {
		name := begins + ".aside-" + strconv.Itoa(n)
		if !slices.Contains(all, name) {
			return name, v.z.Rename(ctx, dataset, name)
		}
	}
}

// abortReceive drops a half-received stream. Of a first stream nothing remains.
func (v *visit) abortReceive(ctx context.Context) error {
	if v.c == nil {
		v.r.Gone = true
		return nil
	}
	if err := expected(v.c, v.s, state.Standby); err != nil {
		return err
	}
	part := v.c.Part(v.s.Child)
	if part == nil || part.ResumeToken == "" {
		return nil
	}
	if v.s.Token != "" && v.s.Token != part.ResumeToken {
		return errorf(CodeUnexpected, "its half-received stream is another one by now").about(v.c)
	}
	var err error
	v.c, err = v.a.dropPartial(ctx, v.z, part)
	v.r.Gone = v.c == nil
	return err
}

// dropPartial aborts what a part of a standby has half-received and returns what is left of the copy, or nil.
func (a *Agent) dropPartial(ctx context.Context, z *zfs.ZFS, part *state.Copy) (*state.Copy, error) {
	if err := z.AbortReceive(ctx, part.Dataset); err != nil {
		return nil, err
	}
	return a.find(ctx, z, part.UUID, part.Volume)
}
