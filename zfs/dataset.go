package zfs

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Create creates a file system with these properties, in one transaction but for quotas. Its parent must exist. Errors:
// ErrExists, ErrNotFound (the parent), ErrNoSpace, ErrUsage. A file system that was created but could not be mounted is an
// error of no kind.
func (z *ZFS) Create(ctx context.Context, dataset string, props map[string]string) error {
	if err := checkBelow(dataset); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	opts, err := options(props)
	if err != nil {
		return fmt.Errorf("create %s: %w", dataset, err)
	}
	return z.do(ctx, slices.Concat([]string{"zfs", "create"}, opts, []string{dataset})...)
}

// Clone makes a writable dataset of a snapshot, with these properties.
func (z *ZFS) Clone(ctx context.Context, snapshot, dataset string, props map[string]string) error {
	if err := checkSnapshot(snapshot); err != nil {
		return fmt.Errorf("clone: %w", err)
	}
	if err := checkBelow(dataset); err != nil {
		return fmt.Errorf("clone %s: %w", snapshot, err)
	}
	opts, err := options(props)
	if err != nil {
		return fmt.Errorf("clone %s: %w", snapshot, err)
	}
	return z.do(ctx, slices.Concat([]string{"zfs", "clone"}, opts, []string{snapshot, dataset})...)
}

// Destroy destroys one snapshot, one bookmark, or one dataset that has neither snapshots nor children; never more (no -r, no
// -R, no -f), and never a pool's top dataset. Errors: ErrNotFound, ErrHeld, ErrBusy (which is how OpenZFS up to 2.3.2 says
// held), ErrChildren.
func (z *ZFS) Destroy(ctx context.Context, name string) error {
	if err := checkDestroyable(name); err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	return z.do(ctx, "zfs", "destroy", name)
}

func checkDestroyable(name string) error {
	switch {
	case strings.Contains(name, "@"):
		return checkSnapshot(name)
	case strings.Contains(name, "#"):
		return checkBookmark(name)
	}
	return checkBelow(name)
}

// DestroyTree destroys a dataset with all its snapshots and children (-r). The caller has proven before that it may go, and
// that it is mounted in no namespace of this machine: zfs removes every snapshot first and only then finds the dataset busy
// and leaves it without them. A held snapshot makes it fail before anything is removed.
func (z *ZFS) DestroyTree(ctx context.Context, dataset string) error {
	if err := checkBelow(dataset); err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	return z.do(ctx, "zfs", "destroy", "-r", dataset)
}

// Rename renames a dataset within its pool, or a snapshot within its dataset. A mounted dataset is mounted again at its new
// place; one that is in use there is ErrBusy. A mount in another namespace is not noticed.
func (z *ZFS) Rename(ctx context.Context, from, to string) error {
	check := checkBelow
	if strings.Contains(from, "@") {
		check = checkSnapshot
	}
	if err := checkEach([]string{from, to}, check); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	return z.do(ctx, "zfs", "rename", from, to)
}

// Rollback takes a dataset back to its newest snapshot, and loses what was written since. If the snapshot is not the newest
// it is ErrNewer, and nothing changes.
func (z *ZFS) Rollback(ctx context.Context, snapshot string) error {
	if err := checkSnapshot(snapshot); err != nil {
		return fmt.Errorf("rollback: %w", err)
	}
	return z.do(ctx, "zfs", "rollback", snapshot)
}

// Mount mounts a dataset, with mount options such as "ro". It is no error if it is mounted already; then the options are
// not applied.
func (z *ZFS) Mount(ctx context.Context, dataset string, options ...string) error {
	if err := checkDataset(dataset); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	args := []string{"zfs", "mount"}
	for _, o := range options {
		if !mountOption.MatchString(o) {
			return fmt.Errorf("mount %s: %w", dataset, refuse("option %q", o))
		}
		args = append(args, "-o", o)
	}
	err := z.do(ctx, append(args, dataset)...)
	if onlySays(err, "filesystem already mounted") {
		return nil
	}
	return err
}

// Unmount unmounts a dataset in this mount namespace, with its children. It is no error if it is not mounted. It is ErrBusy
// if it is in use; but an unmount that succeeds proves nothing about other namespaces.
func (z *ZFS) Unmount(ctx context.Context, dataset string) error {
	if err := checkDataset(dataset); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	err := z.do(ctx, "zfs", "unmount", dataset)
	if onlySays(err, "not currently mounted") {
		return nil
	}
	return err
}

// Datasets returns the names of all file systems and volumes of a pool. Errors: ErrNotFound, ErrNoPool.
func (z *ZFS) Datasets(ctx context.Context, pool string) ([]string, error) {
	if err := checkDataset(pool); err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	out, err := z.run(ctx, "zfs", "list", "-Hp", "-r", "-t", "filesystem,volume", "-o", "name", pool)
	if err != nil {
		return nil, err
	}
	table, err := rows(out, 1)
	if err != nil {
		return nil, fmt.Errorf("zfs list %s: %w", pool, err)
	}
	names := make([]string, len(table))
	for i, r := range table {
		names[i] = r[0]
	}
	return names, nil
}

// WrittenSince returns how many bytes the dataset has that its snapshot has not, or had and lost. zfs counts them when a
// transaction group is written, some seconds late: call [ZFS.Sync] before. Errors: ErrNotFound for dataset or snapshot.
func (z *ZFS) WrittenSince(ctx context.Context, snapshot string) (int64, error) {
	if err := checkSnapshot(snapshot); err != nil {
		return 0, fmt.Errorf("written since: %w", err)
	}
	dataset, name, _ := strings.Cut(snapshot, "@")
	prop := "written@" + name
	out, err := z.run(ctx, "zfs", "get", "-Hp", "-o", "name,property,value", prop, dataset)
	if err != nil {
		return 0, err
	}
	n, err := parseWritten(out, dataset, prop)
	if err != nil {
		return 0, fmt.Errorf("zfs get %s %s: %w", prop, dataset, err)
	}
	return n, nil
}

func parseWritten(out []byte, dataset, prop string) (int64, error) {
	props, err := parseProperties(out, dataset)
	switch v := props[prop]; {
	case err != nil:
		return 0, err
	case v == "-": // how zfs answers for a snapshot that is not there
		return 0, ErrNotFound
	default:
		return number(v)
	}
}
