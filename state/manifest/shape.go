package manifest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

// decode reads the document into a typed struct. What does not fit is reported and left out, so that the checks that follow
// see the rest; a list's item that does not fit at all is left zero, so that the others keep their index.
func (d *document) decode(into any) {
	if !d.fit(d.root, reflect.TypeOf(into).Elem(), "") {
		return
	}
	text, err := yaml.Marshal(d.root)
	if err == nil {
		err = sigsyaml.UnmarshalStrict(text, into)
	}
	if err != nil {
		d.problem("", "cannot be read: %v", err)
	}
}

var rawType = reflect.TypeFor[json.RawMessage]()

// fit compares a node with a Go type, reports what differs and takes it out of the tree. It returns false if nothing is left.
func (d *document) fit(n *yaml.Node, t reflect.Type, path string) bool {
	if isNull(n) {
		d.problem(path, "is empty: give it a value or leave it out")
		return false
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.fit(n, t.Elem(), path)
	case reflect.Struct:
		return d.kind(n, yaml.MappingNode, path) && d.fitStruct(n, t, path)
	case reflect.Map:
		return d.kind(n, yaml.MappingNode, path) && d.fitMap(n, t, path)
	case reflect.Slice:
		return d.kind(n, yaml.SequenceNode, path) && d.fitList(n, t, path)
	}
	return d.kind(n, yaml.ScalarNode, path) && d.fitScalar(n, t, path)
}

var kindNames = map[yaml.Kind]string{yaml.MappingNode: "fields (name: value)", yaml.SequenceNode: "a list", yaml.ScalarNode: "a single value"}

func (d *document) kind(n *yaml.Node, want yaml.Kind, path string) bool {
	if n.Kind != want {
		d.problem(path, "is %s: want %s", kindNames[n.Kind], kindNames[want])
	}
	return n.Kind == want
}

func (d *document) fitStruct(n *yaml.Node, t reflect.Type, path string) bool {
	fields := fieldsOf(t)
	var keep []*yaml.Node
	d.pairs(n, path, func(key, value *yaml.Node, path string) {
		f, known := fields[key.Value]
		switch {
		case !known:
			d.problem(path, "is not a known field%s", suggest(key.Value, names(fields)))
		case f.Type == rawType:
			d.takeRaw(value, path)
		case f.Type.Kind() == reflect.String && isEmpty(value):
			d.problem(path, "is empty: give it a value or leave it out")
		case d.fit(value, f.Type, path):
			keep = append(keep, key, value)
		}
	})
	for name, f := range fields {
		if at := join(path, name); required(f) && !d.has(at) {
			d.problem(at, "is missing%s", example(f))
		}
	}
	n.Content = keep
	return true
}

func isEmpty(n *yaml.Node) bool {
	return isNull(n) || n.Kind == yaml.ScalarNode && strings.TrimSpace(n.Value) == ""
}

// takeRaw keeps what passes through out of the typed decoding, where numbers would become doubles.
func (d *document) takeRaw(n *yaml.Node, path string) {
	if isNull(n) {
		d.problem(path, "is empty: want the Marathon app definition")
	} else if d.kind(n, yaml.MappingNode, path) {
		d.raw = d.tree(n, path)
	}
}

func (d *document) fitMap(n *yaml.Node, t reflect.Type, path string) bool {
	var keep []*yaml.Node
	d.pairs(n, path, func(key, value *yaml.Node, path string) {
		if d.fit(value, t.Elem(), path) {
			keep = append(keep, quoted(key), value)
		}
	})
	n.Content = keep
	return true
}

func (d *document) fitList(n *yaml.Node, t reflect.Type, path string) bool {
	whole := true
	for i, c := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.lines[at] = c.Line
		if !d.fit(c, t.Elem(), at) {
			n.Content[i] = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
			whole = false
		}
	}
	// A list of text with a hole in it says something else than what was meant.
	return whole || t.Elem().Kind() != reflect.String
}

func (d *document) fitScalar(n *yaml.Node, t reflect.Type, path string) bool {
	switch t.Kind() {
	case reflect.String:
		*n = *quoted(n)
		return true
	case reflect.Bool:
		if n.ShortTag() != "!!bool" {
			d.problem(path, "is %q: want true or false", n.Value)
			return false
		}
	case reflect.Int:
		if _, err := strconv.Atoi(n.Value); err != nil || n.ShortTag() != "!!int" {
			d.problem(path, "is %q: want a whole number", n.Value)
			return false
		}
	}
	return true
}

// quoted makes text of a scalar as it was written: "off" is no boolean and 128 no number where a word is wanted.
func quoted(n *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: n.Value, Style: yaml.DoubleQuotedStyle, Line: n.Line}
}

// fieldsOf returns a struct's fields by their names in JSON.
func fieldsOf(t reflect.Type) map[string]reflect.StructField {
	fields := map[string]reflect.StructField{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields[name] = f
	}
	return fields
}

func required(f reflect.StructField) bool {
	_, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	return !strings.Contains(options, "omit")
}

// example returns what a missing field could be, from its schema tag.
func example(f reflect.StructField) string {
	for word := range strings.SplitSeq(f.Tag.Get("jsonschema"), ",") {
		if key, value, _ := strings.Cut(word, "="); key == "example" || key == "enum" {
			return fmt.Sprintf(": want for example %s: %s", strings.Split(f.Tag.Get("json"), ",")[0], value)
		}
	}
	return ""
}
