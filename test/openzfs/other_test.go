//go:build !linux

package openzfs_test

import "testing"

func TestNodes(t *testing.T) {
	t.Skip("nodes with OpenZFS run under User-mode Linux, which needs Linux on x86-64")
}
