package openzfs

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
)

// network is a bridge in this process's own network namespace, with one port per node. This side of it has the address 1, node
// k has 10+k.
type network struct{ number int64 }

var networks atomic.Int64

func newNetwork(nodes int) (network, error) {
	n := network{networks.Add(1)}
	lines := []string{
		fmt.Sprintf("link add br%d type bridge forward_delay 0 mcast_snooping 0", n.number),
		fmt.Sprintf("addr add %s/24 dev br%d", n.address(1), n.number),
		fmt.Sprintf("link set br%d up", n.number),
	}
	for k := 1; k <= nodes; k++ {
		lines = append(lines,
			fmt.Sprintf("link add %s type veth peer name %s", n.port(k), n.wire(k)),
			fmt.Sprintf("link set %s up", n.wire(k)),
			fmt.Sprintf("link set %s master br%d up", n.port(k), n.number))
	}
	return n, ip(lines...)
}

// remove takes the bridge and all ports away.
func (n network) remove(nodes int) error {
	lines := []string{fmt.Sprintf("link del br%d", n.number)}
	for k := 1; k <= nodes; k++ {
		lines = append(lines, "link del "+n.port(k))
	}
	return ip(lines...)
}

// port is the bridge's end of a node's cable, wire the end that its kernel has.
func (n network) port(k int) string { return fmt.Sprintf("p%d.%d", n.number, k) }
func (n network) wire(k int) string { return fmt.Sprintf("e%d.%d", n.number, k) }

func (n network) address(host int) string {
	return fmt.Sprintf("10.%d.%d.%d", 80+n.number/250, n.number%250, host)
}

func (n network) mac(k int) string {
	return fmt.Sprintf("02:00:0a:%02x:%02x:%02x", 80+n.number/250, n.number%250, 10+k)
}

// link puts a node's cable in or takes it out.
func (n network) link(k int, up bool) error {
	if up {
		return ip(fmt.Sprintf("link set %s up", n.port(k)))
	}
	return ip(fmt.Sprintf("link set %s down", n.port(k)))
}

// ip runs lines of the program ip in this network namespace; the first that fails ends it.
func ip(lines ...string) error {
	cmd := exec.Command("ip", "-batch", "-") //nolint:noctx // a few system calls
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
