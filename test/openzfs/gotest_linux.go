package openzfs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Build compiles a program of this module, such as "./cmd/drover", without libraries, into a folder that every node sees, and
// returns its path.
func (c *Cluster) Build(pkg string) string {
	c.t.Helper()
	bin := filepath.Join(c.Dir, "bin", filepath.Base(pkg))
	c.build("build", "-o", bin, pkg)
	return bin
}

func (c *Cluster) build(args ...string) {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), "go", args...)
	cmd.Dir, cmd.Env = Root(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// GoTest runs those tests of a package of this module, such as "./zfs", whose names match, in the node and against its OpenZFS.
// Each becomes a subtest here. Without the race detector, which needs more of an address space than a node has.
func (n *Node) GoTest(t *testing.T, pkg, match string) {
	t.Helper()
	dir := filepath.Join(n.c.Dir, "gotest", pkg)
	n.c.build("test", "-c", "-o", filepath.Join(dir, "tests"), pkg)
	if data := filepath.Join(Root(), pkg, "testdata"); exists(data) {
		n.c.must(os.CopyFS(filepath.Join(dir, "testdata"), os.DirFS(data)))
	}
	r := n.Try(t.Context(), "cd "+quote([]string{dir})+" && DROVER_TEST_ZFS=native ./tests -test.v -test.run "+quote([]string{match}))
	ran := relay(t, r.Out)
	if r.Err != nil || ran == 0 {
		t.Errorf("%d tests of %s ran in %s: %v\n%s", ran, pkg, n.Name, r.Err, r.Out[max(0, len(r.Out)-4096):])
	}
	n.c.must(os.RemoveAll(dir))
}

var verdict = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\S+) \((\S+)\)$`)

// relay makes a subtest of each test that `go test -v` has told the end of, and returns how many.
func relay(t *testing.T, out string) int {
	t.Helper()
	found := verdict.FindAllStringSubmatch(out, -1)
	for _, f := range found {
		t.Run(f[2], func(t *testing.T) {
			said := fmt.Sprintf("%s in %s\n%s", f[1], f[3], told(out, f[2]))
			switch f[1] {
			case "FAIL":
				t.Error(said)
			case "SKIP":
				t.Skip(said)
			default:
				t.Log(said)
			}
		})
	}
	return len(found)
}

// told returns what was printed from a test's begin to the next one's.
func told(out, test string) string {
	_, after, _ := strings.Cut(out, "=== RUN   "+test+"\n")
	var kept []string
	for line := range strings.Lines(after) {
		if name, ok := strings.CutPrefix(line, "=== RUN   "); ok && !strings.HasPrefix(name, test+"/") {
			break
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, "")
}
