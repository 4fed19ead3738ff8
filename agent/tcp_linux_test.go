package agent

import (
	"crypto/tls"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Who asks, and who is asked or sent to, gives up on a peer that has vanished in half a minute, whether something is being sent or not.
func TestVanishedPeerIsGivenUp(t *testing.T) {
	ln, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		defer close(accepted)
		if c, err := ln.Accept(); err == nil {
			accepted <- c
		}
	}()
	dialled, err := newTransport(&tls.Config{MinVersion: tls.VersionTLS13}).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()
	other, ok := <-accepted
	if !ok {
		t.Fatal("nothing was accepted")
	}
	defer other.Close()
	for name, c := range map[string]net.Conn{"who dials": dialled, "who listens": other} {
		for option, want := range map[int]int{unix.TCP_USER_TIMEOUT: 30000, unix.TCP_KEEPIDLE: 10, unix.TCP_KEEPINTVL: 5, unix.TCP_KEEPCNT: 4} {
			if got := socketOption(t, c, option); got != want {
				t.Errorf("%s has %d for TCP option %d, want %d", name, got, option, want)
			}
		}
	}
}

func socketOption(t *testing.T, c net.Conn, option int) (value int) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var gerr error
	if err := raw.Control(func(fd uintptr) { value, gerr = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option) }); err != nil || gerr != nil {
		t.Fatal(err, gerr)
	}
	return value
}
