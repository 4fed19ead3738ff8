package agent

import (
	"errors"

	"github.com/drover-project/drover/zfs"
)

// tokenRules say what is done with a half-received stream whose token cannot be used, by what zfs says about the token at the
// sender. It is dropped with `zfs receive -A`, once, where it can never be used: hours of it may have arrived. Whatever is
// not listed may pass, and then the stream is resumed.
var tokenRules = []struct {
	err  error
	drop bool
}{
	{zfs.ErrTokenStale, true},   // the snapshot or its base is gone, or another one has its name
	{zfs.ErrTokenCorrupt, true}, // it was damaged on its way to the disk and back
	{zfs.ErrOutput, true},       // it speaks of what this version does not know
	{zfs.ErrUsage, true},        // it is no token
	{zfs.ErrNotFound, true},     // of a dataset that this node does not have
	{zfs.ErrUnknown, false},     // the question timed out or was killed
	{zfs.ErrSuspended, false},
	{zfs.ErrKey, false}, // a person loads it
	{zfs.ErrBusy, false},
}

// unusable reports whether a token is never usable again, judging by the error of a look at it.
func unusable(err error) bool {
	for _, r := range tokenRules {
		if errors.Is(err, r.err) {
			return r.drop
		}
	}
	return false
}
