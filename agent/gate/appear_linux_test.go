package gate

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drover-project/drover/state"
)

const inNamespace = "GATE_TEST_IN_NAMESPACE"

// An address that appears on the node while the gate runs, in a network namespace of its own.
func TestAddressAppears(t *testing.T) {
	if os.Getenv(inNamespace) == "" {
		again(t)
		return
	}
	// Before it has any address, a network namespace lets everything be bound.
	addAddress(t, "lo", [4]byte{127, 0, 0, 1})
	g := run(t, Options{Retry: time.Millisecond})
	r := to(state.Endpoint{Name: "db", Address: "10.255.0.10", Port: 27017}, "", 1)
	if err := g.Set([]state.Route{r}); err != nil {
		t.Fatal(err)
	}
	if got := g.State().Errors["db"]; !strings.Contains(got, "10.255.0.10 is not an address of this node") {
		t.Fatalf("error %q", got)
	}
	addAddress(t, "lo:1", [4]byte{10, 255, 0, 10})
	eventually(t, "it listens", func() bool { return len(g.State().Errors) == 0 })
	r.Backend = serve(t, "10.255.0.10:0", func(c *net.TCPConn) { io.WriteString(c, "x") }).address()
	set(t, g, r)
	hear(t, dial(t, r.Endpoint), "x")
}

// again runs this test in a new network namespace.
func again(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	id := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET, UidMappings: id}
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Skipf("no network namespace for this user: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in the namespace: %v\n%s", err, out)
	}
}

// addAddress gives loopback an address and sets it up, as `ip address add` would on a dummy interface.
func addAddress(t *testing.T, name string, ip [4]byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	addr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := addr.SetInet4Addr(ip[:]); err != nil {
		t.Fatal(err)
	}
	up, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	up.SetUint16(unix.IFF_UP)
	if err := errors.Join(unix.IoctlIfreq(fd, unix.SIOCSIFADDR, addr), unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, up)); err != nil {
		t.Fatal(err)
	}
}
