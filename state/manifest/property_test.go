package manifest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/drover-project/drover/state/manifest"
)

// mistakes are pieces of one App document, right and wrong, that do not depend on each other.
var mistakes = []struct{ field, right, wrong string }{
	{"metadata.name", "metadata:\n  name: /a", "metadata:\n  name: a"},
	{"metadata.nmae", "", "  nmae: x"},
	{"spec.instances", "spec:\n  instances: 1", "spec:\n  instances: 2"},
	{"spec.grace", "  grace: 1h", "  grace: 1"},
	{"spec.extra", "", "  extra: 1"},
	{"spec.volumes[0].env", "  volumes:\n  - name: data\n    env: DATA", "  volumes:\n  - name: data\n    env: 1A"},
	{"spec.volumes[0].containerPath", "    containerPath: d", "    containerPath: ../d"},
	{"spec.volumes[0].mode", "", "    mode: RW"},
	{"spec.volumes[1]", "", "  - data"},
	{"spec.volumes[2].name", "", "  - {name: none, containerPath: e}"},
	{"spec.placement.constraints[0]", "  placement:\n    constraints:\n    - [a, CLUSTER, b]", "  placement:\n    constraints:\n    - [a, CLUSTR, b]"},
	{"spec.placement.constraints[1][1]", "    - [b, UNIQUE]", "    - [b, [UNIQUE]]"},
	{"spec.cutover.maxOutage", "  cutover:\n    maxOutage: 5s", "  cutover:\n    maxOutage: five"},
	{"spec.cutover.maxRounds", "    maxRounds: 3", "    maxRounds: 0"},
	{"spec.endpoints[0].address", "  endpoints:\n  - name: x\n    address: 10.0.0.1", "  endpoints:\n  - name: x\n    address: host"},
	{"spec.endpoints[0].port", "    port: 1", "    port: x"},
	{"spec.marathon.cmd", "  marathon:\n    cmd: run", "  marathon:\n    cmd: ''"},
	{"spec.marathon.cpus", "    cpus: 1", "    cpus: '1'"},
	{"spec.marathon.labels.A", "    labels:\n      A: a", "    labels:\n      A: 1"},
	{"spec.marathon.constraints", "", "    constraints: [[a, CLUSTER, b]]"},
	{"spec.marathon.unreachableStrategy", "", "    unreachableStrategy: {}"},
	{"spec.marathon.mem", "    mem: 1", "    mem: .nan"},
	{"spec.quota", "---\napiVersion: drover/v1\nkind: Volume\nmetadata: {name: data}\nspec:\n  quota: 1Gi", "---\napiVersion: drover/v1\nkind: Volume\nmetadata: {name: data}\nspec:\n  quota: 1GB"},
	{"spec.reclaim", "  reclaim: Retain", "  reclaim: Keep"},
	{"spec.properties.readonly", "  properties:\n    atime: off", "  properties:\n    atime: off\n    readonly: on"},
}

// Any subset of mistakes is reported, each at its line, and nothing else.
func TestEveryMistakeIsReported(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := []string{"apiVersion: drover/v1", "kind: App"}
		want := map[string]bool{}
		for i, m := range mistakes {
			piece := m.right
			// A list's items keep their index: a later item is there only after the one before.
			after := m.field != "spec.volumes[2].name" || want["spec.volumes[1]"]
			if after && rapid.Bool().Draw(t, fmt.Sprint(i)) {
				piece, want[m.field] = m.wrong, true
			}
			if piece != "" {
				lines = append(lines, strings.Split(piece, "\n")...)
			}
		}
		text := strings.Join(lines, "\n") + "\n"
		_, err := manifest.Parse(manifest.File{Name: "x", Data: []byte(text)})
		got := map[string]bool{}
		for _, p := range manifest.Problems(err) {
			got[p.Field] = true
			last := p.Field[strings.LastIndexAny(p.Field, ".")+1:]
			last, _, _ = strings.Cut(last, "[")
			if line := lines[p.Line-1]; !strings.Contains(line, last) && !strings.Contains(line, "- ") {
				t.Errorf("%v is at line %q", p, line)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got) in\n%s\n%s", text, diff)
		}
	})
}

// tree draws any JSON value; numbers are any that JSON can write.
func tree(depth int) *rapid.Generator[any] {
	kinds := []*rapid.Generator[any]{
		rapid.String().AsAny(),
		rapid.SampledFrom([]string{"off", "yes", "~", "null", "1e3", "0x10", "2020-01-01", "<<", "=", "a: b", "- x", "#", "\u2028", "\u0085", "\x7f", "\ufeff", "😀", " ", "'\"\\/"}).AsAny(),
		rapid.Bool().AsAny(),
		rapid.Just(any(nil)),
		rapid.Map(rapid.StringMatching(`-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?`),
			func(s string) any { return json.Number(s) }),
	}
	if depth > 0 {
		kinds = append(kinds,
			rapid.SliceOfN(tree(depth-1), 0, 3).AsAny(),
			rapid.MapOfN(rapid.String(), tree(depth-1), 0, 3).AsAny())
	}
	return rapid.OneOf(kinds...)
}

// What the Marathon definition says passes through whole: unknown fields, big numbers, and the digits as written.
func TestDefinitionPassesThrough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		def := map[string]any{"cmd": "run <a >b && c"}
		for k, v := range rapid.MapOfN(rapid.StringMatching(`x[a-zA-Z./ -]{0,8}`), tree(3), 0, 5).Draw(t, "fields") {
			def[k] = v
		}
		text, err := json.Marshal(map[string]any{
			"apiVersion": "drover/v1", "kind": "App", "metadata": map[string]any{"name": "/a"}, "spec": map[string]any{"marathon": def}})
		if err != nil {
			t.Fatal(err)
		}
		d, err := manifest.Parse(manifest.File{Name: "a.json", Data: text})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := cmp.Diff(def, decode(t, d.Apps["/a"].Definition)); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

func decode(t interface{ Fatal(...any) }, text []byte) (out map[string]any) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// documents draws a valid set as trees.
func documents(t *rapid.T) []map[string]any {
	var docs []map[string]any
	n := rapid.IntRange(1, 4).Draw(t, "n")
	for i := range n {
		name := fmt.Sprintf("v%d", i)
		docs = append(docs,
			doc("Volume", name, map[string]any{
				"quota":      rapid.SampledFrom([]string{"1Gi", "1024Mi", "2G"}).Draw(t, "quota"),
				"properties": map[string]any{"atime": rapid.SampledFrom([]string{"on", "off"}).Draw(t, "atime"), "recordsize": "16K"},
			}),
			doc("App", "/app/"+name, map[string]any{
				"volumes":   []any{map[string]any{"name": name, "containerPath": "data"}},
				"placement": map[string]any{"constraints": []any{[]any{"disk", "CLUSTER", rapid.StringMatching(`[a-z]{1,8}`).Draw(t, "disk")}}},
				"marathon":  map[string]any{"cmd": rapid.String().Filter(func(s string) bool { return s != "" }).Draw(t, "cmd"), "x": tree(2).Draw(t, "x")},
			}))
	}
	return docs
}

func doc(kind, name string, spec map[string]any) map[string]any {
	return map[string]any{"apiVersion": "drover/v1", "kind": kind, "metadata": map[string]any{"name": name}, "spec": spec}
}

// write spreads documents over files, in any order, as YAML in one of several styles or as JSON.
func write(t *rapid.T, docs []map[string]any) []manifest.File {
	var files []manifest.File
	for i, d := range rapid.Permutation(docs).Draw(t, "order") {
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%d.json", i)
		switch rapid.IntRange(0, 2).Draw(t, "style") {
		case 1:
			name, text = fmt.Sprintf("%d.yaml", i), restyle(t, text)
		case 2:
			var b bytes.Buffer
			if err := json.Indent(&b, text, "", "    "); err != nil {
				t.Fatal(err)
			}
			text = b.Bytes()
		}
		last := len(files) - 1
		if last >= 0 && strings.HasSuffix(name, ".yaml") && strings.HasSuffix(files[last].Name, ".yaml") && rapid.Bool().Draw(t, "join") {
			files[last].Data = slices.Concat(files[last].Data, []byte("\n---\n# a comment\n"), text)
			continue
		}
		files = append(files, manifest.File{Name: name, Data: text})
	}
	return files
}

// restyle writes JSON as YAML with other quotes, layout, key order, comments and numbers.
func restyle(t *rapid.T, text []byte) []byte {
	n := nodeOf(t, decode(t, text))
	out, err := yaml.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat([]byte("# a comment\n"), out)
}

func nodeOf(t *rapid.T, v any) *yaml.Node {
	n := &yaml.Node{}
	switch v := v.(type) {
	case map[string]any:
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
		keys := []string{}
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range rapid.Permutation(keys).Draw(t, "keys") {
			n.Content = append(n.Content, nodeOf(t, k), nodeOf(t, v[k]))
		}
	case []any:
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		for _, item := range v {
			n.Content = append(n.Content, nodeOf(t, item))
		}
	case json.Number:
		n.Kind, n.Value = yaml.ScalarNode, v.String()
		if !strings.ContainsAny(n.Value, ".eE") && rapid.Bool().Draw(t, "point") {
			n.Value += ".00"
		}
	case string:
		n.Kind, n.Tag, n.Value, n.Style = yaml.ScalarNode, "!!str", v, yaml.DoubleQuotedStyle
	case bool:
		n.Kind, n.Value = yaml.ScalarNode, fmt.Sprint(v)
	case nil:
		n.Kind, n.Value = yaml.ScalarNode, "~"
	}
	if rapid.Bool().Draw(t, "flow") && n.Kind != yaml.ScalarNode {
		n.Style = yaml.FlowStyle
	}
	return n
}

// How a set is written does not change its digest; what it says does.
func TestDigestIsOfTheMeaning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		docs := documents(t)
		first, err := manifest.Parse(write(t, docs)...)
		if err != nil {
			t.Fatal(err)
		}
		second, err := manifest.Parse(write(t, docs)...)
		if err != nil {
			t.Fatal(err)
		}
		if first.Digest != second.Digest {
			t.Fatalf("written otherwise: %s, then %s\n%s", first.Digest, second.Digest, cmp.Diff(first, second))
		}
		spec := docs[len(docs)-1]["spec"].(map[string]any)
		spec["cutover"] = map[string]any{"maxOutage": "31s"}
		third, err := manifest.Parse(write(t, docs)...)
		if err != nil {
			t.Fatal(err)
		}
		if third.Digest == first.Digest || first.Digest == "" {
			t.Fatalf("another budget has the same digest %q", third.Digest)
		}
	})
}
