package openzfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Build compiles a program of this module, such as "./cmd/drover", without libraries, into a folder that every node sees, and
// returns its path.
func (c *Cluster) Build(pkg string) string {
	c.t.Helper()
	bin := filepath.Join(c.Dir, "bin", filepath.Base(pkg))
	c.place(bin, "build", pkg)
	return bin
}

// programs are what this process has compiled, by the words after go: each once, however many clusters run it.
var programs sync.Map // of func() (string, error), by the words

// place compiles a program, unless that was done already, and puts it at a path that nodes see.
func (c *Cluster) place(path string, words ...string) {
	c.t.Helper()
	compile, _ := programs.LoadOrStore(strings.Join(words, " "), sync.OnceValues(func() (string, error) { return compile(words) }))
	made, err := compile.(func() (string, error))()
	c.must(err)
	c.must(os.MkdirAll(filepath.Dir(path), 0o755))
	if err := os.Link(made, path); !errors.Is(err, os.ErrExist) {
		c.must(err)
	}
}

func compile(words []string) (string, error) {
	dir, err := os.MkdirTemp(os.Getenv(envFolder), "go")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "program")
	cmd := exec.Command("go", slices.Insert(slices.Clone(words), len(words)-1, "-o", path)...) //nolint:noctx // for all tests of this process
	cmd.Dir, cmd.Env = Root(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(words, " "), err, out)
	}
	return path, nil
}

// GoTest runs those tests of a package of this module, such as "./zfs", whose names match, in the node and against its OpenZFS.
// Each becomes a subtest here. Without the race detector, which needs more of an address space than a node has.
func (n *Node) GoTest(t *testing.T, pkg, match string) {
	t.Helper()
	dir := filepath.Join(n.c.Dir, "gotest", pkg)
	n.c.place(filepath.Join(dir, "tests"), "test", "-c", pkg)
	if data := filepath.Join(Root(), pkg, "testdata"); exists(data) {
		n.c.must(os.CopyFS(filepath.Join(dir, "testdata"), os.DirFS(data)))
	}
	tests, err := n.Begin("cd " + quote([]string{dir}) + " && DROVER_TEST_ZFS=native ./tests -test.v -test.run " + quote([]string{match}))
	n.c.must(err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience) // many commands, one after the other
	defer cancel()
	r := tests.Wait(ctx)
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
