package marathond

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// attributeKind is one of Mesos's four value types.
type attributeKind int

const (
	textAttribute attributeKind = iota
	scalarAttribute
	rangesAttribute
	setAttribute
)

// value is a parsed attribute.
type value struct {
	kind   attributeKind
	text   string
	scalar float64
	ranges []portInterval
	set    []string
}

type portInterval struct{ begin, end int }

// parseValue reads Mesos's notation.
func parseValue(s string) (value, error) {
	s = strings.TrimSpace(s)
	switch {
	case strings.HasPrefix(s, "["):
		rs, err := parseRanges(strings.Trim(s, "[]"))
		return value{kind: rangesAttribute, ranges: rs}, err
	case strings.HasPrefix(s, "{"):
		return value{kind: setAttribute, set: splitTrim(strings.Trim(s, "{}"))}, nil
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		return value{kind: scalarAttribute, scalar: n}, nil
	}
	return value{kind: textAttribute, text: s}, nil
}

func parseRanges(s string) ([]portInterval, error) {
	var out []portInterval
	for _, part := range splitTrim(s) {
		lo, hi, ok := strings.Cut(part, "-")
		if !ok {
			hi = lo
		}
		b, err1 := strconv.Atoi(strings.TrimSpace(lo))
		e, err2 := strconv.Atoi(strings.TrimSpace(hi))
		if err1 != nil || err2 != nil || b > e {
			return nil, fmt.Errorf("range %q is not BEGIN-END", part)
		}
		out = append(out, portInterval{b, e})
	}
	slices.SortFunc(out, func(a, b portInterval) int { return a.begin - b.begin })
	return out, nil
}

func splitTrim(s string) []string {
	out := []string{}
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// String is the text that constraints compare with.
func (v value) String() string {
	switch v.kind {
	case scalarAttribute:
		return scalarText(v.scalar)
	case rangesAttribute:
		return "[" + joinRanges(v.ranges, ",") + "]"
	case setAttribute:
		return "{" + strings.Join(slices.Sorted(slices.Values(v.set)), ",") + "}"
	default:
		return v.text
	}
}

// scalarText has at most three fraction digits and no trailing zeros.
func scalarText(n float64) string {
	s := strconv.FormatFloat(n, 'f', 3, 64)
	s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	if s == "-0" || s == "" {
		return "0"
	}
	return s
}

func joinRanges(rs []portInterval, sep string) string {
	parts := make([]string, len(rs))
	for i, r := range rs {
		parts[i] = fmt.Sprintf("%d-%d", r.begin, r.end)
	}
	return strings.Join(parts, sep)
}

// masterJSON is how the master's JSON shows an attribute: ranges and sets are text with a blank after the comma.
func (v value) masterJSON() any {
	switch v.kind {
	case scalarAttribute:
		return v.scalar
	case rangesAttribute:
		return "[" + joinRanges(v.ranges, ", ") + "]"
	case setAttribute:
		return "{" + strings.Join(v.set, ", ") + "}"
	default:
		return v.text
	}
}

// protoJSON is the operator API's form of an attribute or resource.
func (v value) protoJSON(name string) tree {
	out := tree{"name": name}
	switch v.kind {
	case scalarAttribute:
		out["type"], out["scalar"] = "SCALAR", tree{"value": v.scalar}
	case rangesAttribute:
		rs := []any{}
		for _, r := range v.ranges {
			rs = append(rs, tree{"begin": r.begin, "end": r.end})
		}
		out["type"], out["ranges"] = "RANGES", tree{"range": rs}
	case setAttribute:
		out["type"], out["set"] = "SET", tree{"item": v.set}
	default:
		out["type"], out["text"] = "TEXT", tree{"value": v.text}
	}
	return out
}

// offerJSON is the form used in the launch queue's lastUnusedOffers.
func (v value) offerJSON(name string) tree {
	out := tree{"name": name}
	switch v.kind {
	case scalarAttribute:
		out["scalar"] = v.scalar
	case rangesAttribute:
		rs := []any{}
		for _, r := range v.ranges {
			rs = append(rs, tree{"begin": r.begin, "end": r.end})
		}
		out["ranges"] = rs
	case setAttribute:
		out["set"] = v.set
	default:
		out["text"] = v.text
	}
	return out
}
