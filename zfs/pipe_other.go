//go:build !linux

package zfs

import (
	"errors"
	"os"
)

// growPipe cannot: only Linux lets a pipe's size be chosen. Others grow it themselves.
func growPipe(*os.File, int) error { return errors.ErrUnsupported }
