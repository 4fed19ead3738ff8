package marathond

import (
	"regexp"
	"strconv"
	"strings"
)

// place is where something runs or could run: the fields that constraints look at.
type place struct {
	hostname, region, zone string
	attributes             []namedValue
}

type namedValue struct {
	name  string
	value value
}

// field is the text of a constraint's field at this place, and whether there is one.
func (p place) field(name string, v Version) (string, bool) {
	if name == "hostname" {
		return p.hostname, true
	}
	if v != V15 {
		switch name {
		case "@hostname":
			return p.hostname, true
		case "@region":
			return p.region, p.region != ""
		case "@zone":
			return p.zone, p.zone != ""
		}
	}
	for _, a := range p.attributes {
		if a.name == name {
			return a.value.String(), true
		}
	}
	return "", false
}

// meets tells whether an instance may be placed at p, given where the instances that count already are.
// instances is the app's target, which only the 1.11 GROUP_BY needs.
func (v Version) meets(c []string, p place, placed []place, instances int) bool {
	field, op, arg := c[0], c[1], ""
	if len(c) > 2 {
		arg = c[2]
	}
	got, has := p.field(field, v)
	if !has {
		return op == "UNLIKE"
	}
	switch op {
	case "UNIQUE":
		return countField(placed, field, got, v) == 0
	case "CLUSTER":
		return v.meetsCluster(field, arg, len(c) > 2 && arg != "", got, placed)
	case "LIKE", "UNLIKE":
		re, err := fullMatch(arg)
		return err == nil && re.MatchString(got) == (op == "LIKE")
	case "IS":
		return got == isText(arg)
	case "MAX_PER":
		return countField(placed, field, got, v) < atoi(arg)
	case "GROUP_BY":
		return v.meetsGroupBy(field, arg, got, placed, instances)
	}
	return false
}

func (v Version) meetsCluster(field, arg string, has bool, got string, placed []place) bool {
	if has {
		return got == arg && (v != V15 || field != "hostname" || countField(placed, field, got, v) == len(placed))
	}
	if len(placed) == 0 {
		return true
	}
	first, ok := placed[0].field(field, v)
	return ok && first == got
}

func (v Version) meetsGroupBy(field, arg, got string, placed []place, instances int) bool {
	groups := groupCounts(placed, field, v)
	n := atoi(arg)
	if v == V111 && n > 0 {
		return groupByShare(groups, got, n, instances)
	}
	mine, seen := groups[got]
	if !seen {
		return true
	}
	return len(groups) >= n && mine == smallest(groups)
}

// groupByShare is the rule of 1.11: every group gets instances/n, and the remainder is dealt out once.
func groupByShare(groups map[string]int, got string, n, instances int) bool {
	share, rest := instances/n, instances%n
	mine, seen := groups[got]
	if !seen {
		return len(groups) < n
	}
	for _, count := range groups {
		rest -= max(0, count-share)
	}
	return mine < share || mine == share && rest > 0
}

func groupCounts(placed []place, field string, v Version) map[string]int {
	out := map[string]int{}
	for _, p := range placed {
		if got, ok := p.field(field, v); ok {
			out[got]++
		}
	}
	return out
}

func smallest(groups map[string]int) int {
	least := -1
	for _, n := range groups {
		if least < 0 || n < least {
			least = n
		}
	}
	return least
}

func countField(placed []place, field, want string, v Version) int {
	return groupCounts(placed, field, v)[want]
}

// fullMatch compiles a Java regular expression as far as RE2 knows it, anchored at both ends.
func fullMatch(re string) (*regexp.Regexp, error) {
	return regexp.Compile(`^(?:` + re + `)$`)
}

// isText is the value of IS as compared: what looks like a number is printed as a scalar.
func isText(arg string) string {
	if n, err := strconv.ParseFloat(arg, 64); err == nil && !strings.ContainsAny(arg, "xXnNiI_pP") {
		return scalarText(n)
	}
	return arg
}

// atoi is a validated whole number; absent or unreadable is 0.
func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}
