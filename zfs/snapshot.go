package zfs

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Tag is the tag of Drover's holds, alone or followed by ":" and more. A snapshot with such a hold is Held.
const Tag = "drover"

func isOurs(tag string) bool { return tag == Tag || strings.HasPrefix(tag, Tag+":") }

// Snapshot takes a snapshot of that name of each dataset, with these user properties, all in one transaction: of all of
// them, or of none. Datasets must be of one pool. Errors: ErrExists, ErrNotFound, ErrNoSpace, ErrBusy (a half-received
// stream is in it).
func (z *ZFS) Snapshot(ctx context.Context, name string, props map[string]string, dataset ...string) error {
	opts, err := options(props)
	if err != nil {
		return fmt.Errorf("snapshot %s: %w", name, err)
	}
	full := make([]string, len(dataset))
	for i, d := range dataset {
		full[i] = d + "@" + name
	}
	if err := checkEach(full, checkSnapshot); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return z.do(ctx, slices.Concat([]string{"zfs", "snapshot"}, opts, full)...)
}

// SnapshotTree takes a snapshot of that name of a dataset and of all that is below it (-r), in one transaction: of all of them, or of
// none. One that a stream is half-received into for the first time is left out. Errors as of [ZFS.Snapshot].
func (z *ZFS) SnapshotTree(ctx context.Context, name, dataset string) error {
	if err := checkSnapshot(dataset + "@" + name); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return z.do(ctx, "zfs", "snapshot", "-r", dataset+"@"+name)
}

// Clones returns the datasets that were made of snapshots of a dataset and of what is below it, by the snapshot's full name.
func (z *ZFS) Clones(ctx context.Context, dataset string) (map[string][]string, error) {
	if err := checkDataset(dataset); err != nil {
		return nil, fmt.Errorf("clones: %w", err)
	}
	out, err := z.run(ctx, "zfs", "get", "-Hp", "-r", "-t", "snapshot", "-o", "name,value", "clones", dataset)
	if err != nil {
		return nil, err
	}
	table, err := rows(out, 2)
	if err != nil {
		return nil, fmt.Errorf("zfs get clones %s: %w", dataset, err)
	}
	clones := map[string][]string{}
	for _, r := range table {
		if r[1] != "" && r[1] != "-" {
			clones[r[0]] = strings.Split(r[1], ",")
		}
	}
	return clones, nil
}

// Bookmark makes a bookmark of a snapshot, dataset#name: a base for increments that outlives the snapshot and takes no
// space. Errors: ErrExists, even if it is of the same snapshot; ErrNotFound.
func (z *ZFS) Bookmark(ctx context.Context, snapshot, bookmark string) error {
	if err := checkSnapshot(snapshot); err != nil {
		return fmt.Errorf("bookmark: %w", err)
	}
	if err := checkBookmark(bookmark); err != nil {
		return fmt.Errorf("bookmark %s: %w", snapshot, err)
	}
	return z.do(ctx, "zfs", "bookmark", snapshot, bookmark)
}

// Hold keeps snapshots from being destroyed. Those that have the hold already are no error. Tags are Drover's own, see
// [Tag]. zfs holds one after the other: after an error some may be held.
func (z *ZFS) Hold(ctx context.Context, tag string, snapshots ...string) error {
	err := z.eachHold(ctx, "hold", tag, snapshots)
	if onlySays(err, "tag already exists on this dataset") {
		return nil
	}
	return err
}

// ReleaseHold takes a hold away. Snapshots that do not have it, or do not exist, are no error.
func (z *ZFS) ReleaseHold(ctx context.Context, tag string, snapshots ...string) error {
	err := z.eachHold(ctx, "release", tag, snapshots)
	if onlySays(err, "no such tag on this dataset", "dataset does not exist") {
		return nil
	}
	return err
}

func (z *ZFS) eachHold(ctx context.Context, verb, tag string, snapshots []string) error {
	if err := checkTag(tag); err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	if err := checkEach(snapshots, checkSnapshot); err != nil {
		return fmt.Errorf("%s %s: %w", verb, tag, err)
	}
	return z.do(ctx, slices.Concat([]string{"zfs", verb, tag}, snapshots)...)
}

// Holds returns the tags of each snapshot's holds, everybody's, by full name. A snapshot without holds is not in the map;
// one that does not exist is ErrNotFound.
func (z *ZFS) Holds(ctx context.Context, snapshots ...string) (map[string][]string, error) {
	if err := checkEach(snapshots, checkSnapshot); err != nil {
		return nil, fmt.Errorf("holds: %w", err)
	}
	return z.holds(ctx, snapshots)
}

// holds reads holds. zfs prints those of what exists and complains about the rest; complaints that contain one of the
// tolerated texts, and nothing else, are no error.
func (z *ZFS) holds(ctx context.Context, snapshots []string, tolerate ...string) (map[string][]string, error) {
	all := make(map[string][]string)
	for _, batch := range batches(snapshots, maxArgs) {
		// Without -p, which OpenZFS 2.1 does not have: the time, the third field, is not read.
		out, err := z.run(ctx, slices.Concat([]string{"zfs", "holds", "-H"}, batch)...)
		if err != nil && !onlySays(err, tolerate...) {
			return nil, err
		}
		if err := parseHolds(out, all); err != nil {
			return nil, fmt.Errorf("zfs holds: %w", err)
		}
	}
	return all, nil
}

func parseHolds(out []byte, all map[string][]string) error {
	table, err := rows(out, 3)
	if err != nil {
		return err
	}
	for _, r := range table {
		all[r[0]] = append(all[r[0]], r[1])
	}
	return nil
}

// maxArg bounds one operand; Linux takes 128 KiB.
const maxArg = 64 << 10

// DestroySnapshots destroys snapshots of one dataset by their names after the "@". Those that do not exist are no error.
// One that is held or in use keeps all from being destroyed (ErrHeld or ErrBusy), as far as their names fit into one operand.
func (z *ZFS) DestroySnapshots(ctx context.Context, dataset string, names ...string) error {
	full := make([]string, len(names))
	for i, n := range names {
		full[i] = dataset + "@" + n
	}
	if err := checkEach(full, checkSnapshot); err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	for _, batch := range batches(names, maxArg) {
		err := z.do(ctx, "zfs", "destroy", dataset+"@"+strings.Join(batch, ","))
		if err != nil && !onlySays(err, "could not find any snapshots to destroy") {
			return err
		}
	}
	return nil
}
