package zfs

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strconv"
)

// Sync writes the pool's open transaction group: what was written before is on stable storage and is counted when it
// returns.
func (z *ZFS) Sync(ctx context.Context, pool string) error {
	if err := checkDataset(pool); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return z.do(ctx, "zpool", "sync", pool)
}

// Version is what `zfs version` says: the commands' release and the kernel module's, which may differ.
type Version struct {
	Userland Release
	Kernel   Release
}

// Release is one release of OpenZFS.
type Release struct {
	Major, Minor, Patch int
	Text                string // whole, such as "2.3.2-2~bpo12+2"
}

// Compare orders releases by number; a distribution's own suffix does not count.
func (r Release) Compare(o Release) int {
	return cmp.Or(cmp.Compare(r.Major, o.Major), cmp.Compare(r.Minor, o.Minor), cmp.Compare(r.Patch, o.Patch))
}

// Oldest is the oldest release that this package was made for.
var Oldest = Release{Major: 2, Minor: 1, Text: "2.1.0"}

// Difference is something that releases do differently and that a caller may have to know. This package itself asks for
// nothing that 2.1 lacks, and reads the messages of all.
type Difference string

// The differences. Each is true from the release in the table on.
const (
	CompressesByDefault  Difference = "compression is on unless set"
	MountpointMounts     Difference = "setting mountpoint mounts an unmounted canmount=on file system"
	SkipsKnownIncrements Difference = "a stream over several snapshots skips those that are there"
	TellsHeldFromBusy    Difference = "destroying a held snapshot is ErrHeld, not ErrBusy"
	ProgressOnSignal     Difference = "SIGUSR1 makes a send print progress instead of ending it"
)

var since = map[Difference]Release{
	CompressesByDefault:  {Major: 2, Minor: 2},
	MountpointMounts:     {Major: 2, Minor: 3},
	SkipsKnownIncrements: {Major: 2, Minor: 2},
	TellsHeldFromBusy:    {Major: 2, Minor: 3, Patch: 3}, // Debian's 2.3.2-2 has it too
	ProgressOnSignal:     {Major: 2, Minor: 2},
}

// Has reports whether this release does it. A difference that is not in the table is in no release.
func (r Release) Has(d Difference) bool {
	from, known := since[d]
	return known && r.Compare(from) >= 0
}

// Version asks for the releases of commands and kernel module. Without the module it fails.
func (z *ZFS) Version(ctx context.Context) (Version, error) {
	out, err := z.run(ctx, "zfs", "version")
	if err != nil {
		return Version{}, err
	}
	return parseVersion(out)
}

var versionText = regexp.MustCompile(`^zfs-((\d{1,4})\.(\d{1,4})\.(\d{1,4})\S*)\nzfs-kmod-((\d{1,4})\.(\d{1,4})\.(\d{1,4})\S*)\n$`)

func parseVersion(out []byte) (Version, error) {
	m := versionText.FindStringSubmatch(string(out))
	if m == nil {
		return Version{}, fmt.Errorf("zfs version: %q: %w", clip(string(out)), ErrOutput)
	}
	return Version{Userland: release(m[1:5]), Kernel: release(m[5:9])}, nil
}

func release(m []string) Release {
	n := func(i int) int { v, _ := strconv.Atoi(m[i]); return v } // at most four digits: it is a number
	return Release{Text: m[0], Major: n(1), Minor: n(2), Patch: n(3)}
}
