package marathond

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// selector is a parsed label query: all terms must hold.
type selector []selectorTerm

type selectorTerm struct {
	label, op string
	values    []string
}

const labelWord = `((?:[A-Za-z0-9._/-]|\\.)+)`

var (
	existsRE  = regexp.MustCompile(`^\s*` + labelWord + `\s*$`)
	compareRE = regexp.MustCompile(`^\s*` + labelWord + `\s*(==|!=)\s*` + labelWord + `\s*$`)
	setRE     = regexp.MustCompile(`^\s*` + labelWord + `\s+(in|notin)\s*\(([^)]*)\)\s*$`)
	escaped   = regexp.MustCompile(`\\(.)`)
)

// parseSelector reads "a", "a==b", "a!=b", "a in (x,y)", "a notin (x,y)", joined by commas.
func parseSelector(text string) (selector, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var out selector
	for _, part := range splitTerms(text) {
		t, err := parseTerm(part)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// splitTerms cuts at commas that are neither escaped nor inside parentheses.
func splitTerms(text string) []string {
	var out []string
	start, depth := 0, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				out, start = append(out, text[start:i]), i+1
			}
		}
	}
	return append(out, text[start:])
}

func parseTerm(part string) (selectorTerm, error) {
	plain := func(s string) string { return escaped.ReplaceAllString(strings.TrimSpace(s), "$1") }
	if m := existsRE.FindStringSubmatch(part); m != nil {
		return selectorTerm{plain(m[1]), "exists", nil}, nil
	}
	if m := compareRE.FindStringSubmatch(part); m != nil {
		return selectorTerm{plain(m[1]), m[2], []string{plain(m[3])}}, nil
	}
	if m := setRE.FindStringSubmatch(part); m != nil {
		t := selectorTerm{label: plain(m[1]), op: m[2]}
		for v := range strings.SplitSeq(m[3], ",") {
			t.values = append(t.values, plain(v))
		}
		return t, nil
	}
	return selectorTerm{}, fmt.Errorf("unexpected term %q", part)
}

// matches: every operator needs the label to exist.
func (s selector) matches(labels map[string]string) bool {
	for _, t := range s {
		got, has := labels[t.label]
		if !has {
			return false
		}
		in := slices.Contains(t.values, got)
		if (t.op == "==" || t.op == "in") && !in || (t.op == "!=" || t.op == "notin") && in {
			return false
		}
	}
	return true
}

func itoa(n int) string { return strconv.Itoa(n) }
