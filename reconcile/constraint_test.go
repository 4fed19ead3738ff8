package reconcile

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/drover-project/drover/state"
)

// mesosAgent makes an agent from attributes "name=value".
func mesosAgent(host string, attributes map[string]string) *state.MesosAgent {
	return &state.MesosAgent{Hostname: state.Hostname(host), Attributes: attributes}
}

func racks(values ...string) []*state.MesosAgent {
	var out []*state.MesosAgent
	for i, v := range values {
		out = append(out, mesosAgent(fmt.Sprintf("p%d", i), map[string]string{"rack": v}))
	}
	return out
}

// Marathon's operators as its source and its own tests define them, 1.5 to 1.10: attributes are text, scalars have at most
// three decimals, ranges and sets are in one form, and a missing attribute satisfies UNLIKE only.
func TestOperators(t *testing.T) {
	none := []*state.MesosAgent{mesosAgent("p", nil)}
	for _, c := range []struct {
		name   string
		field  string
		op     string
		value  string
		agent  string // the value of rack; "-" for none
		placed []*state.MesosAgent
		fits   bool
	}{
		{"equal", "rack", "CLUSTER", "r1", "r1", nil, true},
		{"not equal", "rack", "CLUSTER", "r1", "r2", nil, false},
		{"equal exactly, no pattern", "rack", "CLUSTER", "r.", "r1", nil, false},
		{"equal exactly, case and all", "rack", "CLUSTER", "R1", "r1", nil, false},
		{"no number is made of it", "rack", "CLUSTER", "2.0", "2", nil, false},
		{"a missing attribute", "rack", "CLUSTER", "r1", "-", nil, false},
		{"the first one anywhere", "rack", "CLUSTER", "", "r1", nil, true},
		{"the next beside it", "rack", "CLUSTER", "", "r1", racks("r1", "r2"), true},
		{"the next not elsewhere", "rack", "CLUSTER", "", "r2", racks("r1", "r2"), false},
		{"beside one without the attribute", "rack", "CLUSTER", "", "r1", none, false},

		{"the first", "rack", "UNIQUE", "", "r1", nil, true},
		{"another value", "rack", "UNIQUE", "", "r3", racks("r1", "r2"), true},
		{"the same value", "rack", "UNIQUE", "", "r2", racks("r1", "r2"), false},
		{"a placed one without the attribute differs", "rack", "UNIQUE", "", "r1", none, true},
		{"a missing attribute", "rack", "UNIQUE", "", "-", nil, false},

		{"the whole value", "rack", "LIKE", "r[12]", "r1", nil, true},
		{"not a part of it", "rack", "LIKE", "r", "r1", nil, false},
		{"no prefix", "rack", "LIKE", "r1", "r12", nil, false},
		{"alternatives are one whole", "rack", "LIKE", "r1|r2", "r21", nil, false},
		{"each alternative", "rack", "LIKE", "r1|r2", "r2", nil, true},
		{"the end is the end", "rack", "LIKE", "r1", "r1\n", nil, false},
		{"a pattern nobody can read", "rack", "LIKE", "(", "(", nil, false},
		{"a missing attribute", "rack", "LIKE", ".*", "-", nil, false},

		{"not like", "rack", "UNLIKE", "r[12]", "r3", nil, true},
		{"like", "rack", "UNLIKE", "r[12]", "r1", nil, false},
		{"a part of it is not like", "rack", "UNLIKE", "r", "r1", nil, true},
		{"a missing attribute", "rack", "UNLIKE", ".*", "-", nil, true},

		{"an unseen group", "rack", "MAX_PER", "1", "r2", racks("r1"), true},
		{"below", "rack", "MAX_PER", "2", "r1", racks("r1", "r2"), true},
		{"full", "rack", "MAX_PER", "2", "r1", racks("r1", "r1"), false},
		{"no number, seen", "rack", "MAX_PER", "x", "r1", racks("r1"), false},
		{"a missing attribute", "rack", "MAX_PER", "9", "-", nil, false},

		{"an unseen group", "rack", "GROUP_BY", "", "r2", racks("r1"), true},
		{"a smallest group", "rack", "GROUP_BY", "", "r2", racks("r1", "r1", "r2"), true},
		{"a larger group", "rack", "GROUP_BY", "", "r1", racks("r1", "r1", "r2"), false},
		{"equal groups", "rack", "GROUP_BY", "2", "r1", racks("r1", "r2"), true},
		{"groups are missing yet", "rack", "GROUP_BY", "3", "r1", racks("r1", "r2"), false},
		{"an unseen one of them", "rack", "GROUP_BY", "3", "r3", racks("r1", "r2"), true},
		{"a missing attribute", "rack", "GROUP_BY", "", "-", nil, false},

		{"text", "rack", "IS", "r1", "r1", nil, true},
		{"other text", "rack", "IS", "r1", "r2", nil, false},
		{"a scalar in another form", "rack", "IS", "0.80", "0.8", nil, true},
		{"a whole scalar", "rack", "IS", "2.0", "2", nil, true},
		{"three decimals, half to even", "rack", "IS", "1.0005", "1", nil, true},
		{"no exponent", "rack", "IS", "1e3", "1000", nil, true},
		{"negative", "rack", "IS", "-0.50", "-0.5", nil, true},
		{"not a number, though Go reads one", "rack", "IS", "0x10", "0x10", nil, true},
		{"infinity is a word", "rack", "IS", "inf", "inf", nil, true},
		{"a missing attribute", "rack", "IS", "r1", "-", nil, false},

		{"hostname", "hostname", "CLUSTER", "h1", "-", nil, true},
		{"hostname, as later versions write it", "@hostname", "LIKE", "h[1-3]", "-", nil, true},
		{"another hostname", "hostname", "UNLIKE", "h.*", "-", nil, false},
		{"a range in Mesos's one form", "rack", "CLUSTER", "[1-2,5-7]", "[1-2,5-7]", nil, true},
		{"a set in Mesos's one form", "rack", "CLUSTER", "{a,b}", "{a,b}", nil, true},
		{"an operator that does not exist", "rack", "NEAR", "r1", "r1", nil, false},
	} {
		t.Run(c.op+"/"+c.name, func(t *testing.T) {
			attributes := map[string]string{}
			if c.agent != "-" {
				attributes["rack"] = c.agent
			}
			why := unmet(state.Constraint{Field: c.field, Op: c.op, Value: c.value}, mesosAgent("h1", attributes), c.placed)
			if got := why == ""; got != c.fits {
				t.Errorf("fits: got %v (%s), want %v", got, why, c.fits)
			}
		})
	}
}

// What a node fails is said in words that name the attribute, its value and the constraint.
func TestUnmetSaysWhy(t *testing.T) {
	for _, c := range []struct {
		constraint state.Constraint
		want       string
	}{
		{state.Constraint{Field: "rack", Op: "CLUSTER", Value: "r2"}, "rack=r1 is not CLUSTER r2"},
		{state.Constraint{Field: "hostname", Op: "LIKE", Value: "x.*"}, "hostname=h1 is not LIKE x.*"},
		{state.Constraint{Field: "rack", Op: "UNIQUE"}, "rack=r1 is not UNIQUE"},
		{state.Constraint{Field: "zone", Op: "IS", Value: "z"}, "no attribute zone"},
	} {
		got := unmet(c.constraint, mesosAgent("h1", map[string]string{"rack": "r1"}), racks("r1"))
		if got != c.want {
			t.Errorf("%v: got %q, want %q", c.constraint, got, c.want)
		}
	}
}

// For any pattern and value LIKE and UNLIKE are opposites where the attribute is there.
func TestLikeAndUnlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[a-c.*|()?]{0,6}`).Draw(t, "pattern")
		agent := mesosAgent("h", map[string]string{"rack": rapid.StringMatching(`[a-c]{0,4}`).Draw(t, "value")})
		like := unmet(state.Constraint{Field: "rack", Op: "LIKE", Value: pattern}, agent, nil) == ""
		unlike := unmet(state.Constraint{Field: "rack", Op: "UNLIKE", Value: pattern}, agent, nil) == ""
		if like == unlike {
			t.Fatalf("%q on %q: LIKE %v, UNLIKE %v", pattern, agent.Attributes["rack"], like, unlike)
		}
	})
}
