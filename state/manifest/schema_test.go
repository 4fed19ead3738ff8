package manifest_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"github.com/drover-project/drover/state/manifest"
)

var update = flag.Bool("update", false, "write golden files anew")

// golden compares got with a file, or writes the file.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; -update to accept):\n%s", path, diff)
	}
}

const manifests = "../../manifests"

func TestSchemaIsCommitted(t *testing.T) {
	text, err := manifest.Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, manifests+"/drover.schema.json", text)
}

func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := manifest.Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("drover.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("drover.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate checks every document of a file against the schema and returns the first error.
func validate(t *testing.T, s *jsonschema.Schema, text []byte) error {
	t.Helper()
	for part := range bytes.SplitSeq(text, []byte("\n---\n")) {
		data, err := yaml.YAMLToJSON(part)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(doc); err != nil {
			return err
		}
	}
	return nil
}

func TestManifestsFitSchema(t *testing.T) {
	files, err := filepath.Glob(manifests + "/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(manifests + "/*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if files = append(files, more...); len(files) < 4 {
		t.Fatalf("found only %q", files)
	}
	s := compile(t)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, s, text); err != nil {
			t.Errorf("%s: %v", f, err)
		}
		schema := "# yaml-language-server: $schema=drover.schema.json\n"
		if filepath.Dir(f) != manifests {
			schema = "# yaml-language-server: $schema=../drover.schema.json\n"
		}
		if !bytes.HasPrefix(text, []byte(schema)) {
			t.Errorf("%s does not begin with %q", f, schema)
		}
	}
}

// What a schema can tell, it must tell: an editor that accepts these is of no help.
func TestSchemaRefuses(t *testing.T) {
	s := compile(t)
	for name, text := range map[string]string{
		"unknown kind":        "{apiVersion: drover/v1, kind: Pod, metadata: {name: x}}",
		"unknown version":     "{apiVersion: drover/v2, kind: Volume, metadata: {name: x}}",
		"unknown field":       "{apiVersion: drover/v1, kind: Volume, metadata: {name: x}, spec: {quotas: 1Gi}}",
		"unknown property":    "{apiVersion: drover/v1, kind: Volume, metadata: {name: x}, spec: {properties: {blocksize: 16K}}}",
		"owned property":      "{apiVersion: drover/v1, kind: Volume, metadata: {name: x}, spec: {properties: {readonly: on}}}",
		"bad quota":           "{apiVersion: drover/v1, kind: Volume, metadata: {name: x}, spec: {quota: 10GiB}}",
		"bad reclaim":         "{apiVersion: drover/v1, kind: Volume, metadata: {name: x}, spec: {reclaim: Keep}}",
		"no name":             "{apiVersion: drover/v1, kind: Volume, metadata: {}}",
		"no marathon":         "{apiVersion: drover/v1, kind: App, metadata: {name: /x}, spec: {}}",
		"port out of range":   "{apiVersion: drover/v1, kind: App, metadata: {name: /x}, spec: {endpoints: [{name: x, address: 10.0.0.1, port: 70000}], marathon: {cmd: x}}}",
		"one-word constraint": "{apiVersion: drover/v1, kind: App, metadata: {name: /x}, spec: {placement: {constraints: [[disk]]}, marathon: {cmd: x}}}",
		"duration w/o unit":   "{apiVersion: drover/v1, kind: App, metadata: {name: /x}, spec: {grace: '5', marathon: {cmd: x}}}",
	} {
		if err := validate(t, s, []byte(text)); err == nil {
			t.Errorf("%s: accepted %s", name, text)
		}
	}
}
