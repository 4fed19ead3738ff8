package state

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// AppID is a Marathon app's absolute path, such as "/todo/db".
type AppID string

// VolumeName names a volume in the manifests, such as "tododata". It is also the last component of its dataset's name.
type VolumeName string

// NodeID identifies a node's pool. It is random, made when the agent first sees the pool, and kept on the pool: a
// re-installed node with the same hostname is a new node.
type NodeID string

// Hostname is the name under which Mesos knows a node; constraints on "hostname" compare with it.
type Hostname string

// UUID identifies a volume for life; a volume that is made again under an old name has a new one.
type UUID string

// MoveID names one move of one app: the app and the epoch that the move leads to, such as "todo_db-0.2". It is derived
// from what is observed, so a controller that takes over names the move as its predecessor did.
type MoveID string

// Term counts leaderships of the controller. An agent refuses requests of a lower term than it has seen.
type Term uint64

// GUID is the identity of a snapshot. Send and receive preserve it; names, times and transaction groups are not preserved.
type GUID uint64

// String returns the guid in decimal, as zfs prints it.
func (g GUID) String() string { return strconv.FormatUint(uint64(g), 10) }

// MarshalText writes decimal digits. A JSON number would lose the low bits in readers that use doubles.
func (g GUID) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText reads decimal digits.
func (g *GUID) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		return fmt.Errorf("guid %q: %w", b, err)
	}
	*g = GUID(n)
	return nil
}

// Epoch orders the ownership of a volume: "F.N". N grows each time any copy becomes writable, F only by a forced failover.
// The zero Epoch is before every real one.
type Epoch struct {
	F uint64 // forced failovers so far
	N uint64 // changes of the writable copy so far
}

// Compare returns -1, 0 or +1 as e is before, equal to or after o.
func (e Epoch) Compare(o Epoch) int {
	return cmp.Or(cmp.Compare(e.F, o.F), cmp.Compare(e.N, o.N))
}

// Less reports whether e is before o.
func (e Epoch) Less(o Epoch) bool { return e.Compare(o) < 0 }

// Next returns the epoch directly after e within the same F.
func (e Epoch) Next() Epoch { return Epoch{F: e.F, N: e.N + 1} }

// IsZero reports whether e was never set.
func (e Epoch) IsZero() bool { return e == Epoch{} }

// String returns "F.N".
func (e Epoch) String() string { return fmt.Sprintf("%d.%d", e.F, e.N) }

// MarshalText writes "F.N".
func (e Epoch) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText reads "F.N".
func (e *Epoch) UnmarshalText(b []byte) (err error) {
	*e, err = ParseEpoch(string(b))
	return err
}

// ParseEpoch reads "F.N", both decimal.
func ParseEpoch(s string) (Epoch, error) {
	f, n, ok := strings.Cut(s, ".")
	if !ok {
		return Epoch{}, fmt.Errorf("epoch %q: want F.N, such as 0.2", s)
	}
	var e Epoch
	var err error
	if e.F, err = strconv.ParseUint(f, 10, 64); err != nil {
		return Epoch{}, fmt.Errorf("epoch %q: %w", s, err)
	}
	if e.N, err = strconv.ParseUint(n, 10, 64); err != nil {
		return Epoch{}, fmt.Errorf("epoch %q: %w", s, err)
	}
	return e, nil
}

// MaxEpoch returns the latest of the given epochs, or the zero Epoch.
func MaxEpoch(es ...Epoch) Epoch {
	var m Epoch
	for _, e := range es {
		if m.Less(e) {
			m = e
		}
	}
	return m
}
