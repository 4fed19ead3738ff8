package marathon

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/drover-project/drover/state"
)

// fields are an app's, by their exact names: encoding/json alone would take "ID" for "id", and what is decoded must be what is
// put back.
type fields map[string]json.RawMessage

func (f fields) read(name string, into any) error {
	raw, ok := f[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

type appJSON struct {
	ID          state.AppID
	Instances   *count // always there; a Marathon definition without it means 1
	Constraints [][]string
	Version     timestamp
	Tasks       []taskJSON
	Deployments []struct{ ID string }
}

func (f fields) app() (appJSON, error) {
	var j appJSON
	if err := f.read("id", &j.ID); err != nil {
		return j, err
	}
	if !strings.HasPrefix(string(j.ID), "/") {
		return j, fmt.Errorf("the id is %q, which is not absolute", j.ID)
	}
	return j, cmp.Or(
		f.read("instances", &j.Instances),
		f.read("constraints", &j.Constraints),
		f.read("version", &j.Version),
		f.read("tasks", &j.Tasks),
		f.read("deployments", &j.Deployments),
	)
}

type taskJSON struct {
	ID                 string
	Host               state.Hostname
	SlaveID            string
	State              string
	Ports              []count
	StartedAt          timestamp
	HealthCheckResults []*struct{ Alive bool } // a check that has not run yet can be null
}

// served are the fields of an app on GET that are no part of its definition: a PUT that carries them is refused or they are
// ignored.
var served = []string{
	"tasks", "tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy", "deployments", "version", "versionInfo",
	"lastTaskFailure", "taskStats", "tasksStats", "readinessCheckResults",
}

// decodeApp reads one app, and the ids of the deployments that hold it.
func decodeApp(b []byte) (*state.RunningApp, []string, error) {
	var f fields
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, nil, fmt.Errorf("app: %w", err)
	}
	j, err := f.app()
	if err != nil {
		return nil, nil, fmt.Errorf("app %s: %w", j.ID, err)
	}
	app := &state.RunningApp{ID: j.ID, Instances: 1, Version: j.Version.Time, Tasks: tasks(j.Tasks)}
	if j.Instances != nil {
		app.Instances = int(*j.Instances)
	}
	if app.Constraints, err = constraints(j.Constraints); err != nil {
		return nil, nil, fmt.Errorf("app %s: %w", j.ID, err)
	}
	if app.Definition, err = f.definition(); err != nil {
		return nil, nil, fmt.Errorf("app %s: %w", j.ID, err)
	}
	return app, deploymentIDs(j), nil
}

func deploymentIDs(j appJSON) []string {
	var ids []string
	for _, d := range j.Deployments {
		ids = append(ids, d.ID)
	}
	return ids
}

// definition drops what Marathon adds. The rest stays as it came, byte for byte but for blanks and the order of the fields at
// the top.
func (f fields) definition() (json.RawMessage, error) {
	for _, name := range served {
		delete(f, name)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // a command line is full of < > &
	if err := e.Encode(f); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

func constraints(raw [][]string) ([]state.Constraint, error) {
	var cs []state.Constraint
	for i, r := range raw {
		if len(r) != 2 && len(r) != 3 {
			return nil, fmt.Errorf("constraint %d has %d parts, want 2 or 3", i, len(r))
		}
		c := state.Constraint{Field: r[0], Op: strings.ToUpper(r[1])}
		if len(r) == 3 {
			c.Value = r[2]
		}
		cs = append(cs, c)
	}
	return cs, nil
}

// tasks converts a task list and puts it in the order of ids: Marathon's own order changes from answer to answer.
func tasks(js []taskJSON) []state.Task {
	var ts []state.Task
	for _, j := range js {
		ts = append(ts, j.task())
	}
	slices.SortFunc(ts, func(a, b state.Task) int { return cmp.Compare(a.ID, b.ID) })
	return ts
}

func (j taskJSON) task() state.Task {
	t := state.Task{
		ID: j.ID, Host: j.Host, AgentID: j.SlaveID,
		State: taskState(j.State), Health: j.health(), Started: j.StartedAt.Time,
	}
	for _, p := range j.Ports {
		t.Ports = append(t.Ports, int(p))
	}
	return t
}

// health follows Marathon's own counters: unhealthy if any check failed, healthy if there are results and all are good.
func (j taskJSON) health() state.Health {
	h := state.HealthUnknown
	waiting := false
	for _, r := range j.HealthCheckResults {
		switch {
		case r == nil:
			waiting = true
		case !r.Alive:
			return state.Unhealthy
		default:
			h = state.Healthy
		}
	}
	if waiting {
		return state.HealthUnknown
	}
	return h
}

// taskState turns TASK_RUNNING into running.
func taskState(s string) state.TaskState {
	return state.TaskState(strings.ToLower(strings.TrimPrefix(s, "TASK_")))
}

// appList is the apps of one answer, and which deployments each says it is held by.
type appList struct {
	apps  map[state.AppID]*state.RunningApp
	locks map[string][]state.AppID // deployment id -> apps
}

// decodeApps reads {"apps": [...]}. One unreadable app makes the whole list unreadable: left out, it would look deleted.
func decodeApps(b []byte) (appList, error) {
	var j struct{ Apps *[]json.RawMessage }
	if err := json.Unmarshal(b, &j); err != nil {
		return appList{}, err
	}
	if j.Apps == nil {
		return appList{}, errMissing("apps")
	}
	l := appList{apps: map[state.AppID]*state.RunningApp{}, locks: map[string][]state.AppID{}}
	for _, raw := range *j.Apps {
		app, locks, err := decodeApp(raw)
		if err != nil {
			return appList{}, err
		}
		if l.apps[app.ID] != nil {
			return appList{}, fmt.Errorf("app %s is listed twice", app.ID)
		}
		l.apps[app.ID] = app
		for _, d := range locks {
			l.locks[d] = append(l.locks[d], app.ID)
		}
	}
	return l, nil
}

// timestamp is Marathon's time: ISO 8601 in UTC with milliseconds. "" and null are the zero time.
type timestamp struct{ time.Time }

// UnmarshalJSON reads a timestamp.
func (t *timestamp) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil || s == "" {
		return err
	}
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return fmt.Errorf("time %q: want such as 2020-01-02T03:04:05.678Z", s)
	}
	t.Time = v.UTC()
	return nil
}

// count is a whole number that may be written as a double: Marathon from 1.9 on writes 1.0.
type count int

// UnmarshalJSON reads a whole number.
func (c *count) UnmarshalJSON(b []byte) error {
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	if f != math.Trunc(f) || math.Abs(f) > 1<<31 {
		return fmt.Errorf("%s: want a whole number", b)
	}
	*c = count(f)
	return nil
}
