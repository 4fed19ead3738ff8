//go:build linux

package openzfs_test

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/drover-project/drover/test/conformance"
	"github.com/drover-project/drover/test/openzfs"
)

var record = flag.String("record", "", "scenarios of test/conformance into which to write what OpenZFS answers, a regular expression")

const tablePackage = "./test/conformance"

// The table of commands has OpenZFS's own answers: each release gives them again.
func TestConformance(t *testing.T) {
	if *record != "" {
		recordTable(t)
		return
	}
	inEach(t, func(t *testing.T, n *openzfs.Node) { n.GoTest(t, tablePackage, "^TestOpenZFS$") })
}

// recordTable has both releases write their answers, and puts them together.
func recordTable(t *testing.T) {
	var together sync.Mutex
	for _, release := range conformance.Releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			c := openzfs.New(t, openzfs.Options{NoPool: true, Memory: 1024, Release: release})
			dir := filepath.Join(c.Dir, "record")
			buildTable(t, dir)
			t.Log(inNode(t, c.Nodes[0], "cd "+dir+" && DROVER_TEST_ZFS=native ./tests -test.v -test.run '^TestOpenZFS$' -record '"+*record+"' 2>&1"))
			together.Lock()
			defer together.Unlock()
			if err := merge(filepath.Join(dir, "testdata"), release); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func tableData() string { return filepath.Join(openzfs.Root(), tablePackage, "testdata") }

func buildTable(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", filepath.Join(dir, "tests"), tablePackage)
	cmd.Dir, cmd.Env = openzfs.Root(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v\n%s", err, out)
	}
	if err := os.CopyFS(filepath.Join(dir, "testdata"), os.DirFS(tableData())); err != nil {
		t.Fatal(err)
	}
}

// merge takes one release's answers over into the repository's table.
func merge(from, release string) error {
	recorded, err := conformance.Load(from)
	if err != nil {
		return err
	}
	table, err := conformance.Load(tableData())
	if err != nil {
		return err
	}
	for i, s := range table {
		text := s.Record(release, recorded[i].Answers(release)).String()
		if err := os.WriteFile(filepath.Join(tableData(), s.Name+".txt"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// inNode runs a script that takes minutes; a scenario that failed is not recorded, and is an error here.
func inNode(t *testing.T, n *openzfs.Node, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	running, err := n.Begin(script)
	if err != nil {
		t.Fatal(err)
	}
	r := running.Wait(ctx)
	if r.Err != nil {
		t.Error(r.Err)
	}
	return r.Out
}
