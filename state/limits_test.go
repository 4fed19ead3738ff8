package state

import "testing"

func TestTightestLimit(t *testing.T) {
	l := Limits{Node: 100, Links: map[NodeID]int64{"n2": 50}, Apps: map[AppID]int64{"/db": 70, "/free": 0}}
	for _, c := range []struct {
		app  AppID
		to   NodeID
		want int64
	}{{"/db", "n2", 50}, {"/db", "n3", 70}, {"/free", "n3", 100}, {"/other", "n2", 50}} {
		if got := l.Of(c.app, c.to); got != c.want {
			t.Errorf("%s to %s: %d, want %d", c.app, c.to, got, c.want)
		}
	}
	if got := (Limits{}).Of("/db", "n2"); got != 0 {
		t.Errorf("without limits: %d", got)
	}
}

func TestEqualLimits(t *testing.T) {
	a := Limits{Links: map[NodeID]int64{"n2": 50}}
	if !a.Equal(Limits{Links: map[NodeID]int64{"n2": 50}, Apps: map[AppID]int64{}}) {
		t.Error("an empty map is no limit")
	}
	if a.Equal(Limits{Links: map[NodeID]int64{"n2": 51}}) || a.Equal(Limits{Node: 1, Links: a.Links}) {
		t.Error("different limits are equal")
	}
}
