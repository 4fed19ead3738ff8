// Package register remembers what must be known when a node is silent: births of volumes, members, forced failovers,
// people's marks, and who leads. It stands on a [Store], a small compare-and-set store: files on one machine ([OpenFile]),
// ZooKeeper on a real cluster.
//
// It holds no state of moves (that is on the datasets) and decides nothing.
//
// Invariants:
//   - A volume is claimed once. Only a person's ForgetVolume voids a claim.
//   - A term is durable before the leader learns of it, and is never given twice.
//   - What cannot be read is an error, never absent.
package register

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/drover-project/drover/state"
)

// The kinds of entries.
const (
	births  = "births"  // volume -> state.Birth
	members = "members" // node id -> state.Member
	forced  = "forced"  // uuid -> highest F
	marks   = "marks"   // app -> state.Mark
	timings = "timings" // app -> state.Timing
	status  = "status/last"
	desired = "desired/last"
)

// Register is the register of one cluster. It is safe for concurrent use, by many processes too.
type Register struct{ store Store }

// New returns a register that is kept in s.
func New(s Store) *Register { return &Register{store: s} }

// Open opens the register at a URL: "file:///var/lib/drover/register". Others, such as "zk://", are refused.
func Open(location string) (*Register, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("register: %w", err)
	}
	switch {
	case u.Scheme == "zk":
		return nil, fmt.Errorf("register %s: ZooKeeper is not built in yet; use file:///PATH on one machine", location)
	case u.Scheme != "file" || u.Host != "" || !filepath.IsAbs(u.Path):
		return nil, fmt.Errorf("register %q: want file:///PATH", location)
	}
	f, err := OpenFile(filepath.FromSlash(u.Path))
	if err != nil {
		return nil, err
	}
	return New(f), nil
}

// Observe reads the whole register. If any part of it cannot be read, the answer is a Source.Err and nothing else.
func (r *Register) Observe(ctx context.Context, now time.Time) state.Register {
	o, err := r.observe(ctx)
	if err != nil {
		return state.Register{Source: state.Source{At: now, Err: err.Error()}}
	}
	o.At = now
	return o
}

func (r *Register) observe(ctx context.Context) (o state.Register, err error) {
	if o.Births, err = all[state.VolumeName, state.Birth](ctx, r.store, births); err != nil {
		return o, err
	}
	for v, b := range o.Births {
		if b.Volume != v {
			return o, fmt.Errorf("%w: the birth of %q is filed under %q", ErrDamaged, b.Volume, v)
		}
	}
	if o.Members, err = all[state.NodeID, state.Member](ctx, r.store, members); err != nil {
		return o, err
	}
	if o.Forced, err = all[state.UUID, uint64](ctx, r.store, forced); err != nil {
		return o, err
	}
	o.Marks, err = all[state.AppID, state.Mark](ctx, r.store, marks)
	return o, err
}

// Claim makes the claim b unless there is one for b.Volume, and returns the one in force: the caller compares UUIDs. A claim
// whose answer was lost may be repeated.
func (r *Register) Claim(ctx context.Context, b state.Birth) (state.Birth, error) {
	data, err := json.Marshal(b)
	if err != nil {
		return state.Birth{}, err
	}
	key := keyFor(births, b.Volume)
	for {
		_, err := r.store.Put(ctx, key, data, 0)
		if !errors.Is(err, ErrConflict) {
			return b, err
		}
		e, err := r.store.Get(ctx, key)
		if errors.Is(err, ErrNotFound) {
			continue // forgotten in between
		}
		if err != nil {
			return state.Birth{}, err
		}
		return parse[state.Birth](key, e.Data)
	}
}

// RecordCreated notes that the dataset of a claimed volume was seen. ErrNotFound: no claim; ErrConflict: of another uuid.
func (r *Register) RecordCreated(ctx context.Context, v state.VolumeName, id state.UUID) error {
	return change(ctx, r.store, keyFor(births, v), func(b state.Birth, found bool) (state.Birth, error) {
		switch {
		case !found:
			return b, fmt.Errorf("volume %s was never claimed: %w", v, ErrNotFound)
		case b.UUID != id:
			return b, fmt.Errorf("volume %s is claimed with uuid %s, not %s: %w", v, b.UUID, id, ErrConflict)
		}
		b.Created = true
		return b, nil
	})
}

// ForgetVolume voids the claim on a volume, by a person's word. ErrNotFound if there is none.
func (r *Register) ForgetVolume(ctx context.Context, v state.VolumeName) error {
	return r.forget(ctx, keyFor(births, v))
}

// PutMember adds or changes a member. An unchanged member costs no write.
func (r *Register) PutMember(ctx context.Context, m state.Member) error {
	return put(ctx, r.store, keyFor(members, m.ID), m)
}

// ForgetMember removes a member, by a person's word. ErrNotFound if there is none.
func (r *Register) ForgetMember(ctx context.Context, id state.NodeID) error {
	return r.forget(ctx, keyFor(members, id))
}

// SetMark sets the mark of an app, or removes it if m is nil.
func (r *Register) SetMark(ctx context.Context, app state.AppID, m *state.Mark) error {
	key := keyFor(marks, app)
	if m != nil {
		return put(ctx, r.store, key, *m)
	}
	if err := r.forget(ctx, key); !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

// ClaimForced claims f for a forced failover of a volume. ErrConflict if f or a higher one is claimed already.
func (r *Register) ClaimForced(ctx context.Context, id state.UUID, f uint64) error {
	return change(ctx, r.store, keyFor(forced, id), func(is uint64, _ bool) (uint64, error) {
		if f <= is {
			return is, fmt.Errorf("forced failover %d of volume %s: %d is claimed already: %w", f, id, is, ErrConflict)
		}
		return f, nil
	})
}

// SetTiming keeps what the parts of an app's last cutover took.
func (r *Register) SetTiming(ctx context.Context, app state.AppID, t state.Timing) error {
	return put(ctx, r.store, keyFor(timings, app), t)
}

// Timings returns what SetTiming kept, for every app.
func (r *Register) Timings(ctx context.Context) (map[state.AppID]state.Timing, error) {
	return all[state.AppID, state.Timing](ctx, r.store, timings)
}

// PublishStatus keeps the leader's last status, JSON, for whoever asks.
func (r *Register) PublishStatus(ctx context.Context, data []byte) error {
	if !json.Valid(data) {
		return errors.New("publish status: not JSON")
	}
	return put(ctx, r.store, status, json.RawMessage(data))
}

// Status returns what was published last. ErrNotFound if nothing was.
func (r *Register) Status(ctx context.Context) ([]byte, error) {
	e, err := r.store.Get(ctx, status)
	return e.Data, err
}

// KeepDesired keeps the last good set of manifests, so that a controller that starts while the manifests are broken knows it.
func (r *Register) KeepDesired(ctx context.Context, d *state.Desired) error {
	return put(ctx, r.store, desired, *d)
}

// Desired returns what KeepDesired kept. ErrNotFound if nothing was.
func (r *Register) Desired(ctx context.Context) (*state.Desired, error) {
	e, err := r.store.Get(ctx, desired)
	if err != nil {
		return nil, err
	}
	d := new(state.Desired)
	if err := json.Unmarshal(e.Data, d); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", desired, ErrDamaged, err)
	}
	return d, nil
}

// Campaign blocks until holder leads, or ctx ends.
func (r *Register) Campaign(ctx context.Context, holder string) (Leadership, error) {
	return r.store.Campaign(ctx, holder)
}

// Leader returns who leads now and the highest term given so far. ok is false if nobody leads.
func (r *Register) Leader(ctx context.Context) (holder string, term state.Term, ok bool, err error) {
	return r.store.Leader(ctx)
}

// forget deletes an entry whatever it says, as it was when looked at.
func (r *Register) forget(ctx context.Context, key string) error {
	for {
		e, err := r.store.Get(ctx, key)
		if err != nil {
			return err
		}
		if err := r.store.Delete(ctx, key, e.Version); !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

// put writes v whatever was there.
func put[T any](ctx context.Context, s Store, key string, v T) error {
	return change(ctx, s, key, func(T, bool) (T, error) { return v, nil })
}

// change reads an entry, lets next change it and writes it, again if somebody else was faster. What stays as it is is not
// written.
func change[T any](ctx context.Context, s Store, key string, next func(now T, found bool) (T, error)) error {
	for {
		e, err := s.Get(ctx, key)
		found := !errors.Is(err, ErrNotFound)
		if err != nil && found {
			return err
		}
		var now T
		if found {
			if now, err = parse[T](key, e.Data); err != nil {
				return err
			}
		}
		v, err := next(now, found)
		if err != nil {
			return err
		}
		data, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if found && bytes.Equal(data, e.Data) {
			return nil
		}
		if _, err := s.Put(ctx, key, data, e.Version); !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

// all reads every entry of a kind. One that was deleted between the list and its reading is left out.
func all[K ~string, T any](ctx context.Context, s Store, kind string) (map[K]T, error) {
	keys, err := s.List(ctx, kind)
	if err != nil {
		return nil, err
	}
	found := make(map[K]T, len(keys))
	for _, key := range keys {
		e, err := s.Get(ctx, key)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		name, err := url.PathUnescape(strings.TrimPrefix(key, kind+"/"))
		if err != nil {
			return nil, fmt.Errorf("%w: key %s: %w", ErrDamaged, key, err)
		}
		if found[K(name)], err = parse[T](key, e.Data); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func parse[T any](key string, data []byte) (v T, err error) {
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("%w: %s: %w", ErrDamaged, key, err)
	}
	return v, nil
}

// keyFor makes a key of any name: bytes that a key cannot have are written as %XX.
func keyFor[K ~string](kind string, name K) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~"
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; strings.IndexByte(plain, c) >= 0 || c == '.' && i > 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return kind + "/" + b.String()
}
