package manifest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drover-project/drover/state/manifest"
)

// Each set in testdata is refused; what is said about it is in the file beside it. One case per rule.
func TestMistakes(t *testing.T) {
	sets, err := filepath.Glob("testdata/*.[yj]*")
	if err != nil || len(sets) < 10 {
		t.Fatalf("found %d sets, %v", len(sets), err)
	}
	for _, path := range sets {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = manifest.Parse(manifest.File{Name: filepath.Base(path), Data: text})
			if err == nil {
				t.Fatal("accepted")
			}
			golden(t, strings.TrimSuffix(path, filepath.Ext(path))+".problems", []byte(err.Error()+"\n"))
		})
	}
}
