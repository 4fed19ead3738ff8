package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"regexp"
	"strconv"
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
	var docs []*document
	dec := yaml.NewDecoder(bytes.NewReader(readable(f)))
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			s.add(syntaxProblem(f, err))
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
		s.add(Problem{File: file, Line: n.Content[0].Line, Message: err.Error()})
		return nil
	}
	return &document{set: s, file: file, root: root, lines: map[string]int{}}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// surrogates is a character beyond U+FFFF as JSON escapes it. YAML knows only its own eight digits.
var surrogates = regexp.MustCompile(`(\\\\)|\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})`)

// readable rewrites the one thing of JSON that the YAML reader does not take.
func readable(f File) []byte {
	if !strings.HasSuffix(f.Name, ".json") {
		return f.Data
	}
	return surrogates.ReplaceAllFunc(f.Data, func(m []byte) []byte {
		if len(m) != len(`\ud83d\ude00`) {
			return m
		}
		high, _ := strconv.ParseUint(string(m[2:6]), 16, 32) // the pattern admits hexadecimal digits only
		low, _ := strconv.ParseUint(string(m[8:12]), 16, 32)
		return fmt.Appendf(nil, `\U%08x`, (high-0xd800)<<10+(low-0xdc00)+0x10000)
	})
}

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

func syntaxProblem(f File, err error) Problem {
	p := Problem{File: f.Name, Message: "is not YAML: " + err.Error()}
	if m := yamlError.FindStringSubmatch(err.Error()); m != nil {
		p.Message = "is not YAML: " + m[2]
		p.Line, _ = strconv.Atoi(m[1]) // 0 if the reader gave no line
	}
	return p
}

const (
	maxNodes = 100_000 // of one document, aliases expanded: a few bytes of YAML can stand for billions of nodes
	maxDepth = 100
)

// expander copies a tree without aliases, merge keys, anchors and comments.
type expander struct{ left int }

func (e *expander) expand(n *yaml.Node, depth int) (*yaml.Node, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if e.left--; e.left < 0 || depth > maxDepth {
		return nil, fmt.Errorf("is too large: want at most %d values in a document, nested at most %d deep", maxNodes, maxDepth)
	}
	if tag := n.ShortTag(); !knownTags[tag] {
		return nil, fmt.Errorf("line %d has the tag %s: want plain YAML", n.Line, tag)
	}
	out := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value, Style: n.Style &^ yaml.TaggedStyle, Line: n.Line, Column: n.Column}
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
func (e *expander) mapping(n, out *yaml.Node, depth int) (*yaml.Node, error) {
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

func mergeInto(out, m *yaml.Node) error {
	if m.Kind == yaml.SequenceNode {
		for _, c := range m.Content {
			if c.Kind != yaml.MappingNode {
				return fmt.Errorf("line %d: want a mapping, or a list of mappings, after <<", m.Line)
			}
			if err := mergeInto(out, c); err != nil {
				return err
			}
		}
		return nil
	}
	if m.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: want a mapping, or a list of mappings, after <<", m.Line)
	}
	given := map[string]bool{}
	for i := 0; i < len(out.Content); i += 2 {
		given[out.Content[i].Value] = true
	}
	for i := 0; i < len(m.Content); i += 2 {
		if !given[m.Content[i].Value] {
			out.Content = append(out.Content, m.Content[i], m.Content[i+1])
		}
	}
	return nil
}

// pairs calls visit for each usable pair of a mapping and notes its line; keys that are no text or come twice are mistakes.
func (d *document) pairs(n *yaml.Node, path string, visit func(key, value *yaml.Node, path string)) {
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || isNull(key) {
			d.set.add(Problem{File: d.file, Line: key.Line, Field: path, Message: "a key must be plain text"})
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

// tree turns a node into a JSON tree that keeps every number as it was written, where JSON can write it so.
func (d *document) tree(n *yaml.Node, path string) any {
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		d.pairs(n, path, func(key, value *yaml.Node, path string) { out[key.Value] = d.tree(value, path) })
		return out
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, c := range n.Content {
			at := fmt.Sprintf("%s[%d]", path, i)
			d.lines[at] = c.Line
			out[i] = d.tree(c, at)
		}
		return out
	}
	return d.scalar(n, path)
}

func (d *document) scalar(n *yaml.Node, path string) any {
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int", "!!float":
		number, err := jsonNumber(n.Value)
		if err != nil {
			d.problem(path, "%v", err)
		}
		return number
	}
	return n.Value
}

var jsonNumberForm = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// jsonNumber keeps the text of a YAML number if it is one in JSON too, and converts it if not (0x1f, 0o17, 1_000, .5).
func jsonNumber(text string) (json.Number, error) {
	if jsonNumberForm.MatchString(text) {
		return json.Number(text), nil
	}
	plain := strings.ReplaceAll(text, "_", "")
	if i, ok := new(big.Int).SetString(plain, 0); ok {
		return json.Number(i.String()), nil
	}
	f, err := strconv.ParseFloat(plain, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return "0", fmt.Errorf("%s is not a number that JSON can write", text)
	}
	return json.Number(strconv.FormatFloat(f, 'g', -1, 64)), nil
}

// jsonText writes a tree with its keys in order and without escaping what a command line is full of (<, >, &).
func jsonText(tree any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(tree); err != nil {
		return nil, fmt.Errorf("write as JSON: %w", err)
	}
	return json.RawMessage(bytes.TrimSpace(b.Bytes())), nil
}
