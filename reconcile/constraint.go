package reconcile

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/drover-project/drover/state"
)

// attribute returns the text that Marathon compares for a field on an agent, and whether the agent has it.
func attribute(a *state.MesosAgent, field string) (string, bool) {
	if field == "hostname" || field == "@hostname" {
		return string(a.Hostname), true
	}
	v, ok := a.Attributes[field]
	return v, ok
}

// unmet returns why an agent does not satisfy a constraint, given the agents on which other instances of the app already
// are; "" if it does. The operators are Marathon's (1.5 to 1.10), missing attributes included: only UNLIKE matches them.
func unmet(c state.Constraint, a *state.MesosAgent, placed []*state.MesosAgent) string {
	value, has := attribute(a, c.Field)
	if !has {
		if c.Op == "UNLIKE" {
			return ""
		}
		return fmt.Sprintf("no attribute %s", c.Field)
	}
	if newCondition(c).satisfied(value, placed) {
		return ""
	}
	return strings.TrimSpace(fmt.Sprintf("%s=%s is not %s %s", c.Field, value, c.Op, c.Value))
}

// condition is a constraint made ready to be asked of many agents.
type condition struct {
	state.Constraint
	pattern *regexp.Regexp // of LIKE and UNLIKE; nil if it cannot be read, and then nothing matches it
}

func newCondition(c state.Constraint) condition {
	if c.Op != "LIKE" && c.Op != "UNLIKE" {
		return condition{Constraint: c}
	}
	// Java's matches() is of the whole value. The manifest check has refused what RE2 cannot read.
	re, err := regexp.Compile("^(?:" + c.Value + ")$")
	if err != nil {
		re = nil
	}
	return condition{c, re}
}

// met reports whether an agent satisfies the condition, as unmet does in words.
func (c condition) met(a *state.MesosAgent, placed []*state.MesosAgent) bool {
	value, has := attribute(a, c.Field)
	if !has {
		return c.Op == "UNLIKE"
	}
	return c.satisfied(value, placed)
}

func (c condition) like(value string) bool { return c.pattern != nil && c.pattern.MatchString(value) }

func (c condition) satisfied(value string, placed []*state.MesosAgent) bool {
	switch c.Op {
	case "CLUSTER":
		return cluster(c.Constraint, value, placed)
	case "IS":
		return value == scalarText(c.Value)
	case "LIKE":
		return c.like(value)
	case "UNLIKE":
		return !c.like(value)
	case "UNIQUE":
		return counts(c.Field, placed)[value] == 0
	case "MAX_PER":
		n, err := strconv.Atoi(c.Value)
		seen := counts(c.Field, placed)[value]
		return seen == 0 || err == nil && seen < n
	case "GROUP_BY":
		return groupBy(c.Constraint, value, placed)
	}
	return false
}

func cluster(c state.Constraint, value string, placed []*state.MesosAgent) bool {
	if c.Value != "" {
		return value == c.Value
	}
	if len(placed) == 0 {
		return true
	}
	first, ok := attribute(placed[0], c.Field)
	return ok && first == value
}

// groupBy is the rule of Marathon up to 1.10: a group not seen yet is taken; else all wanted groups must be in use and this
// one among the smallest.
func groupBy(c state.Constraint, value string, placed []*state.MesosAgent) bool {
	seen := counts(c.Field, placed)
	if seen[value] == 0 {
		return true
	}
	wanted, err := strconv.Atoi(c.Value)
	if c.Value != "" && err != nil {
		return false
	}
	smallest := math.MaxInt
	for _, n := range seen {
		smallest = min(smallest, n)
	}
	return len(seen) >= wanted && seen[value] == smallest
}

// counts returns how many of the placed instances have each value of a field.
func counts(field string, placed []*state.MesosAgent) map[string]int {
	n := map[string]int{}
	for _, p := range placed {
		if v, ok := attribute(p, field); ok {
			n[v]++
		}
	}
	return n
}

// scalarText writes a number as Marathon compares it: at most three decimals, half to even, no trailing zeros; what is not a
// number stays as it is.
func scalarText(v string) string {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || strings.ContainsAny(v, "xXpPinIN_") {
		return v
	}
	return strconv.FormatFloat(math.RoundToEven(f*1000)/1000, 'f', -1, 64)
}
