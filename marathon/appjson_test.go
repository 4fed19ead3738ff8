package marathon

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drover-project/drover/state"
)

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecodeApps(t *testing.T) {
	l, err := decodeApps(fixture(t, "apps.json"))
	if err != nil {
		t.Fatal(err)
	}
	db := l.apps["/todo/db"]
	if diff := cmp.Diff([]state.Constraint{{Field: "hostname", Op: "CLUSTER", Value: "n1"}, {Field: "rack", Op: "UNIQUE"}}, db.Constraints); diff != "" {
		t.Error(diff)
	}
	want := []state.Task{
		{ID: "todo_db.instance-1ab1._app.1", Host: "n2", AgentID: "f-S1", State: state.TaskUnreachable},
		{
			ID: "todo_db.instance-2ab1._app.2", Host: "n1", AgentID: "f-S0", State: state.TaskRunning, Health: state.Healthy,
			Ports: []int{31005, 31006}, Started: time.Date(2020, 1, 2, 3, 4, 7, 0, time.UTC),
		},
	}
	if diff := cmp.Diff(want, db.Tasks); diff != "" {
		t.Error(diff)
	}
	if !db.Version.Equal(time.Date(2020, 1, 2, 3, 4, 5, 678e6, time.UTC)) || db.Instances != 1 {
		t.Errorf("version %v, instances %d", db.Version, db.Instances)
	}
	old := l.apps["/old"]
	if old.Instances != 0 || old.Tasks[0].State != state.TaskKilling || !slices.Equal(old.Tasks[0].Ports, []int{31000}) {
		t.Errorf("got %+v", old)
	}
	if diff := cmp.Diff(map[string][]state.AppID{"d1": {"/todo/db"}}, l.locks); diff != "" {
		t.Error(diff)
	}
}

func TestDefinitionKeepsWhatAPutMayCarry(t *testing.T) {
	l, err := decodeApps(fixture(t, "apps.json"))
	if err != nil {
		t.Fatal(err)
	}
	got := string(l.apps["/todo/db"].Definition)
	contains(t, got, `"cmd":"mongod --dbpath data <x >y & wait"`, `"vendor":{"z":1.0,"a":[1e3]}`, `"id":"/todo/db"`, `"unreachableStrategy":"disabled"`)
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(got), &fields); err != nil {
		t.Fatal(err)
	}
	for f := range fields {
		if strings.HasPrefix(f, "task") || slices.Contains([]string{"deployments", "version", "versionInfo", "lastTaskFailure", "readinessCheckResults"}, f) {
			t.Errorf("%q is left in", f)
		}
	}
	if len(fields) != 21 {
		t.Errorf("%d fields left: %s", len(fields), got)
	}
}

// What is not a list of apps must never read as one that is empty.
func TestDecodeAppsRefuses(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"nothing":          {``, "unexpected end"},
		"no list":          {`{}`, `no "apps"`},
		"null":             {`{"apps":null}`, `no "apps"`},
		"message":          {`{"message":"hello"}`, `no "apps"`},
		"html":             {`<html>`, "invalid character"},
		"truncated":        {`{"apps":[{"id":"/a"}`, "unexpected end"},
		"null app":         {`{"apps":[null]}`, "not absolute"},
		"no id":            {`{"apps":[{"cmd":"x"}]}`, "not absolute"},
		"relative id":      {`{"apps":[{"id":"a"}]}`, "not absolute"},
		"twice":            {`{"apps":[{"id":"/a"},{"id":"/a"}]}`, "listed twice"},
		"odd constraint":   {`{"apps":[{"id":"/a","constraints":[["x"]]}]}`, "app /a: constraint 0"},
		"half an instance": {`{"apps":[{"id":"/a","instances":0.5}]}`, "whole number"},
		"odd time":         {`{"apps":[{"id":"/a","version":"yesterday"}]}`, "yesterday"},
		"text for number":  {`{"apps":[{"id":"/a","instances":"1"}]}`, "app /a"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := decodeApps([]byte(c.body))
			if err == nil {
				t.Fatalf("read as %+v", l)
			}
			contains(t, err.Error(), c.want)
		})
	}
	if l, err := decodeApps([]byte(`{"apps":[]}`)); err != nil || len(l.apps) != 0 {
		t.Errorf("an empty list: %v", err)
	}
}

func TestHealth(t *testing.T) {
	for results, want := range map[string]state.Health{
		``:                                  state.HealthUnknown,
		`null`:                              state.HealthUnknown,
		`{"alive":true}`:                    state.Healthy,
		`{"alive":true},{"alive":true}`:     state.Healthy,
		`{"alive":true},null`:               state.HealthUnknown,
		`null,{"alive":false}`:              state.Unhealthy,
		`{"alive":true},{"alive":false}`:    state.Unhealthy,
		`{"alive":false,"firstSuccess":""}`: state.Unhealthy,
	} {
		var j taskJSON
		if err := json.Unmarshal([]byte(`{"healthCheckResults":[`+results+`]}`), &j); err != nil {
			t.Fatal(err)
		}
		if got := j.health(); got != want {
			t.Errorf("[%s]: got %q, want %q", results, got, want)
		}
	}
}

func TestDecodeQueue(t *testing.T) {
	got, err := decodeQueue([]byte(`{"queue":[
	 {"count":1,"role":"*","delay":{"timeLeftSeconds":7,"overdue":true},"app":{"id":"/x"},
	  "processedOffersSummary":{"processedOffersCount":3,"rejectSummaryLastOffers":[
	   {"reason":"UnfulfilledRole","declined":0,"processed":3},{"reason":"UnfulfilledConstraint","declined":3,"processed":3}]}},
	 {"count":2,"delay":{"timeLeftSeconds":1.5,"overdue":false},"app":{"id":"/y"}},
	 {"count":1,"delay":{"timeLeftSeconds":0,"overdue":true},"pod":{"id":"/pod"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []state.QueueEntry{
		{App: "/x", Count: 1, Refused: map[string]int{"UnfulfilledConstraint": 3}},
		{App: "/y", Count: 2, Delay: 1500 * time.Millisecond},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{``, `{}`, `[]`, `{"queue":[{"count":1}]}`, `{"queue":{}}`} {
		if _, err := decodeQueue([]byte(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

// Whatever is accepted as an app can be put back, and reads the same when Marathon returns it.
func FuzzApps(f *testing.F) {
	f.Add(fixture(f, "apps.json"))
	f.Add([]byte(`{"apps":[{"id":"/a","instances":1e0,"labels":{"k":"\u003c"},"x":null}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := decodeApps(b)
		if err != nil {
			return
		}
		for id, app := range l.apps {
			again, _, err := decodeApp(app.Definition)
			if err != nil {
				t.Fatalf("%s: the definition of %s: %v", app.Definition, id, err)
			}
			if !bytes.Equal(again.Definition, app.Definition) || again.Instances != app.Instances || len(again.Tasks) != 0 {
				t.Fatalf("%s became %s", app.Definition, again.Definition)
			}
		}
	})
}
