package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

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
	if n.Style == 0 && jsonNumberForm.MatchString(n.Value) {
		return json.Number(n.Value) // the YAML reader takes one that no double can hold for text
	}
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
