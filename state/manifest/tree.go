package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is one YAML document while it is read.
type document struct {
	set   *set
	file  string
	root  *yaml.Node     // without aliases and merge keys
	lines map[string]int // of every field that is there
	raw   any            // spec.marathon as a JSON tree
}

func (d *document) problem(field, format string, args ...any) {
	d.set.add(Problem{File: d.file, Line: d.line(field), Field: field, Message: fmt.Sprintf(format, args...)})
}

// line returns where a field is, or for one that is not there, what it is missing from.
func (d *document) line(field string) int {
	for field != "" {
		if n, ok := d.lines[field]; ok {
			return n
		}
		field = field[:max(0, strings.LastIndexAny(field, ".["))]
	}
	return d.root.Line
}

// has reports whether the document says anything about a field.
func (d *document) has(field string) bool {
	_, ok := d.lines[field]
	return ok
}

// documents splits a file. Mistakes of its syntax end it: what follows them cannot be trusted.
func (s *set) documents(f File) []*document {
	text, ok := s.readable(f)
	if !ok {
		return nil
	}
	var docs []*document
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			s.unread(syntaxProblem(f, err))
			return docs
		}
		if d := s.document(f.Name, &n); d != nil {
			docs = append(docs, d)
		}
	}
	if len(docs) == 0 && !s.has(f.Name) {
		s.add(Problem{File: f.Name, Message: "is empty: want at least one App, Volume or Cluster document, or no such file"})
	}
	return docs
}

// document returns nil for an empty document, as between two separators.
func (s *set) document(file string, n *yaml.Node) *document {
	if n.Kind != yaml.DocumentNode || len(n.Content) != 1 || isNull(n.Content[0]) {
		return nil
	}
	e := expander{left: maxNodes}
	root, err := e.expand(n.Content[0], 0)
	if err != nil {
		s.unread(Problem{File: file, Line: err.line, Message: err.message})
		return nil
	}
	return &document{set: s, file: file, root: root, lines: map[string]int{}}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

const (
	maxNodes = 100_000 // of one document, aliases expanded: a few bytes of YAML can stand for billions of nodes
	maxDepth = 100
)

// expander copies a tree without aliases, merge keys, anchors and comments.
type expander struct{ left int }

// misuse is a trick of YAML that manifests do without, and where it is.
type misuse struct {
	line    int
	message string
}

func (e *expander) expand(n *yaml.Node, depth int) (*yaml.Node, *misuse) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if e.left--; e.left < 0 || depth > maxDepth {
		return nil, &misuse{n.Line, fmt.Sprintf("is too large: want at most %d values in a document (aliases count each time), nested at most %d deep", maxNodes, maxDepth)}
	}
	if tag := n.ShortTag(); !knownTags[tag] {
		return nil, &misuse{n.Line, fmt.Sprintf("has the tag %s: want a value without a tag", tag)}
	}
	out := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value, Style: n.Style, Line: n.Line, Column: n.Column}
	if n.Kind == yaml.MappingNode {
		return e.mapping(n, out, depth)
	}
	for _, c := range n.Content {
		item, err := e.expand(c, depth+1)
		if err != nil {
			return nil, err
		}
		out.Content = append(out.Content, item)
	}
	return out, nil
}

var knownTags = map[string]bool{"!!map": true, "!!seq": true, "!!str": true, "!!int": true, "!!float": true,
	"!!bool": true, "!!null": true, "!!timestamp": true, "!!merge": true}

// mapping copies the pairs, and then those of merge keys ("<<") that the mapping does not give itself.
func (e *expander) mapping(n, out *yaml.Node, depth int) (*yaml.Node, *misuse) {
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, err := e.expand(n.Content[i], depth+1)
		if err != nil {
			return nil, err
		}
		value, err := e.expand(n.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		if key.ShortTag() == "!!merge" {
			merged = append(merged, value)
			continue
		}
		out.Content = append(out.Content, key, value)
	}
	for _, m := range merged {
		if err := mergeInto(out, m); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func mergeInto(out, m *yaml.Node) *misuse {
	sources := []*yaml.Node{m}
	if m.Kind == yaml.SequenceNode {
		sources = m.Content
	}
	for _, from := range sources {
		if from.Kind != yaml.MappingNode {
			return &misuse{m.Line, "has no fields to merge: want fields, or a list of such, after <<"}
		}
		addMissing(out, from)
	}
	return nil
}

func addMissing(out, from *yaml.Node) {
	given := map[string]bool{}
	for i := 0; i < len(out.Content); i += 2 {
		given[out.Content[i].Value] = true
	}
	for i := 0; i < len(from.Content); i += 2 {
		if !given[from.Content[i].Value] {
			out.Content = append(out.Content, from.Content[i], from.Content[i+1])
		}
	}
}

// pairs calls visit for each usable pair of a mapping and notes its line; keys that are no text or come twice are mistakes.
func (d *document) pairs(n *yaml.Node, path string, visit func(key, value *yaml.Node, path string)) {
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || isNull(key) {
			d.set.add(Problem{File: d.file, Line: key.Line, Field: path, Message: "has a key that is no plain text: put it in quotes"})
			continue
		}
		at := join(path, key.Value)
		if line, twice := first[key.Value]; twice {
			d.set.add(Problem{File: d.file, Line: key.Line, Field: at,
				Message: fmt.Sprintf("is here a second time: it is already at line %d; keep one", line)})
			continue
		}
		first[key.Value], d.lines[at] = key.Line, key.Line
		visit(key, value, at)
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
