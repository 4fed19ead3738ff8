package manifest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/drover-project/drover/state"
)

// holdField is the attribute that no agent has: Drover stops an app for good by demanding it.
const holdField = "drover-hold"

var operators = []string{"CLUSTER", "UNIQUE", "LIKE", "UNLIKE", "MAX_PER", "GROUP_BY", "IS"}

var (
	wholeNumber = regexp.MustCompile(`^[0-9]{1,9}$`)
	isValue     = regexp.MustCompile(`^[a-zA-Z0-9_/.-]+$`) // what Marathon takes after IS
)

// constraints checks a list of constraints at a field, one by one and against each other.
func (d *document) constraints(field string, list []Constraint, instances int) []state.Constraint {
	var out []state.Constraint
	var at []string
	for i, words := range list {
		if words == nil {
			continue // its form was refused already
		}
		where := fmt.Sprintf("%s[%d]", field, i)
		c, msg := constraint(words)
		if msg != "" {
			d.problem(where, "%s", msg)
			continue
		}
		out, at = append(out, c), append(at, where)
	}
	for i, c := range out {
		for j := range i {
			if why := contradiction(out[j], c, instances); why != "" {
				d.problem(at[i], "%s cannot hold together with %s: %s", show(c), show(out[j]), why)
			}
		}
	}
	return out
}

func show(c state.Constraint) string { return strings.TrimSuffix(c.Field+" "+c.Op+" "+c.Value, " ") }

// constraint reads one constraint by Marathon's rules; msg says what is wrong.
func constraint(words Constraint) (c state.Constraint, msg string) {
	if len(words) < 2 || len(words) > 3 {
		return c, fmt.Sprintf("is of length %d: want [field, operator] or [field, operator, value], such as [disk, CLUSTER, ssd]", len(words))
	}
	c = state.Constraint{Field: words[0], Op: strings.ToUpper(words[1])}
	if len(words) == 3 {
		c.Value = words[2]
	}
	if msg = fieldProblem(c.Field); msg != "" {
		return c, msg
	}
	return c, valueProblem(c, len(words) == 3)
}

func fieldProblem(field string) string {
	switch {
	case strings.TrimSpace(field) == "":
		return "names no field: want hostname or an agent's attribute, such as [disk, CLUSTER, ssd]"
	case field == holdField:
		return "uses " + holdField + ", with which Drover stops apps: want another attribute"
	case strings.HasPrefix(field, "@") && field != "@hostname" && field != "@region" && field != "@zone":
		return fmt.Sprintf("has the field %q: want @hostname, @region, @zone or an agent's attribute", field)
	}
	return ""
}

func valueProblem(c state.Constraint, given bool) string {
	switch c.Op {
	case "UNIQUE":
		return problemIf(given, "UNIQUE takes no value")
	case "CLUSTER":
		return problemIf(given && c.Value == "", "CLUSTER has an empty value: give one, or leave it out to keep all tasks together")
	case "GROUP_BY":
		return problemIf(given && !wholeNumber.MatchString(c.Value), "GROUP_BY takes a whole number, or no value")
	case "MAX_PER":
		n, err := strconv.Atoi(c.Value)
		return problemIf(!wholeNumber.MatchString(c.Value) || err != nil || n < 1, "MAX_PER needs a whole number from 1")
	case "LIKE", "UNLIKE":
		return patternProblem(c)
	case "IS":
		return problemIf(!isValue.MatchString(c.Value), "IS needs a word or a number as value (letters, digits and _ / . -)")
	}
	return fmt.Sprintf("has the operator %q%s", c.Op, suggest(c.Op, operators))
}

func problemIf(wrong bool, msg string) string {
	if wrong {
		return msg
	}
	return ""
}

func patternProblem(c state.Constraint) string {
	if c.Value == "" {
		return c.Op + " needs a regular expression as value, such as [hostname, LIKE, node[12]]"
	}
	if _, err := regexp.Compile(c.Value); err != nil {
		return fmt.Sprintf("%s has the value %q, which is not a regular expression that Drover can evaluate (%v; no lookaround, no backreferences)", c.Op, c.Value, err)
	}
	return ""
}

// contradiction says why no node can satisfy both a and b; "" if one might.
func contradiction(a, b state.Constraint, instances int) string {
	if fieldName(a.Field) != fieldName(b.Field) {
		return ""
	}
	for _, pair := range [][2]state.Constraint{{a, b}, {b, a}} {
		if why := excludes(pair[0], pair[1], instances); why != "" {
			return why
		}
	}
	return ""
}

// fieldName makes one of the two names that Marathon has for an agent's hostname.
func fieldName(field string) string {
	if field == "@hostname" {
		return "hostname"
	}
	return field
}

// excludes says why b never holds where a does.
func excludes(a, b state.Constraint, instances int) string {
	if a.Op == "LIKE" && b.Op == "UNLIKE" && a.Value == b.Value {
		return "no value is like an expression and unlike it"
	}
	if a.Op == "CLUSTER" && limit(b) < instances {
		return fmt.Sprintf("%d tasks have to share one value of %s", instances, a.Field)
	}
	value, fixed := fixedValue(a)
	if !fixed {
		return ""
	}
	if other, ok := fixedValue(b); ok && other != value {
		return "a node has one value of " + a.Field
	}
	if (b.Op == "LIKE" || b.Op == "UNLIKE") && matches(b.Value, value) != (b.Op == "LIKE") {
		return fmt.Sprintf("%s has to be %s", a.Field, value)
	}
	if a.Op == "IS" && limit(b) < instances {
		return fmt.Sprintf("%d tasks have to share one value of %s", instances, a.Field)
	}
	return ""
}

// limit returns how many tasks may share one value.
func limit(c state.Constraint) int {
	switch c.Op {
	case "UNIQUE":
		return 1
	case "MAX_PER":
		if n, err := strconv.Atoi(c.Value); err == nil {
			return n
		}
	}
	return int(^uint(0) >> 1)
}

// fixedValue returns the one value that a constraint allows. IS compares numbers as Marathon prints them: 0.80 is 0.8.
func fixedValue(c state.Constraint) (string, bool) {
	switch {
	case c.Op == "CLUSTER" && c.Value != "":
		return c.Value, true
	case c.Op == "IS":
		if f, err := strconv.ParseFloat(c.Value, 64); err == nil {
			text := strconv.FormatFloat(f, 'f', 3, 64)
			return strings.TrimSuffix(strings.TrimRight(text, "0"), "."), true
		}
		return c.Value, true
	}
	return "", false
}

// matches reports whether the whole of value matches, as Marathon evaluates LIKE.
func matches(pattern, value string) bool {
	re, err := regexp.Compile(`^(?:` + pattern + `)$`)
	return err == nil && re.MatchString(value)
}
