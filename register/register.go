// Package register remembers what must be known when a node is silent: births of volumes, members, forced failovers,
// people's marks, and who leads. It stands on a [Store], a small compare-and-set store: files on one machine ([OpenFile]), ZooKeeper on a
// real cluster.
//
// It holds no state of moves (that is on the datasets) and decides nothing.
//
// Invariants:
//   - A volume is claimed once. Only a person's ForgetVolume voids a claim.
//   - A term is durable before the leader learns of it, and is never given twice.
//   - What cannot be read is an error, never absent.
package register

import (
	"context"
	"errors"
	"time"

	"github.com/drover-project/drover/state"
)

var errSkeleton = errors.New("not built yet")

// Register is the register of one cluster. It is safe for concurrent use, by many processes too.
type Register struct{ store Store }

// New returns a register that is kept in s.
func New(s Store) *Register { return &Register{store: s} }

// Open opens the register at a URL: "file:///var/lib/drover/register". Others, such as "zk://", are refused.
func Open(url string) (*Register, error) { return nil, errSkeleton }

// Observe reads the whole register. If any part of it cannot be read, the answer is a Source.Err and nothing else.
func (r *Register) Observe(ctx context.Context, now time.Time) state.Register {
	return state.Register{Source: state.Source{At: now, Err: errSkeleton.Error()}}
}

// Claim makes the claim b unless there is one for b.Volume, and returns the one in force: the caller compares UUIDs.
func (r *Register) Claim(ctx context.Context, b state.Birth) (state.Birth, error) { return b, errSkeleton }

// RecordCreated notes that the dataset of a claimed volume was seen. ErrNotFound: no claim; ErrConflict: of another uuid.
func (r *Register) RecordCreated(ctx context.Context, v state.VolumeName, id state.UUID) error {
	return errSkeleton
}

// ForgetVolume voids the claim on a volume, by a person's word. ErrNotFound if there is none.
func (r *Register) ForgetVolume(ctx context.Context, v state.VolumeName) error { return errSkeleton }

// PutMember adds or changes a member. An unchanged member costs no write.
func (r *Register) PutMember(ctx context.Context, m state.Member) error { return errSkeleton }

// ForgetMember removes a member, by a person's word. ErrNotFound if there is none.
func (r *Register) ForgetMember(ctx context.Context, id state.NodeID) error { return errSkeleton }

// SetMark sets the mark of an app, or removes it if m is nil.
func (r *Register) SetMark(ctx context.Context, app state.AppID, m *state.Mark) error {
	return errSkeleton
}

// ClaimForced claims f for a forced failover of a volume. ErrConflict if f or a higher one is claimed already.
func (r *Register) ClaimForced(ctx context.Context, id state.UUID, f uint64) error { return errSkeleton }

// SetTiming keeps what the parts of an app's last cutover took.
func (r *Register) SetTiming(ctx context.Context, app state.AppID, t state.Timing) error {
	return errSkeleton
}

// Timings returns what SetTiming kept, for every app.
func (r *Register) Timings(ctx context.Context) (map[state.AppID]state.Timing, error) {
	return nil, errSkeleton
}

// PublishStatus keeps the leader's last status, JSON, for whoever asks.
func (r *Register) PublishStatus(ctx context.Context, status []byte) error { return errSkeleton }

// Status returns what was published last. ErrNotFound if nothing was.
func (r *Register) Status(ctx context.Context) ([]byte, error) { return nil, errSkeleton }

// Campaign blocks until holder leads, or ctx ends.
func (r *Register) Campaign(ctx context.Context, holder string) (Leadership, error) {
	return r.store.Campaign(ctx, holder)
}

// Leader returns who leads now and the highest term given so far. ok is false if nobody leads.
func (r *Register) Leader(ctx context.Context) (holder string, term state.Term, ok bool, err error) {
	return r.store.Leader(ctx)
}
