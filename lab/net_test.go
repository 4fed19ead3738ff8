package lab

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func TestPortInUse(t *testing.T) {
	ln := listen(t)
	_, err := freeAddress(t.Context(), ln.Addr().(*net.TCPAddr).Port)
	if err == nil || !strings.Contains(err.Error(), "is taken by another program") || !strings.Contains(err.Error(), "--any-port") {
		t.Errorf("a port in use: %v, want the port and the way out", err)
	}
}

func TestAddressTakenSinceTheLabStopped(t *testing.T) {
	ln := listen(t)
	l := &Lab{plan: Plan{Marathon: ln.Addr().String(), Mesos: "127.0.0.1:0"}}
	err := l.stillFree(t.Context(), 0)
	if err == nil || !strings.Contains(err.Error(), ln.Addr().String()) || !strings.Contains(err.Error(), "lab reset") {
		t.Errorf("an address in use: %v, want the address and the way out", err)
	}
	done := make(chan error, 1)
	go func() { done <- l.stillFree(t.Context(), time.Minute) }()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("after the other has gone: %v", err)
	}
}

func TestOneLabPerFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab.lock")
	first, err := takeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := Holder(filepath.Dir(path)); !ok || err != nil {
		t.Errorf("Holder: %v, %v, want this process", ok, err)
	}
	if f, err := takeLock(path); err == nil {
		f.Close()
		t.Error("a second lab in the same folder was let in")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := Holder(filepath.Dir(path)); ok || err != nil {
		t.Errorf("Holder after the end: %v, %v, want none", ok, err)
	}
}
