package manifest_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/state/manifest"
)

const (
	volume  = "apiVersion: drover/v1\nkind: Volume\nmetadata: {name: data}\n"
	another = "apiVersion: drover/v1\nkind: Volume\nmetadata: {name: more}\n"
	broken  = "apiVersion: [\n"
)

// folder writes files, whose names may have folders, and returns the folder that holds them.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func TestLoadFolder(t *testing.T) {
	dir := folder(t, map[string]string{
		"a.yaml":               volume,
		"b.json":               `{"apiVersion": "drover/v1", "kind": "Volume", "metadata": {"name": "more"}}`,
		"README.md":            broken,
		".hidden.yaml":         broken,
		"a.yaml~":              broken,
		"#a.yaml#":             broken,
		".#a.yaml":             broken,
		".a.yaml.swp":          broken,
		"a.yaml.bak":           broken,
		"4913":                 broken,
		"drover.schema.json":   broken,
		"sub/c.yaml":           broken,
		"folder.yaml/any.yaml": broken,
	})
	d, err := manifest.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Volumes) != 2 {
		t.Errorf("got %d volumes, want 2", len(d.Volumes))
	}
	if got, want := d.Volumes["data"].Where, (state.Position{File: filepath.Join(dir, "a.yaml"), Line: 1}); got != want {
		t.Errorf("got position %v, want %v", got, want)
	}
}

// A mounted ConfigMap is a folder of links through one that is swapped.
func TestLoadConfigMap(t *testing.T) {
	dir := folder(t, map[string]string{"..2026_01/set.yaml": volume, "..2026_02/set.yaml": another})
	link(t, "..2026_01", filepath.Join(dir, "..data"))
	link(t, filepath.Join("..data", "set.yaml"), filepath.Join(dir, "set.yaml"))
	d, err := manifest.Load(dir)
	if _, ok := d.Volumes["data"]; err != nil || !ok || len(d.Volumes) != 1 {
		t.Fatalf("got %v, %v; want the volume of the first version", d.Volumes, err)
	}
	link(t, "..2026_02", filepath.Join(dir, "..data_tmp"))
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	d, err = manifest.Load(dir)
	if _, ok := d.Volumes["more"]; err != nil || !ok || len(d.Volumes) != 1 {
		t.Fatalf("got %v, %v; want the volume of the second version", d.Volumes, err)
	}
}

func TestLoadNamesEachFileOnce(t *testing.T) {
	dir := folder(t, map[string]string{"a.yaml": volume})
	if _, err := manifest.Load(dir, filepath.Join(dir, "a.yaml"), dir+"/./a.yaml"); err != nil {
		t.Error(err)
	}
}

// A file that is named is read whatever its name is.
func TestLoadNamedFile(t *testing.T) {
	dir := folder(t, map[string]string{".odd": volume})
	if _, err := manifest.Load(filepath.Join(dir, ".odd")); err != nil {
		t.Error(err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		load  []string // within the folder
		want  []string // lines, with DIR for the folder
	}{
		"nothing given": {want: []string{
			"manifests: the set has no App and no Volume: an empty set is refused, it is never read as a wish to remove everything"}},
		"no such file": {load: []string{"none.yaml"}, want: []string{"DIR/none.yaml: cannot be read: no such file or directory"}},
		"empty folder": {load: []string{"."}, want: []string{
			"DIR: no manifest here: want files *.yaml, *.yml or *.json (subfolders are not read)"}},
		"empty files": {
			files: map[string]string{"a.yaml": "", "b.json": "", "c.yml": "---\n# nothing\n---\n", "d.yaml": volume},
			load:  []string{"."},
			want: []string{
				"DIR/a.yaml: is empty: want at least one App, Volume or Cluster document, or no such file",
				"DIR/b.json: is empty: want at least one App, Volume or Cluster document, or no such file",
				"DIR/c.yml: is empty: want at least one App, Volume or Cluster document, or no such file",
			}},
		"only a cluster": {
			files: map[string]string{"a.yaml": "apiVersion: drover/v1\nkind: Cluster\nmetadata: {name: x}\nspec: {prune: true}\n"},
			load:  []string{"."},
			want: []string{
				"manifests: the set has no App and no Volume: an empty set is refused, it is never read as a wish to remove everything"}},
		"every file's mistakes, and no guesses about what a broken file holds": {
			files: map[string]string{
				"a.yaml": broken,
				"b.yaml": "apiVersion: drover/v1\nkind: App\nmetadata: {name: B}\nspec: {volumes: [{name: in-a, containerPath: d}], marathon: {cmd: x}}\n",
				"c.json": "{\"apiVersion\": \"drover/v1\",\n  oops\n",
				"d.yaml": another + "spec: {quota: x}\n",
			},
			load: []string{"."},
			want: []string{
				"DIR/a.yaml:2: is not YAML: did not find expected node content",
				"DIR/b.yaml:3: metadata.name: is \"B\": want an absolute path, such as /B",
				"DIR/c.json:2: is not JSON: invalid character 'o' looking for beginning of object key string",
				"DIR/d.yaml:4: spec.quota: is \"x\": want a number of bytes, such as 500M, 10Gi or 1.5Ti",
			}},
		"the same name in two files": {
			files: map[string]string{"a.yaml": volume, "b.yaml": another + "---\n" + volume},
			load:  []string{"."},
			want:  []string{"DIR/b.yaml:7: metadata.name: is \"data\", as of the Volume at DIR/a.yaml:1: want one Volume for each name"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, tt.files)
			var paths []string
			for _, p := range tt.load {
				paths = append(paths, filepath.Join(dir, p))
			}
			d, err := manifest.Load(paths...)
			if err == nil {
				t.Fatalf("accepted: %v", d)
			}
			if diff := cmp.Diff(state.Desired{}, d); diff != "" {
				t.Errorf("a refused set was returned:\n%s", diff)
			}
			lines := strings.Split(strings.ReplaceAll(err.Error(), dir, "DIR"), "\n")
			if diff := cmp.Diff(tt.want, lines[:len(lines)-1]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoadUnreadable(t *testing.T) {
	dir := folder(t, map[string]string{"a.yaml": volume})
	link(t, "gone.yaml", filepath.Join(dir, "b.yaml"))
	_, err := manifest.Load(dir)
	want := []manifest.Problem{{File: filepath.Join(dir, "b.yaml"), Message: "cannot be read: no such file or directory"}}
	if diff := cmp.Diff(want, manifest.Problems(err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A pipe among the manifests is refused, not waited for. One that is named is read: a shell's <(command) is one.
func TestLoadPipe(t *testing.T) {
	dir := folder(t, map[string]string{"a.yaml": volume})
	pipe := filepath.Join(dir, "b.yaml")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := manifest.Load(dir)
	want := []manifest.Problem{{File: pipe, Message: "cannot be read: not a regular file"}}
	if diff := cmp.Diff(want, manifest.Problems(err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(pipe, []byte(volume), 0o600) }()
	if _, err := manifest.Load(pipe); err != nil {
		t.Error(err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}
