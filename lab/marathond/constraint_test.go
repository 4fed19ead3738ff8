package marathond

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func mustValue(t testing.TB, s string) value {
	t.Helper()
	v, err := parseValue(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func at(t testing.TB, host string, attrs ...string) place {
	p := place{hostname: host}
	for i := 0; i < len(attrs); i += 2 {
		p.attributes = append(p.attributes, namedValue{attrs[i], mustValue(t, attrs[i+1])})
	}
	return p
}

func TestAttributeText(t *testing.T) {
	for in, want := range map[string]string{
		"ssd": "ssd", "2.0": "2", "1.0005": "1", "1.1005": "1.101", "0.80": "0.8", "[5-6,1-2]": "[1-2,5-6]", "{b, a}": "{a,b}", "-0.0001": "0", "7": "7",
	} {
		if got := mustValue(t, in).String(); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func TestMasterShowsBlanks(t *testing.T) {
	if got := mustValue(t, "[5-6,1-2]").masterJSON(); got != "[1-2, 5-6]" {
		t.Errorf("ranges %v", got)
	}
	if got := mustValue(t, "{b,a}").masterJSON(); got != "{b, a}" {
		t.Errorf("set %v", got)
	}
	if got := mustValue(t, "4").masterJSON(); got != 4.0 {
		t.Errorf("scalar %v", got)
	}
}

func TestOperators(t *testing.T) {
	here := at(t, "h1", "rack", "r1", "slots", "0.8")
	r1, r2, none := at(t, "h2", "rack", "r1"), at(t, "h3", "rack", "r2"), at(t, "h4")
	for _, c := range []struct {
		name       string
		constraint []string
		placed     []place
		want       bool
	}{
		{"unique, nothing placed", []string{"hostname", "UNIQUE"}, nil, true},
		{"unique, other host", []string{"hostname", "UNIQUE"}, []place{r1}, true},
		{"unique, same host", []string{"hostname", "UNIQUE"}, []place{here}, false},
		{"unique attribute taken", []string{"rack", "UNIQUE"}, []place{r1}, false},
		{"unique, placed one lacks it", []string{"rack", "UNIQUE"}, []place{none}, true},
		{"cluster value", []string{"rack", "CLUSTER", "r1"}, nil, true},
		{"cluster other value", []string{"rack", "CLUSTER", "r2"}, nil, false},
		{"cluster needs the attribute", []string{"disk", "CLUSTER", "ssd"}, nil, false},
		{"cluster without value, first", []string{"rack", "CLUSTER"}, nil, true},
		{"cluster without value, same", []string{"rack", "CLUSTER"}, []place{r1}, true},
		{"cluster without value, other", []string{"rack", "CLUSTER"}, []place{r2}, false},
		{"like is a full match", []string{"rack", "LIKE", "r"}, nil, false},
		{"like", []string{"rack", "LIKE", "r[12]"}, nil, true},
		{"unlike", []string{"rack", "UNLIKE", "r[12]"}, nil, false},
		{"unlike matches what is absent", []string{"disk", "UNLIKE", "ssd"}, nil, true},
		{"like does not", []string{"disk", "LIKE", ".*"}, nil, false},
		{"is formats numbers", []string{"slots", "IS", "0.80"}, nil, true},
		{"is text", []string{"rack", "IS", "r1"}, nil, true},
		{"max_per below", []string{"rack", "MAX_PER", "2"}, []place{r1}, true},
		{"max_per reached", []string{"rack", "MAX_PER", "2"}, []place{r1, here}, false},
		{"max_per unseen group", []string{"rack", "MAX_PER", "1"}, []place{r2}, true},
		{"group_by unseen", []string{"rack", "GROUP_BY"}, []place{r2}, true},
		{"group_by smallest", []string{"rack", "GROUP_BY"}, []place{r1, r2, r2}, true},
		{"group_by not smallest", []string{"rack", "GROUP_BY"}, []place{r1, r1, r2}, false},
		{"group_by waits for groups", []string{"rack", "GROUP_BY", "3"}, []place{r1, r2}, false},
		{"@hostname", []string{"@hostname", "CLUSTER", "h1"}, nil, true},
		{"@zone absent", []string{"@zone", "CLUSTER", "z"}, nil, false},
	} {
		if got := V18.meets(c.constraint, here, c.placed, 3); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestGroupByOf111(t *testing.T) {
	r := func(n int) place { return at(t, "h", "rack", fmt.Sprintf("r%d", n)) }
	by2 := []string{"rack", "GROUP_BY", "2"}
	for _, c := range []struct {
		name   string
		offer  int
		placed []place
		want   bool
	}{
		{"unseen group, room for groups", 1, []place{r(2)}, true},
		{"unseen group, groups full", 3, []place{r(1), r(2)}, false},
		{"below the share", 1, []place{r(1), r(2)}, true},
		{"at the share, remainder left", 1, []place{r(1), r(1), r(2)}, true},
		{"at the share, remainder used", 2, []place{r(1), r(1), r(1), r(2), r(2)}, false},
	} {
		if got := V111.meets(by2, r(c.offer), c.placed, 5); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// place n instances one by one wherever the constraint allows, as the scheduler does.
func fillUp(t *rapid.T, v Version, c []string, nodes []place, n int) []place {
	var placed []place
	for range n {
		var fits []place
		for _, p := range nodes {
			if v.meets(c, p, placed, n) {
				fits = append(fits, p)
			}
		}
		if len(fits) == 0 {
			return placed
		}
		placed = append(placed, rapid.SampledFrom(fits).Draw(t, "node"))
	}
	return placed
}

func drawNodes(t *rapid.T) []place {
	var nodes []place
	for i := range rapid.IntRange(1, 6).Draw(t, "nodes") {
		rack := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "rack")
		nodes = append(nodes, place{hostname: fmt.Sprintf("h%d", i), attributes: []namedValue{{"rack", value{text: rack}}}})
	}
	return nodes
}

func racks(nodes []place) map[string]int { return groupCounts(nodes, "rack", V18) }

func TestPlacementKeepsConstraints(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes, n := drawNodes(t), rapid.IntRange(1, 12).Draw(t, "instances")
		for rack, count := range racks(fillUp(t, V18, []string{"rack", "UNIQUE"}, nodes, n)) {
			if count > 1 {
				t.Errorf("UNIQUE: %d on %s", count, rack)
			}
		}
		most := rapid.IntRange(1, 3).Draw(t, "max")
		for rack, count := range racks(fillUp(t, V18, []string{"rack", "MAX_PER", fmt.Sprint(most)}, nodes, n)) {
			if count > most {
				t.Errorf("MAX_PER %d: %d on %s", most, count, rack)
			}
		}
		if got := racks(fillUp(t, V18, []string{"rack", "CLUSTER"}, nodes, n)); len(got) != 1 {
			t.Errorf("CLUSTER: %v", got)
		}
	})
}

func TestGroupByStaysBalanced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes, n := drawNodes(t), rapid.IntRange(1, 12).Draw(t, "instances")
		// Without a value GROUP_BY only balances the groups it has seen; the value says how many there are to see.
		groups := len(racks(nodes))
		placed := racks(fillUp(t, V18, []string{"rack", "GROUP_BY", fmt.Sprint(groups)}, nodes, n))
		for rack := range racks(nodes) {
			if placed[rack] != n/groups && placed[rack] != (n+groups-1)/groups {
				t.Errorf("%d of %d in %s, %d groups", placed[rack], n, rack, groups)
			}
		}
		k := rapid.IntRange(1, 4).Draw(t, "groups")
		share := racks(fillUp(t, V111, []string{"rack", "GROUP_BY", fmt.Sprint(k)}, nodes, n))
		if len(share) > k {
			t.Errorf("1.11: %d groups of %d", len(share), k)
		}
		for rack, count := range share {
			if count > n/k+min(1, n%k) {
				t.Errorf("1.11: %d of %d in %s, %d groups", count, n, rack, k)
			}
		}
	})
}
