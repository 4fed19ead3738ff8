package gate

import (
	"net"

	"golang.org/x/sys/unix"
)

// tcpClose is the state of a connection that was reset or timed out (TCP_CLOSE in linux/tcp_states.h).
const tcpClose = 7

// broken reports whether a connection was reset by its other side or timed out. What was received before can still be read.
func broken(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	dead := false
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		dead = err == nil && info.State == tcpClose
	})
	return err == nil && dead
}
