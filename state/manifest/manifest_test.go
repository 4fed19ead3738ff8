package manifest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-multierror"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/state/manifest"
)

func parse(t *testing.T, text string) state.Desired {
	t.Helper()
	d, err := manifest.Parse(manifest.File{Name: "set.yaml", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// refused returns the mistakes of a set that must have some.
func refused(t *testing.T, files ...manifest.File) []manifest.Problem {
	t.Helper()
	d, err := manifest.Parse(files...)
	var all *multierror.Error
	if !errors.As(err, &all) {
		t.Fatalf("got error %v, want a *multierror.Error", err)
	}
	if diff := cmp.Diff(state.Desired{}, d); diff != "" {
		t.Errorf("a refused set was returned:\n%s", diff)
	}
	ps := manifest.Problems(err)
	if len(ps) != len(all.Errors) || len(ps) == 0 {
		t.Errorf("got %d problems of %d errors", len(ps), len(all.Errors))
	}
	return ps
}

func TestLoadDemo(t *testing.T) {
	d, err := manifest.Load(manifests)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := d.Cluster, (state.Cluster{Name: "lab", PruneLimit: 5}); got != want {
		t.Errorf("cluster: got %+v, want %+v", got, want)
	}
	db := d.Apps["/todo/db"]
	db.Definition, db.Where = nil, state.Position{}
	want := state.App{
		ID:          "/todo/db",
		Instances:   1,
		Volumes:     []state.Mount{{Volume: "tododata", ContainerPath: "data", Env: "TODO_DATA"}},
		Constraints: []state.Constraint{{Field: "disk", Op: "CLUSTER", Value: "spinning"}},
		Endpoints:   []state.Endpoint{{Name: "db", Address: "127.255.0.10", Port: 27017}},
		Cutover:     state.Cutover{MaxOutage: 5 * time.Second, MaxRounds: 10},
		Grace:       24 * time.Hour,
	}
	if diff := cmp.Diff(want, db); diff != "" {
		t.Errorf("/todo/db (-want +got):\n%s", diff)
	}
	if _, ok := d.Apps["/todo/web"]; !ok || len(d.Apps) != 2 {
		t.Errorf("got %d apps, want /todo/db and /todo/web", len(d.Apps))
	}
	if got := d.Volumes["tododata"].Quota; got != 10<<30 {
		t.Errorf("quota: got %d, want 10 GiB", got)
	}
}

func TestLoadController(t *testing.T) {
	d, err := manifest.Load(manifests+"/drover", manifests)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := d.Apps["/drover/controller"]; !ok {
		t.Error("no /drover/controller")
	}
}
