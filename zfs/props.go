package zfs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The user properties in which Drover keeps what must outlive its processes. They count only where their source is local:
// children and snapshots inherit them.
const (
	PropVolume      = "drover:volume"       // name of the volume
	PropUUID        = "drover:uuid"         // its identity
	PropRole        = "drover:role"         // primary, fenced, released, retired or standby
	PropEpoch       = "drover:epoch"        // F.N
	PropReleased    = "drover:released"     // TO/EPOCH/GUID, or "none"
	PropLead        = "drover:lead"         // the app's first volume
	PropSendFlags   = "drover:sendflags"    // flags of the first stream, such as -Lce
	PropGraceServed = "drover:grace-served" // seconds
	PropReclaim     = "drover:reclaim"      // Retain or Delete
	PropLimits      = "drover:limits"       // on a standby and its children: quotas and reservations for after its promotion
	PropNode        = "drover:node"         // on the root: the node's id
	PropTerm        = "drover:term"         // on the root: highest term seen
	PropRefused     = "drover:refused."     // on the root, followed by a volume's uuid: highest epoch sworn off
)

// native are the settable properties that a copy's Properties may hold. zfs refuses a whole listing for one property that
// it does not know, so these are what OpenZFS 2.1 has.
var native = strings.Fields(`
	aclinherit acltype atime canmount checksum compression copies dedup devices dnodesize exec
	filesystem_limit logbias mountpoint overlay primarycache quota readonly recordsize redundant_metadata refquota
	refreservation relatime reservation secondarycache setuid sharenfs sharesmb snapdir snapshot_limit
	special_small_blocks sync xattr`)

// Limits are the properties that bound a dataset. A standby has none of them before it is promoted: they could keep its data
// from arriving. zfs cannot inherit them; the value 0 removes one.
var Limits = []string{"quota", "refquota", "refreservation", "reservation"}

// Carried are the native properties that travel with a volume where they are set on its datasets.
//
//   - What an app sees: aclinherit, acltype, atime, devices, exec, relatime, setuid, snapdir, xattr.
//   - How its blocks are written: checksum, compression, copies, dnodesize, logbias, recordsize, redundant_metadata, sync.
//   - How they are cached: primarycache, secondarycache.
//
// The others stay behind: shares would export the data from a node that nobody chose, dedup and special_small_blocks are about
// a pool, counts of file systems and snapshots would keep Drover's own from being made, overlay, mountpoint, canmount and readonly are
// Drover's, and the limits come later, see [Limits].
var Carried = []string{"aclinherit", "acltype", "atime", "checksum", "compression", "copies", "devices", "dnodesize", "exec", "logbias",
	"primarycache", "recordsize", "redundant_metadata", "relatime", "secondarycache", "setuid", "snapdir", "sync", "xattr"}

// apart are the properties that `zfs set` applies one by one, each in a transaction of its own. All others of one command
// are one atomic, durable transaction.
var apart = map[string]bool{
	"compression": true, "filesystem_limit": true, "keylocation": true, "quota": true, "refquota": true,
	"refreservation": true, "reservation": true, "snapdev": true, "snapshot_limit": true, "version": true,
	"volmode": true, "volsize": true,
}

// Set sets properties of a dataset or snapshot in one command and one transaction: all of them, or none, durably. It refuses
// (ErrUsage) a mixture that zfs would not apply as one: OpenZFS 2.1.11 and 2.3.2 leave the plain ones set when a quota
// fails. OpenZFS from 2.3 mounts an unmounted canmount=on file system when its mountpoint is set.
func (z *ZFS) Set(ctx context.Context, dataset string, props map[string]string) error {
	if err := checkAtomic(props); err != nil {
		return fmt.Errorf("set %s: %w", dataset, err)
	}
	return z.set(ctx, dataset, props)
}

// SetEach sets properties that need not change together, quotas and compression among them: first all plain ones, then the
// others one by one. It stops at the first error; what was set stays set, and doing it again is harmless.
func (z *ZFS) SetEach(ctx context.Context, dataset string, props map[string]string) error {
	for _, part := range separate(props) {
		if err := z.set(ctx, dataset, part); err != nil {
			return err
		}
	}
	return nil
}

func (z *ZFS) set(ctx context.Context, dataset string, props map[string]string) error {
	words, err := assignments(props)
	if err == nil {
		err = checkSettable(dataset, words)
	}
	if err != nil {
		return fmt.Errorf("set %s: %w", dataset, err)
	}
	return z.do(ctx, slices.Concat([]string{"zfs", "set"}, words, []string{dataset})...)
}

func checkSettable(dataset string, words []string) error {
	if len(words) == 0 {
		return refuse("no property given")
	}
	if strings.Contains(dataset, "@") {
		return checkSnapshot(dataset)
	}
	return checkDataset(dataset)
}

func checkAtomic(props map[string]string) error {
	for name := range props {
		if apart[name] && len(props) > 1 {
			return refuse("property %s is not set in one transaction with others", name)
		}
	}
	return nil
}

// separate splits properties into sets of which each is one transaction.
func separate(props map[string]string) []map[string]string {
	plain := map[string]string{}
	var parts []map[string]string
	for _, name := range slices.Sorted(maps.Keys(props)) {
		if apart[name] {
			parts = append(parts, map[string]string{name: props[name]})
		} else {
			plain[name] = props[name]
		}
	}
	if len(plain) > 0 {
		parts = slices.Insert(parts, 0, plain)
	}
	return parts
}

// Inherit removes a property's local value from a dataset. It is no error if there was none.
func (z *ZFS) Inherit(ctx context.Context, dataset, prop string) error {
	if err := checkPropertyName(prop); err != nil {
		return fmt.Errorf("inherit: %w", err)
	}
	if err := checkDataset(dataset); err != nil {
		return fmt.Errorf("inherit %s: %w", prop, err)
	}
	return z.do(ctx, "zfs", "inherit", prop, dataset)
}

// LocalProperties returns every property with a local value, native and user ones, sizes in bytes. A value with a tab or a
// newline, which some other tool may have set, cannot be read from zfs's listing: that is ErrOutput.
func (z *ZFS) LocalProperties(ctx context.Context, dataset string) (map[string]string, error) {
	if err := checkDataset(dataset); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	out, err := z.run(ctx, "zfs", "get", "-Hp", "-s", "local", "-o", "name,property,value", "all", dataset)
	if err != nil {
		return nil, err
	}
	props, err := parseProperties(out, dataset)
	if err != nil {
		return nil, fmt.Errorf("zfs get all %s: %w", dataset, err)
	}
	return props, nil
}

func parseProperties(out []byte, dataset string) (map[string]string, error) {
	table, err := rows(out, 3)
	if err != nil {
		return nil, err
	}
	props := make(map[string]string, len(table))
	for _, r := range table {
		if _, twice := props[r[1]]; twice || r[0] != dataset {
			return nil, fmt.Errorf("property %s of %s: unexpected row: %w", clip(r[1]), clip(r[0]), ErrOutput)
		}
		props[r[1]] = r[2]
	}
	return props, nil
}
