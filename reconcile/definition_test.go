package reconcile

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/drover-project/drover/state"
)

// tree reads JSON with its numbers as they are written.
func tree(t testing.TB, text string) map[string]any {
	t.Helper()
	d := parse(json.RawMessage(text))
	if len(d) == 0 && text != "{}" {
		t.Fatalf("not an object: %s", text)
	}
	return d
}

func statefulApp(definition string) state.App {
	return state.App{ID: "/todo/db", Instances: 1, Definition: json.RawMessage(definition), Constraints: pinned("never written"),
		Volumes: []state.Mount{{Volume: "todo-data", ContainerPath: "data"}, {Volume: "log", ContainerPath: "/var/log/db", Env: "LOGS"}}}
}

var atNode1 = &pin{host: "node1", mounts: []string{"/drover/todo-data", "/tank/log"}}

// An app with volumes: what Drover owns, whatever the manifest says, and everything else as it is.
func TestDefinitionOfAnAppWithVolumes(t *testing.T) {
	got := definition(statefulApp(`{"cmd":"run","cpus":0.10,"env":{"A":"b"},"labels":{"x":"y"},"tasksAreFun":[1,{"deep":1e2}],
		"container":{"type":"DOCKER","docker":{"image":"i"},"volumes":[{"containerPath":"/own","hostPath":"/own","mode":"RO"}]}}`), atNode1)
	digest, _ := got.object("labels")[digestLabel].(string)
	if len(digest) != 12 {
		t.Errorf("digest is %q", digest)
	}
	delete(got.object("labels"), digestLabel)
	want := tree(t, `{"id":"/todo/db","cmd":"run","cpus":0.10,"tasksAreFun":[1,{"deep":1e2}],
		"instances":1,"constraints":[["hostname","CLUSTER","node1"]],
		"upgradeStrategy":{"minimumHealthCapacity":0,"maximumOverCapacity":0},"unreachableStrategy":"disabled",
		"labels":{"x":"y","MARATHON_SINGLE_INSTANCE_APP":"true"},
		"env":{"A":"b","DROVER_VOLUME_TODO_DATA":"data","LOGS":"/var/log/db"},
		"container":{"type":"DOCKER","docker":{"image":"i"},"volumes":[{"containerPath":"/own","hostPath":"/own","mode":"RO"},
			{"containerPath":"data","hostPath":"/drover/todo-data/data","mode":"RW"},{"containerPath":"/var/log/db","hostPath":"/tank/log/data","mode":"RW"}]}}`)
	if diff := cmp.Diff(want, map[string]any(got)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Without a container in the manifest the Mesos containerizer mounts the volume.
func TestDefinitionWithoutContainer(t *testing.T) {
	if got := definition(statefulApp(`{"cmd":"run"}`), atNode1).object("container")["type"]; got != "MESOS" {
		t.Errorf("container type is %v", got)
	}
}

// A held app can start nowhere: no instances, and a constraint on an attribute that no agent has.
func TestHeldDefinition(t *testing.T) {
	d := definition(statefulApp(`{"cmd":"run"}`), nil)
	d.hold("todo_db-0.2")
	live := deployed(state.Step{App: "/todo/db", Definition: d.json()})
	want := []state.Constraint{{Field: "drover-hold", Op: "CLUSTER", Value: "todo_db-0.2"}}
	if live.Instances != 0 || !cmp.Equal(live.Constraints, want) {
		t.Errorf("got %d instances, %v", live.Instances, live.Constraints)
	}
	if !Held(&state.Observed{Marathon: state.Marathon{Apps: map[state.AppID]*state.RunningApp{"/todo/db": live}}}, "/todo/db") {
		t.Error("it does not count as held")
	}
	if d.object("labels")["MARATHON_SINGLE_INSTANCE_APP"] != "true" || digestOf(d.json()) == "" {
		t.Error("it does not count as Drover's")
	}
}

// An app without volumes passes through: only its id, its instances and the digest are Drover's.
func TestDefinitionOfAnAppWithoutVolumes(t *testing.T) {
	got := definition(state.App{ID: "/web", Instances: 3, Definition: json.RawMessage(`{"cmd":"x","instances":3,"constraints":[["rack","UNIQUE"]]}`),
		Constraints: []state.Constraint{{Field: "rack", Op: "UNIQUE"}}}, nil)
	delete(got.object("labels"), digestLabel)
	want := tree(t, `{"id":"/web","cmd":"x","instances":3,"constraints":[["rack","UNIQUE"]],"labels":{}}`)
	if diff := cmp.Diff(want, map[string]any(got)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Whatever fields a manifest has, all that Drover does not own are there as they were written.
func TestUnknownFieldsPassThrough(t *testing.T) {
	owned := map[string]bool{"id": true, "instances": true, "constraints": true, "labels": true, "env": true, "container": true, "upgradeStrategy": true, "unreachableStrategy": true}
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.MapOf(rapid.StringMatching(`[a-zA-Z]{1,12}`), anyJSON(3)).Draw(t, "definition")
		text := jsonText(in)
		got := parse(definition(statefulApp(text), atNode1).json())
		for k, want := range parse(json.RawMessage(text)) {
			if diff := cmp.Diff(want, got[k]); !owned[k] && diff != "" {
				t.Fatalf("%s (-want +got)\n%s", k, diff)
			}
		}
	})
}

// anyJSON draws any JSON value, numbers in any way of writing.
func anyJSON(depth int) *rapid.Generator[any] {
	leaves := []*rapid.Generator[any]{rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.String().AsAny(),
		rapid.Custom(func(t *rapid.T) any {
			return json.Number(rapid.StringMatching(`-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "number"))
		})}
	if depth == 0 {
		return rapid.OneOf(leaves...)
	}
	return rapid.OneOf(append(leaves, rapid.SliceOfN(anyJSON(depth-1), 0, 3).AsAny(), rapid.MapOfN(rapid.StringMatching(`[a-z]{1,3}`), anyJSON(depth-1), 0, 3).AsAny())...)
}

const manifestDefinition = `{"cmd":"run","cpus":1,"mem":128.0,"portDefinitions":[{"name":"db","port":0}],"env":{"A":"b"},
	"healthChecks":[{"protocol":"MESOS_HTTP","path":"/healthz","portIndex":0}],"fetch":[],"ipAddress":{"groups":["old"]}}`

// What Marathon makes of a definition by itself is no drift, what somebody makes of it is.
func TestDrift(t *testing.T) {
	app := statefulApp(manifestDefinition)
	want := definition(app, atNode1)
	for _, c := range []struct {
		name string
		live func(d def)
		same bool
	}{
		{"as deployed", func(def) {}, true},
		{"Marathon's defaults", func(d def) {
			d["executor"], d["backoffSeconds"], d["killSelection"] = "", json.Number("1"), "YOUNGEST_FIRST"
			d["networks"] = []any{map[string]any{"mode": "host"}}
			d["healthChecks"].([]any)[0].(map[string]any)["gracePeriodSeconds"] = json.Number("300")
		}, true},
		{"numbers in another form", func(d def) { d["cpus"], d["mem"] = json.Number("1.0"), json.Number("128") }, true},
		{"a port chosen for port 0", func(d def) { d["portDefinitions"].([]any)[0].(map[string]any)["port"] = json.Number("10042") }, true},
		{"an empty list left out", func(d def) { delete(d, "fetch") }, true},
		{"an old form rewritten", func(d def) { delete(d, "ipAddress") }, true},
		{"scaled: that is looked at elsewhere", func(d def) { d["instances"] = json.Number("0") }, true},
		{"the command changed", func(d def) { d["cmd"] = "run --fast" }, false},
		{"a number changed", func(d def) { d["cpus"] = json.Number("1.5") }, false},
		{"a variable changed", func(d def) { d.object("env")["A"] = "c" }, false},
		{"a health check taken out", func(d def) { d["healthChecks"] = []any{} }, false},
		{"a health check added", func(d def) { d["healthChecks"] = append(d["healthChecks"].([]any), map[string]any{"protocol": "TCP"}) }, false},
		{"another kind of value", func(d def) { d["cmd"] = []any{"run"} }, false},
		{"pinned elsewhere", func(d def) { d["constraints"] = constraintLists(pinned("node2")) }, false},
		{"mounted elsewhere", func(d def) { d.object("container")["volumes"].([]any)[0].(map[string]any)["hostPath"] = "/elsewhere" }, false},
		{"an upgrade that starts two", func(d def) { d.object("upgradeStrategy")["maximumOverCapacity"] = json.Number("1") }, false},
		{"a digest of another definition", func(d def) { d.object("labels")[digestLabel] = "0123456789ab" }, false},
		{"the digest taken out, nothing else", func(d def) { delete(d.object("labels"), digestLabel) }, true},
		{"the digest and a field taken out", func(d def) { delete(d.object("labels"), digestLabel); delete(d, "cmd") }, false},
		{"a label of somebody else's", func(d def) { d.object("labels")["monitored"] = "yes" }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			live := parse(want.json())
			c.live(live)
			if got := sameDefinition(parse(live.json()), want); got != c.same {
				t.Errorf("same: got %v, want %v", got, c.same)
			}
		})
	}
}

// A field that leaves the manifest is drift though Marathon holds all that is still wanted: the digest is of the whole.
func TestDriftWhenAFieldLeavesTheManifest(t *testing.T) {
	deployed := definition(statefulApp(`{"cmd":"run","env":{"A":"b"},"taskKillGracePeriodSeconds":5}`), atNode1)
	for _, now := range []string{`{"cmd":"run","env":{"A":"b"}}`, `{"cmd":"run","env":{},"taskKillGracePeriodSeconds":5}`} {
		if sameDefinition(parse(deployed.json()), definition(statefulApp(now), atNode1)) {
			t.Errorf("no drift to %s", now)
		}
	}
}

// The digest is of the meaning: neither the order of fields nor the number of instances is in it.
func TestDigest(t *testing.T) {
	app := state.App{ID: "/web", Instances: 2, Definition: json.RawMessage(`{"cmd":"x","env":{"A":"1","B":"2"}}`)}
	other := state.App{ID: "/web", Instances: 5, Definition: json.RawMessage(`{"env":{"B":"2","A":"1"}, "cmd":"x"}`)}
	if a, b := digestOf(definition(app, nil).json()), digestOf(definition(other, nil).json()); a != b || a == "" {
		t.Errorf("got %q and %q", a, b)
	}
	if digestOf(json.RawMessage(`{"cmd":"echo DROVER_DEFINITION"}`)) != "" {
		t.Error("a command that mentions the label counts as deployed by Drover")
	}
}

// digestOf returns the digest in a definition as Marathon holds it.
func digestOf(raw json.RawMessage) string { return parse(raw).deployedDigest() }

func TestMountingsIn(t *testing.T) {
	for path, want := range map[string]state.AppID{
		"/drover/v/data": "/x", "/drover/v": "/x", "/drover/w/../v/": "/x", "/drover/v2": "", "/drover/v.d/y": "", "/drover": "", "v": "",
	} {
		raw := json.RawMessage(`{"container":{"volumes":[{"containerPath":"x"},{"hostPath":` + jsonText(path) + `}]}}`)
		own := json.RawMessage(`{"container":{"volumes":[{"hostPath":"/drover/v/data"},{"hostPath":"/drover/v-/data"}]}}`)
		v := newView(&state.Desired{}, &state.Observed{Marathon: state.Marathon{Apps: map[state.AppID]*state.RunningApp{"/x": {Definition: raw}, "/own": {Definition: own}}}}, noon)
		if got := v.mountingsIn("/drover/v", "/own"); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
