package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A pool that is away is named, with what a person can do about it; when it is there again the node is observed as before.
func TestPoolThatIsAway(t *testing.T) {
	b := newBench(t)
	n := b.node("node1")
	suspended := filepath.Join(t.TempDir(), "suspended")
	n.suspendable(suspended)
	for name, c := range map[string]struct {
		away, back func() error
		says       string
	}{
		"exported": {
			func() error { n.zpool("export", "tank"); return nil },
			func() error { n.zpool("import", "tank"); return nil },
			"pool tank of node1 is not imported: run zpool import tank there",
		},
		"suspended": {
			func() error { return os.WriteFile(suspended, nil, 0o600) },
			func() error { return os.Remove(suspended) },
			"pool tank of node1 is suspended, because its disks fail: mend them, then run zpool clear tank there",
		},
	} {
		if err := c.away(); err != nil {
			t.Fatal(err)
		}
		if _, err := n.client.Node(t.Context(), n.addr()); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.back(); err != nil {
			t.Fatal(err)
		}
		if _, err := n.client.Node(t.Context(), n.addr()); err != nil {
			t.Errorf("%s and back: %v", name, err)
		}
	}
}

func (n *node) zpool(args ...string) {
	n.t.Helper()
	if _, err := n.machine.Run("zpool", args...); err != nil {
		n.t.Fatal(err)
	}
}

// suspendable starts the node's agent again, on commands that answer as on a suspended pool while a file is there: as seen on OpenZFS 2.3.2,
// whatever the pool's failmode.
func (n *node) suspendable(flag string) {
	n.t.Helper()
	dir := n.t.TempDir()
	for name, script := range map[string]string{
		"zfs":   "[ ! -e %s ] || { echo \"cannot open 'tank': pool I/O is currently suspended\" >&2; exit 1; }\nexec %s \"$@\"\n",
		"zpool": "flag=%s; out=$(%s \"$@\") || exit\n[ ! -e $flag ] || out=$(echo \"$out\" | sed s/ONLINE/SUSPENDED/)\necho \"$out\"\n",
	} {
		real := filepath.Join(n.machine.Bin, name)
		if err := os.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, "#!/bin/sh\n"+script, flag, real), 0o755); err != nil {
			n.t.Fatal(err)
		}
	}
	n.stop()
	n.options.ZFS.Path = dir
	n.start()
}
