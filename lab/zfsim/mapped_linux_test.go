package zfsim

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWritesThroughAMapping: the second write to a mapped page changes no time stamp.
func TestWritesThroughAMapping(t *testing.T) {
	r := onlyStandIn(t, 128<<20)
	ok(t, r, "zfs", "create", "a/v")
	write(t, r.mount()+"/a/v/m", make([]byte, 8192))
	f, err := os.OpenFile(r.mount()+"/a/v/m", os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	page, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	copy(page, "first")
	for range 5 { // until the time stamp is old enough to be trusted, were it not for the mapping
		ok(t, r, "zfs", "snapshot", "a/v@s")
		ok(t, r, "zfs", "destroy", "a/v@s")
	}
	ok(t, r, "zfs", "snapshot", "a/v@1")
	copy(page, "second")
	ok(t, r, "zpool", "sync", "a")
	if get(t, r, "written", "a/v") == "0" {
		t.Error("the write was not noticed")
	}
	must(t, unix.Munmap(page))
}
