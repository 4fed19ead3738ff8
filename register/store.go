package register

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/drover-project/drover/state"
)

var (
	// ErrNotFound says that there is no such entry. It is only returned by a store that was read and does not have it.
	ErrNotFound = errors.New("not in the register")
	// ErrConflict says that an entry is not as the caller expected: it exists, was changed, or is another one.
	ErrConflict = errors.New("the register has something else")
	// ErrDamaged says that something is there and cannot be understood. A person must restore it: it is not absent.
	ErrDamaged = errors.New("the register is damaged")
	// ErrGone says that the store itself is not where it was. Its entries are not absent, they are unknown.
	ErrGone = errors.New("the register is gone")
)

// Entry is one value in a [Store].
type Entry struct {
	Data    []byte
	Version int64 // from 1, grows with each Put; comparable only as long as the entry is not deleted
}

// Store is a durable compare-and-set store with one leadership. A key is a kind and a name, such as "births/tododata"; see
// [CheckKey]. Data is small: ZooKeeper refuses a mebibyte.
// When a method returns without error, its effect survives a power cut. When it returns an error other than ErrNotFound and
// ErrConflict, its effect is unknown.
// All implementations pass the suite in package registertest.
type Store interface {
	// Get returns an entry. ErrNotFound if there is none.
	Get(ctx context.Context, key string) (Entry, error)
	// Put writes an entry that has the given version, 0 for one that must not exist, and returns the new version.
	// ErrConflict if it has another version or, for a version above 0, does not exist.
	Put(ctx context.Context, key string, data []byte, version int64) (int64, error)
	// Delete removes an entry that has the given version. ErrNotFound if there is none, ErrConflict if it has another.
	Delete(ctx context.Context, key string, version int64) error
	// List returns the keys of a kind, sorted. A kind without entries is empty, not an error.
	List(ctx context.Context, kind string) ([]string, error)
	// Campaign blocks until holder leads, and returns the leadership with a term above all before it; or the error of ctx.
	Campaign(ctx context.Context, holder string) (Leadership, error)
	// Leader returns who leads now and the highest term given so far. ok is false, and holder empty, if nobody leads.
	Leader(ctx context.Context) (holder string, term state.Term, ok bool, err error)
}

// Leadership is held from [Store.Campaign] until Resign, the end of the process, or its loss.
type Leadership interface {
	// Term is durably recorded, and above every term given before.
	Term() state.Term
	// Lost is closed when the leadership is over, for whatever reason.
	Lost() <-chan struct{}
	// Resign gives the leadership up and waits for its watch to end. Calling it again does nothing.
	Resign() error
}

var segment = regexp.MustCompile(`^[A-Za-z0-9_~%-][A-Za-z0-9._~%-]{0,199}$`)
var fullKey = regexp.MustCompile(`^([^/]*)/([^/]*)$`)

// CheckKey says what is wrong with a key: it wants a kind and a name, each of 1 to 200 letters, digits and "-_.~%", without a
// dot in front. Such names are safe in a file system and in ZooKeeper.
func CheckKey(key string) error {
	m := fullKey.FindStringSubmatch(key)
	if m == nil || !segment.MatchString(m[1]) || !segment.MatchString(m[2]) {
		return fmt.Errorf("key %q: want KIND/NAME of at most 200 letters, digits and -_.~%% each", key)
	}
	return nil
}
