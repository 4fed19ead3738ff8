package manifest_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/state/manifest"
)

// Whatever is in a file: it is read or refused, never half of each, and reading never panics.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*.[yj]*", manifests + "/*.yaml", manifests + "/*/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text, false)
			f.Add(text[:len(text)*2/3], true)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, isJSON bool) {
		name := "set.yaml"
		if isJSON {
			name = "set.json"
		}
		d, err := manifest.Parse(manifest.File{Name: name, Data: text})
		if err != nil {
			checkRefusal(t, d, err)
			return
		}
		if d.Digest == "" || len(d.Apps)+len(d.Volumes) == 0 {
			t.Errorf("accepted as %+v", d)
		}
		for id, a := range d.Apps {
			if id != a.ID || id == "" || !json.Valid(a.Definition) {
				t.Errorf("app %q is %+v", id, a)
			}
		}
	})
}

func checkRefusal(t *testing.T, d state.Desired, err error) {
	t.Helper()
	if diff := cmp.Diff(state.Desired{}, d); diff != "" {
		t.Errorf("a refused set was returned:\n%s", diff)
	}
	ps := manifest.Problems(err)
	if len(ps) == 0 {
		t.Errorf("refused without a mistake: %v", err)
	}
	for _, p := range ps {
		if p.Message == "" || p.Line < 0 || p.Line == 0 && p.Field != "" {
			t.Errorf("says too little: %#v", p)
		}
	}
}
