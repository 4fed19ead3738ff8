package zfs

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestPipeIsLargeBeforeDataIsInIt(t *testing.T) {
	r, w, err := New(Options{}).pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if size, err := unix.FcntlInt(r.Fd(), unix.F_GETPIPE_SZ, 0); err != nil || size != pipeSize {
		t.Errorf("%d bytes, %v, want %d", size, err, pipeSize)
	}
}
