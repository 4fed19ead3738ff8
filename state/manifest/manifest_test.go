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
	if diff := cmp.Diff(state.Cluster{Name: "lab", PruneLimit: 5}, d.Cluster); diff != "" {
		t.Errorf("cluster:\n%s", diff)
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

// Where the manifests are silent, these hold.
func TestDefaults(t *testing.T) {
	d := parse(t, `
apiVersion: drover/v1
kind: App
metadata: {name: /a}
spec: {marathon: {cmd: a}}
---
{apiVersion: drover/v1, kind: Volume, metadata: {name: v}}
`)
	want := state.Desired{
		Digest:  d.Digest,
		Cluster: state.Cluster{PruneLimit: 5},
		Apps: map[state.AppID]state.App{"/a": {
			ID: "/a", Instances: 1, Grace: 24 * time.Hour, Cutover: state.Cutover{MaxOutage: 30 * time.Second, MaxRounds: 10},
			Definition: []byte(`{"cmd":"a"}`), Where: state.Position{File: "set.yaml", Line: 2}}},
		Volumes: map[state.VolumeName]state.Volume{"v": {
			Name: "v", Reclaim: state.Retain, Where: state.Position{File: "set.yaml", Line: 7}}},
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestClusterGraceIsTheAppsDefault(t *testing.T) {
	d := parse(t, `
{apiVersion: drover/v1, kind: App, metadata: {name: /own}, spec: {grace: 0s, marathon: {cmd: a}}}
---
{apiVersion: drover/v1, kind: App, metadata: {name: /default}, spec: {marathon: {cmd: a}}}
---
{apiVersion: drover/v1, kind: Cluster, metadata: {name: c}, spec: {grace: 1h30m, prune: true, pruneLimit: 2}}
`)
	if got, want := d.Apps["/default"].Grace, 90*time.Minute; got != want {
		t.Errorf("/default: got %v, want %v", got, want)
	}
	if got := d.Apps["/own"].Grace; got != 0 {
		t.Errorf("/own: got %v, want 0", got)
	}
	if diff := cmp.Diff(state.Cluster{Name: "c", Prune: true, PruneLimit: 2}, d.Cluster); diff != "" {
		t.Errorf("cluster:\n%s", diff)
	}
}

func TestQuantities(t *testing.T) {
	for text, want := range map[string]int64{
		"1048576": 1 << 20, "500M": 500e6, "1.5Gi": 3 << 29, "10Gi": 10 << 30, "2048k": 2048e3, "2Ti": 2 << 40,
		"0.5P": 5e14, "7Ei": 7 << 60, "9E": 9e18, "1024Ki": 1 << 20, "3G": 3e9, "1Pi": 1 << 50, "3T": 3e12,
	} {
		d := parse(t, "{apiVersion: drover/v1, kind: Volume, metadata: {name: v}, spec: {quota: "+text+"}}")
		if got := d.Volumes["v"].Quota; got != want {
			t.Errorf("%s: got %d, want %d", text, got, want)
		}
	}
}

// YAML has its own ideas of off, 0x10 and 1.10; where text is wanted, what was written counts.
func TestTextStaysAsWritten(t *testing.T) {
	d := parse(t, `
apiVersion: drover/v1
kind: Volume
metadata: {name: 007}
spec:
  properties: {atime: off, exec: on, recordsize: 131072, copies: 2, org.example:version: 1.10, "org.example:empty": ""}
---
apiVersion: drover/v1
kind: App
metadata: {name: /a, labels: {since: 2026-01-01}}
spec:
  placement: {constraints: [[rack, is, 1.10], ["@hostname", unique], [x, CLUSTER, on]]}
  marathon: {cmd: a}
`)
	wantProperties := map[string]string{"atime": "off", "exec": "on", "recordsize": "131072", "copies": "2",
		"org.example:version": "1.10", "org.example:empty": ""}
	if diff := cmp.Diff(wantProperties, d.Volumes["007"].Properties); diff != "" {
		t.Errorf("properties (-want +got):\n%s", diff)
	}
	wantConstraints := []state.Constraint{{Field: "rack", Op: "IS", Value: "1.10"}, {Field: "@hostname", Op: "UNIQUE"}, {Field: "x", Op: "CLUSTER", Value: "on"}}
	if diff := cmp.Diff(wantConstraints, d.Apps["/a"].Constraints); diff != "" {
		t.Errorf("constraints (-want +got):\n%s", diff)
	}
}

// In the Marathon definition YAML's own forms become the nearest that JSON has.
func TestDefinitionFromYAML(t *testing.T) {
	d := parse(t, `
apiVersion: drover/v1
kind: App
metadata: {name: /a}
spec:
  marathon:
    cmd: |
      first
      second
    numbers: [0x1f, 0o17, 1_000, .5, +3, -0, 1.10, 12345678901234567890123, 1e400, 0.1e-3]
    words: [on, off, yes, "1", 2026-01-01, ~, True]
    common: &common {mode: RW, size: 1}
    alias: *common
    merged: {<<: *common, size: 2}
    all: {<<: [{a: 1}, {a: 2, b: 3}]}
    "null": x
    1: one
`)
	want := `{"1":"one","alias":{"mode":"RW","size":1},"all":{"a":1,"b":3},"cmd":"first\nsecond\n",` +
		`"common":{"mode":"RW","size":1},"merged":{"mode":"RW","size":2},"null":"x",` +
		`"numbers":[31,15,1000,0.5,3,-0,1.10,12345678901234567890123,1e400,0.1e-3],` +
		`"words":["on","off","yes","1","2026-01-01",null,true]}`
	got := string(d.Apps["/a"].Definition)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// An app without volumes is Marathon's: its definition may say everything.
func TestStatelessAppIsMarathons(t *testing.T) {
	d := parse(t, `
apiVersion: drover/v1
kind: App
metadata: {name: /a}
spec:
  endpoints: [{name: web, address: "FD00::0:1", port: 80}]
  marathon:
    args: [a]
    instances: 3
    constraints: [[hostname, UNIQUE]]
    upgradeStrategy: {minimumHealthCapacity: 0.5}
`)
	a := d.Apps["/a"]
	if a.Instances != 3 || len(a.Constraints) != 1 || a.Constraints[0].Op != "UNIQUE" {
		t.Errorf("got %d instances, constraints %v", a.Instances, a.Constraints)
	}
	if got, want := a.Endpoints[0].Address, "fd00::1"; got != want {
		t.Errorf("address: got %s, want %s", got, want)
	}
}

func TestJSONEscapes(t *testing.T) {
	text := `{"apiVersion": "drover\/v1", "kind": "App", "metadata": {"name": "\/a"},
	"spec": {"marathon": {"cmd": "\ud83d\ude00 \\ud83d\\ude00 \\\/ \u00e9 ` + "\u0085\u2028\x7f" + `"}}}`
	d, err := manifest.Parse(manifest.File{Name: "a.json", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	got := decode(t, d.Apps["/a"].Definition)["cmd"]
	if want := "😀 \\ud83d\\ude00 \\/ é \u0085\u2028\x7f"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Lines are those that an editor shows.
func TestSyntaxErrorLines(t *testing.T) {
	const head = "apiVersion: drover/v1\nkind: Volume\n"
	for text, want := range map[string]int{
		head + "metadata: {name: x\nspec: {}\n":       3,
		head + "metadata:\n\tname: x\n":               4,
		head + "metadata: a: b\n":                     3,
		head + "metadata:\n  name: x\n labels: {}\n":  5,
		head + "- metadata\n":                         3,
		head + "metadata: *name\n":                    3,
		head + "metadata: {name: \xff}\n":             3,
		head + "metadata: @x\n":                       3,
		"]":                                           1,
		"a: \"\\x\"":                                  1,
		head + "metadata: {name: x}\n---\n---\na: [1": 6,
	} {
		ps := refused(t, manifest.File{Name: "set.yaml", Data: []byte(text)})
		last := ps[len(ps)-1]
		if last.Line != want {
			t.Errorf("%q: got line %d, want %d (%s)", text, last.Line, want, last.Message)
		}
	}
}

// A set with a mistake in one file is refused whole, and the error is usable as what it is.
func TestRefusalIsWhole(t *testing.T) {
	ps := refused(t,
		manifest.File{Name: "good.yaml", Data: []byte(volume)},
		manifest.File{Name: "bad.yaml", Data: []byte(another + "spec: {quota: 1}\n")})
	want := []manifest.Problem{{File: "bad.yaml", Line: 4, Field: "spec.quota",
		Message: "is 1, which is 1 bytes: want 1Mi or more (is the unit missing?)"}}
	if diff := cmp.Diff(want, ps); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func manifestFile(text string) manifest.File {
	return manifest.File{Name: "set.yaml", Data: []byte(text)}
}

// Limits are read into bytes per second, by hostname; what applies to a stream is worked out later.
func TestBandwidth(t *testing.T) {
	d, err := manifest.Parse(manifest.File{Name: "m.yaml", Data: []byte(`
apiVersion: drover/v1
kind: Cluster
metadata: {name: lab}
spec:
  bandwidth:
    node: 200Mi
    nodes: {node1: 0, node2: 50Mi}
    links: [{from: node1, to: node2, limit: 1M}]
---
apiVersion: drover/v1
kind: App
metadata: {name: /db}
spec: {bandwidth: 20Mi, marathon: {cmd: exec db}}
`)})
	if err != nil {
		t.Fatal(err)
	}
	want := state.Bandwidth{Node: 200 << 20, Nodes: map[state.Hostname]int64{"node1": 0, "node2": 50 << 20},
		Links: []state.LinkBandwidth{{From: "node1", To: "node2", Limit: 1000000}}}
	if diff := cmp.Diff(want, d.Cluster.Bandwidth); diff != "" || d.Apps["/db"].Bandwidth != 20<<20 {
		t.Errorf("%s\napp: %d", diff, d.Apps["/db"].Bandwidth)
	}
}
