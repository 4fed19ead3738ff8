package zfs

import (
	"context"
	"errors"
	"os/exec"
	"strings"
)

// texts turns messages into kinds. The first entry found in the message, with white space made single, decides; so the
// particular stands before the general. Each is at least two words: a name of a volume, which stands in most messages, must
// not be taken for one. OpenZFS 2.1.11 and 2.3.2 print all of them unless another is named.
var texts = []struct {
	says string
	kind error
}{
	// A half-received stream. It shows as a clone named %recv when something else is tried on its base.
	{"contains partially-complete state", ErrPartial},
	{"partially-completed state", ErrPartial},
	{"/%recv", ErrPartial},
	{"does not have any resumable receive state", ErrNotFound},

	// Resume tokens. A token whose state was aborted on the receiver gets the misleading advice on kernel modules.
	{"resume token is corrupt", ErrTokenCorrupt},
	{"used in the initial send", ErrTokenStale},
	{"no longer exists", ErrTokenStale},
	{"cannot receive resume stream: kernel modules must be upgraded", ErrTokenStale},

	// Increments.
	{"does not match incremental source", ErrNoBase},
	{"not an earlier snapshot from the same fs", ErrNoBase},
	{": incremental source", ErrNoBase},
	{"has been modified", ErrModified},
	{"incremental send stream requires", ErrUsage},

	// Streams.
	{"stream has unsupported feature", ErrFeature},
	{"pool must be upgraded to receive this stream", ErrFeature},
	{"out of space", ErrNoSpace},
	{"space quota exceeded", ErrNoSpace},
	{"incomplete stream", ErrIncomplete},
	{"checksum mismatch", ErrIncomplete},
	{"failed to read from stream", ErrIncomplete},
	{"invalid stream", ErrIncomplete},
	{"Broken pipe", ErrIncomplete},
	{"signal received", ErrIncomplete},

	// Pools.
	{"is currently suspended", ErrSuspended},
	{"pool is read-only", ErrReadonlyPool},
	{"no such pool", ErrNoPool},
	{"key must be loaded", ErrKey},
	{"key not loaded", ErrKey},

	// Names. Some of these are followed by the usage text, so they stand before it.
	{"has children", ErrChildren},
	{"has dependent clones", ErrChildren},
	{"is cloned", ErrChildren},
	{"destination has snapshots", ErrExists},
	{"must specify -F to overwrite", ErrExists},
	{"already exists", ErrExists}, // dataset, snapshot, hold
	{"bookmark exists", ErrExists},
	{"more recent snapshots or bookmarks exist", ErrNewer},
	{"being held", ErrHeld}, // Debian's 2.3.2 and everything from 2.3.3
	{"is busy", ErrBusy},
	{"size is less than current used", ErrNoSpace},
	{"size is greater than available space", ErrNoSpace},
	{"could not find any snapshots to destroy", ErrNotFound},
	{"no such tag on this dataset", ErrNotFound},
	{"does not exist", ErrNotFound},

	// Our own mistakes.
	{"invalid property", ErrUsage},
	{"invalid option", ErrUsage},
	{"invalid character", ErrUsage},
	{"invalid argument", ErrUsage},
	{"must be one of", ErrUsage},
	{"must be an absolute path", ErrUsage},
	{"bad numeric value", ErrUsage},
	{"' is readonly", ErrUsage},
	{"is too long", ErrUsage},
	{"value too long", ErrUsage},
	{"is not expected here", ErrUsage},
	{"cannot be set or excluded", ErrUsage},
	{"multiple snapshots of same fs", ErrUsage},
	{"not applicable to datasets of this type", ErrUsage},
	{"does not apply to pools", ErrUsage},
	{"is not a snapshot", ErrUsage},
	{"no mountpoint set", ErrUsage},
	{"legacy mountpoint", ErrUsage},
	{"'canmount' property is set to 'off'", ErrUsage},
	{"within same pool", ErrUsage},
	{"not a cloned filesystem", ErrUsage},
	{"specified multiple times", ErrUsage},
	{"usage: ", ErrUsage},
}

// classify returns the kind of a message, or nil if it is not known.
func classify(stderr string) error {
	said := plain(stderr)
	for _, t := range texts {
		if strings.Contains(said, t.says) {
			return t.kind
		}
	}
	return nil
}

// failure makes an Error of how a command ended, or nil if it ended well. A command that was cancelled has an unknown
// outcome even if it exited with 0 meanwhile: part of its output may be missing.
func failure(ctx context.Context, args []string, err error, stderr string) error {
	if err == nil {
		return nil
	}
	e := &Error{Command: args, Exit: -1, Stderr: stderr}
	var exit *exec.ExitError
	isExit := errors.As(err, &exit)
	if isExit {
		e.Exit = exit.ExitCode()
	}
	switch {
	case ctx.Err() != nil:
		e.Kind, e.Cause = ErrTimeout, context.Cause(ctx)
	case isExit && e.Exit < 0:
		e.Kind, e.Cause = ErrKilled, err
	case isExit:
		e.Kind = classify(stderr)
	default:
		e.Cause = err
	}
	return e
}

// lines returns the lines of a message.
func lines(stderr string) []string {
	return strings.FieldsFunc(stderr, func(r rune) bool { return r == '\n' })
}

// onlySays reports whether every line of an error's message contains one of the texts: then nothing else went wrong.
func onlySays(err error, texts ...string) bool {
	var e *Error
	if !errors.As(err, &e) || e.Exit <= 0 {
		return false
	}
	said := lines(e.Stderr)
	for _, line := range said {
		if !containsAny(line, texts) {
			return false
		}
	}
	return len(said) > 0
}

func containsAny(line string, texts []string) bool {
	for _, t := range texts {
		if strings.Contains(line, t) {
			return true
		}
	}
	return false
}
