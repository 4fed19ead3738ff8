//go:build !linux

package agent

import (
	"errors"

	"golang.org/x/sys/unix"
)

// syncFilesystem writes everything in memory to disk; there is no call for one filesystem here.
func syncFilesystem(string) error { return unix.Sync() }

// makeImmutable is not built for this system.
func makeImmutable(string) error { return errors.ErrUnsupported }
