package manifest

import (
	_ "embed" // types.go is read at run time: its comments are the schema's descriptions
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
)

//go:embed types.go
var typesSource string

// Schema returns the JSON Schema (draft 2020-12) of one manifest document, generated from the Go types and their comments,
// so that editors complete and check manifests. It knows the form of a document; what only the values or the whole set can
// tell (quantities beyond range, duplicate names, contradictions) is left to [Parse].
func Schema() ([]byte, error) {
	comments, err := commentsOf(typesSource)
	if err != nil {
		return nil, err
	}
	r := jsonschema.Reflector{
		Anonymous: true,
		LookupComment: func(t reflect.Type, field string) string {
			return comments[strings.TrimSuffix(t.Name()+"."+field, ".")]
		},
	}
	all := &jsonschema.Schema{
		Version:     jsonschema.Version,
		Title:       "Drover manifest",
		Description: "One document of Drover's manifests: an App, a Volume, or the Cluster.",
		Definitions: jsonschema.Definitions{},
	}
	for _, doc := range []any{App{}, Volume{}, Cluster{}} {
		s := r.Reflect(doc)
		all.OneOf = append(all.OneOf, &jsonschema.Schema{Ref: s.Ref})
		for name, def := range s.Definitions {
			all.Definitions[name] = def
		}
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the schema: %w", err)
	}
	return append(text, '\n'), nil
}

// commentsOf returns the comments of a source file's types and their fields, by "Type" and "Type.Field".
func commentsOf(source string) (map[string]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "types.go", source, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("read the comments of the manifest types: %w", err)
	}
	out := map[string]string{}
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.TYPE {
			continue
		}
		for _, spec := range gen.Specs {
			t, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			out[t.Name.Name] = flow(gen.Doc)
			fieldComments(t, out)
		}
	}
	return out, nil
}

func fieldComments(t *ast.TypeSpec, out map[string]string) {
	s, ok := t.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, f := range s.Fields.List {
		for _, name := range f.Names {
			out[t.Name.Name+"."+name.Name] = flow(f.Doc)
		}
	}
}

// flow joins a comment's lines.
func flow(doc *ast.CommentGroup) string { return strings.Join(strings.Fields(doc.Text()), " ") }

const durationPattern = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`

// JSONSchema describes a Duration.
func (Duration) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: durationPattern, Examples: []any{"5s", "500ms", "24h"}}
}

// JSONSchema describes a Quantity.
func (Quantity) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{
		AnyOf:    []*jsonschema.Schema{{Type: "string", Pattern: quantity.String()}, {Type: "integer", Minimum: "1"}},
		Examples: []any{"500M", "10Gi", "1.5Ti"},
	}
}

// JSONSchema describes a Constraint. The operators are offered for completion.
func (Constraint) JSONSchema() *jsonschema.Schema {
	two, three := uint64(2), uint64(3)
	return &jsonschema.Schema{
		Type:     "array",
		MinItems: &two,
		MaxItems: &three,
		Items:    &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Enum: anys(operators)}, {Type: "string"}, {Type: "number"}, {Type: "boolean"}}},
		Examples: []any{[]string{"disk", "CLUSTER", "ssd"}, []string{"hostname", "UNIQUE"}},
	}
}

// JSONSchemaExtend makes the Marathon definition an object with any fields.
func (AppSpec) JSONSchemaExtend(s *jsonschema.Schema) {
	m, ok := s.Properties.Get("marathon")
	if !ok {
		return
	}
	s.Properties.Set("marathon", &jsonschema.Schema{
		Type:        "object",
		Description: m.Description,
		Examples:    []any{map[string]any{"cmd": "exec todo db", "cpus": 0.1, "mem": 128}},
	})
}

// JSONSchemaExtend offers the properties and their values for completion.
func (VolumeSpec) JSONSchemaExtend(s *jsonschema.Schema) {
	m, ok := s.Properties.Get("properties")
	if !ok {
		return
	}
	text := []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}
	m.Properties = jsonschema.NewProperties()
	for _, name := range names(properties) {
		m.Properties.Set(name, &jsonschema.Schema{Description: "Want " + properties[name].want + ".", AnyOf: text})
	}
	m.PatternProperties = map[string]*jsonschema.Schema{":": {Description: "A user property.", AnyOf: text}}
	m.AdditionalProperties = jsonschema.FalseSchema
	m.Examples = []any{map[string]any{"recordsize": "16K", "compression": "lz4"}}
}

func anys(words []string) []any {
	out := make([]any, len(words))
	for i, w := range words {
		out[i] = w
	}
	return out
}
