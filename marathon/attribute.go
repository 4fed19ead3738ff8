package marathon

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// attributes are an agent's, as the text that Marathon compares constraints with.
type attributes map[string]string

// UnmarshalJSON reads an agent's attributes object. A name that was given twice at the agent is there twice; Marathon matches the
// first, so the first counts here.
func (a *attributes) UnmarshalJSON(b []byte) error {
	*a = attributes{}
	d := json.NewDecoder(bytes.NewReader(b))
	open, err := d.Token()
	if err != nil || open == nil { // null: none
		return err
	}
	if open != json.Delim('{') {
		return errors.New("attributes: want an object")
	}
	for d.More() {
		if err := a.take(d); err != nil {
			return err
		}
	}
	return nil
}

func (a attributes) take(d *json.Decoder) error {
	name, err := d.Token()
	if err != nil {
		return err
	}
	var v json.RawMessage
	if err := d.Decode(&v); err != nil {
		return fmt.Errorf("attribute %v: %w", name, err)
	}
	if _, twice := a[name.(string)]; !twice {
		a[name.(string)] = attributeText(v)
	}
	return nil
}

// attributeText gives a value the form that Marathon gives it: a scalar without trailing zeros, ranges and sets sorted and without
// the blanks that Mesos writes.
func attributeText(v json.RawMessage) string {
	var s string
	if json.Unmarshal(v, &s) == nil {
		return normalText(s)
	}
	var f float64
	if json.Unmarshal(v, &f) == nil {
		return scalarText(f)
	}
	return string(v)
}

// scalarText writes at most 3 decimals, ties to even, no trailing zeros, no exponent.
func scalarText(f float64) string {
	return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(f, 'f', 3, 64), "0"), ".")
}

// normalText tells ranges and sets from text as Mesos does when it reads an attribute: by the brackets.
func normalText(s string) string {
	if inner, ok := between(s, "[", "]"); ok {
		if rs, err := parseRanges(inner); err == nil {
			return rangesText(rs)
		}
	}
	if inner, ok := between(s, "{", "}"); ok {
		return setText(inner)
	}
	return s
}

func between(s, left, right string) (string, bool) {
	s, l := strings.CutPrefix(s, left)
	s, r := strings.CutSuffix(s, right)
	return s, l && r
}

func setText(inner string) string {
	items := strings.Split(inner, ",")
	for i, s := range items {
		items[i] = strings.TrimSpace(s)
	}
	slices.Sort(items)
	return "{" + strings.Join(items, ",") + "}"
}

// span is a range of whole numbers, both ends included.
type span struct{ begin, end uint64 }

// parseRanges reads "1-2, 5-6"; "" is no ranges.
func parseRanges(s string) ([]span, error) {
	var rs []span
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		r, err := parseSpan(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		rs = append(rs, r)
	}
	slices.SortStableFunc(rs, func(a, b span) int { return cmp.Compare(a.begin, b.begin) })
	return rs, nil
}

func parseSpan(s string) (r span, err error) {
	b, e, ok := strings.Cut(s, "-")
	if !ok {
		return span{}, fmt.Errorf("range %q: want such as 31000-32000", s)
	}
	if r.begin, err = strconv.ParseUint(b, 10, 64); err != nil {
		return span{}, fmt.Errorf("range %q: %w", s, err)
	}
	if r.end, err = strconv.ParseUint(e, 10, 64); err != nil {
		return span{}, fmt.Errorf("range %q: %w", s, err)
	}
	if r.end < r.begin {
		return span{}, fmt.Errorf("range %q ends before it begins", s)
	}
	return r, nil
}

func rangesText(rs []span) string {
	parts := make([]string, len(rs))
	for i, r := range rs {
		parts[i] = fmt.Sprintf("%d-%d", r.begin, r.end)
	}
	return "[" + strings.Join(parts, ",") + "]"
}
