package zfs

import (
	"errors"
	"fmt"
	"strings"
)

// The kinds of failure. An [Error] unwraps to one of them, if its text is known.
var (
	// ErrNotFound: the dataset, snapshot, bookmark or parent does not exist.
	ErrNotFound = errors.New("does not exist")
	// ErrNotCopy: the dataset exists but has no drover:volume of its own.
	ErrNotCopy = errors.New("is not a copy of a volume")
	// ErrExists: a dataset, snapshot, bookmark or hold of that name is there already.
	ErrExists = errors.New("exists already")
	// ErrBusy: mounted and in use, being sent, or being received. OpenZFS up to 2.3.2 also say so of a held snapshot.
	ErrBusy = errors.New("busy")
	// ErrHeld: a hold keeps the snapshot from being destroyed. Only OpenZFS 2.3.3 and Debian's 2.3.2 tell it from ErrBusy.
	ErrHeld = errors.New("held")
	// ErrChildren: the dataset or snapshot still has snapshots, children or clones.
	ErrChildren = errors.New("has dependents")
	// ErrNewer: a rollback would destroy newer snapshots or bookmarks.
	ErrNewer = errors.New("newer snapshots exist")
	// ErrModified: the destination of a receive has changed since the base.
	ErrModified = errors.New("destination was modified")
	// ErrNoBase: the base of an increment is missing on one of the two sides, or is not older than the snapshot.
	ErrNoBase = errors.New("no common base")
	// ErrNoSpace: the pool is full, or a quota is exhausted.
	ErrNoSpace = errors.New("out of space")
	// ErrPartial: a half-received stream is in the way.
	ErrPartial = errors.New("half-received stream in the way")
	// ErrIncomplete: the stream was cut or damaged. What arrived is kept for resuming if it was enough to keep.
	ErrIncomplete = errors.New("stream cut or damaged")
	// ErrTokenStale: what a resume token speaks of is gone on the sender, or was aborted on the receiver.
	ErrTokenStale = errors.New("resume token is stale")
	// ErrTokenCorrupt: the resume token cannot be read.
	ErrTokenCorrupt = errors.New("resume token is corrupt")
	// ErrFeature: a stream needs what this OpenZFS, or this pool, does not have. Trying again does not help.
	ErrFeature = errors.New("stream needs a feature that is not there")
	// ErrSuspended: the pool's I/O is suspended.
	ErrSuspended = errors.New("pool is suspended")
	// ErrReadonlyPool: the pool was imported read-only.
	ErrReadonlyPool = errors.New("pool is read-only")
	// ErrNoPool: there is no such pool.
	ErrNoPool = errors.New("no such pool")
	// ErrUsage: the request is wrong: a name, property, value or flag that zfs or this package refuses. Nothing was changed.
	ErrUsage = errors.New("wrong use")
	// ErrKey: the encryption key is not loaded.
	ErrKey = errors.New("encryption key not loaded")
	// ErrWarning: the command did its main work and complained about a part of it, such as a property not set on receive.
	ErrWarning = errors.New("done with a warning")
	// ErrOutput: zfs ended well but printed what this package cannot read.
	ErrOutput = errors.New("unreadable output")
	// ErrBadProperty: a drover: property of a copy cannot be read; see [ZFS.Copies].
	ErrBadProperty = errors.New("unreadable property")

	// ErrUnknown: whether the command did anything is not known until looked at. ErrTimeout and ErrKilled are kinds of it.
	ErrUnknown = errors.New("outcome unknown")
	// ErrTimeout: the command did not end in time, or its context was cancelled.
	ErrTimeout = fmt.Errorf("did not end in time: %w", ErrUnknown)
	// ErrKilled: a signal that was not ours ended the command.
	ErrKilled = fmt.Errorf("killed: %w", ErrUnknown)
)

// Error is a command that did not do what it was asked. It unwraps to its Kind and to what else caused it.
type Error struct {
	Command []string // as it was run
	Exit    int      // exit code; -1 if it did not run or was ended by a signal
	Stderr  string   // what it said, its middle left out if long
	Kind    error    // one of this package's errors, or nil if the text is not known
	Cause   error    // a context's or operating system's error, or nil
}

// Error says what was run, what it answered, and its exit code.
func (e *Error) Error() string {
	why := plain(e.Stderr)
	if why == "" {
		why = e.because()
	}
	return fmt.Sprintf("%s: %s (exit %d)", spoken(e.Command), why, e.Exit)
}

func (e *Error) because() string {
	if err := errors.Join(e.Unwrap()...); err != nil {
		return plain(err.Error())
	}
	return "no message"
}

// Unwrap returns the kind and the cause.
func (e *Error) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.Kind, e.Cause} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// spoken is a command as it is told to people: one with a thousand operands is cut.
func spoken(args []string) string {
	const most = 300
	s := strings.Join(args, " ")
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// plain makes one line of a message: zfs breaks some of its sentences in the middle.
func plain(s string) string { return strings.Join(strings.Fields(s), " ") }
