package marathon_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drover-project/drover/marathon"
	"github.com/drover-project/drover/state"
)

// TestRealMarathon runs the suite against the Marathon at DROVER_TEST_MARATHON, which needs two active agents with room for a
// tenth of a CPU each. It touches only apps below /drover-test.
func TestRealMarathon(t *testing.T) {
	at := os.Getenv("DROVER_TEST_MARATHON")
	if at == "" {
		t.Skip("DROVER_TEST_MARATHON is not set")
	}
	runSuite(t, marathon.Options{URLs: strings.Split(at, ","), MesosURL: os.Getenv("DROVER_TEST_MESOS")})
}

// suite is what must hold for the embedded Marathon as for a real one.
type suite struct {
	*marathon.Client
}

func runSuite(t *testing.T, o marathon.Options) {
	c, err := marathon.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s := suite{c}
	t.Run("info", s.info)
	t.Run("life", s.life)
	t.Run("move", s.move)
	t.Run("lock", s.lock)
	t.Run("cancel", s.cancel)
	t.Run("kill", s.kill)
	t.Run("invalid", s.invalid)
	t.Run("events", s.events)
}

const patience = time.Minute

// eventually looks again and again until f holds.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never: %s: %v", what, err)
		}
	}
}

func definition(t *testing.T, fields map[string]any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sleeper(t *testing.T, more map[string]any) json.RawMessage {
	fields := map[string]any{
		"cmd": "exec sleep 100000", "cpus": 0.1, "mem": 32, "instances": 1,
		"upgradeStrategy":     map[string]any{"minimumHealthCapacity": 0, "maximumOverCapacity": 0},
		"unreachableStrategy": "disabled", "labels": map[string]any{"drover.test/x": "<&>"},
	}
	for k, v := range more {
		fields[k] = v
	}
	return definition(t, fields)
}

// app is an id that nobody else has; what is left of it is deleted when the test ends.
func (s suite) app(t *testing.T) state.AppID {
	t.Helper()
	id := state.AppID("/drover-test/" + strings.ToLower(rand.Text()[:10]))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := s.DeleteApp(ctx, id, true); err != nil && !errors.Is(err, marathon.ErrNotFound) {
			t.Errorf("clean up: %v", err)
		}
	})
	return id
}

// put puts a definition and waits until it is carried out.
func (s suite) put(t *testing.T, id state.AppID, def json.RawMessage, o marathon.PutOptions) {
	t.Helper()
	d, err := s.PutApp(t.Context(), id, def, o)
	if err != nil {
		t.Fatal(err)
	}
	if d.ID == "" || d.Version.IsZero() || !slices.Equal(d.Apps, []state.AppID{id}) {
		t.Errorf("deployment %+v", d)
	}
	s.wait(t, d.ID)
}

func (s suite) wait(t *testing.T, deployment string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.WaitDeployment(ctx, deployment); err != nil {
		t.Fatal(err)
	}
}

// one returns the app, which must have one running task.
func (s suite) one(t *testing.T, id state.AppID) (*state.RunningApp, state.Task) {
	t.Helper()
	app, err := s.App(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if len(app.Tasks) != 1 || app.Tasks[0].State != state.TaskRunning {
		t.Fatalf("tasks %+v", app.Tasks)
	}
	return app, app.Tasks[0]
}

func (s suite) info(t *testing.T) {
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	got, err := s.Info(t.Context())
	if err != nil || got.Version == "" || got.Framework == "" || got.Leader == "" {
		t.Errorf("%+v, %v", got, err)
	}
}

func (s suite) life(t *testing.T) {
	id := s.app(t)
	if _, err := s.App(t.Context(), id); !errors.Is(err, marathon.ErrNotFound) {
		t.Errorf("before it is created: %v", err)
	}
	if err := s.ResetDelay(t.Context(), id); !errors.Is(err, marathon.ErrNotFound) {
		t.Errorf("delay of an app that waits for nothing: %v", err)
	}
	s.put(t, id, sleeper(t, nil), marathon.PutOptions{})
	app, task := s.one(t, id)
	if task.Started.IsZero() || task.Host == "" || task.AgentID == "" || app.Instances != 1 || app.Version.IsZero() {
		t.Errorf("%+v", app)
	}
	m, z := s.Observe(t.Context())
	if !m.Answered() || !z.Answered() {
		t.Fatalf("%+v, %+v", m.Source, z.Source)
	}
	if seen := m.Apps[id]; seen == nil || len(seen.Tasks) != 1 || string(seen.Definition) != string(app.Definition) {
		t.Errorf("in the list: %+v\nalone: %s", seen, app.Definition)
	}
	if z.Tasks[task.ID] != state.TaskRunning {
		t.Errorf("Mesos says of %s: %q", task.ID, z.Tasks[task.ID])
	}
	agent := slices.IndexFunc(z.Agents, func(a state.MesosAgent) bool { return a.ID == task.AgentID })
	if agent < 0 || z.Agents[agent].Hostname != task.Host || !z.Agents[agent].Active {
		t.Errorf("agents %+v of task %+v", z.Agents, task)
	}

	s.put(t, id, app.Definition, marathon.PutOptions{}) // what was read can be put back, and changes nothing
	again, same := s.one(t, id)
	if same.ID != task.ID || !again.Version.Equal(app.Version) || string(again.Definition) != string(app.Definition) {
		t.Errorf("putting back changed %+v to %+v", app, again)
	}

	d, err := s.DeleteApp(t.Context(), id, false)
	if err != nil {
		t.Fatal(err)
	}
	s.wait(t, d.ID)
	if _, err := s.App(t.Context(), id); !errors.Is(err, marathon.ErrNotFound) {
		t.Errorf("after it is deleted: %v", err)
	}
	if _, err := s.DeleteApp(t.Context(), id, false); !errors.Is(err, marathon.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
}

// move is what a cutover does: hold with no instances, then start elsewhere.
func (s suite) move(t *testing.T) {
	id := s.app(t)
	s.put(t, id, sleeper(t, nil), marathon.PutOptions{})
	_, old := s.one(t, id)
	hold := map[string]any{"instances": 0, "constraints": [][]string{{"drover-hold", "CLUSTER", "m1"}}}
	s.put(t, id, definition(t, hold), marathon.PutOptions{Partial: true})
	eventually(t, "the task is gone and known as killed", func() error {
		app, err := s.App(t.Context(), id)
		if err != nil || len(app.Tasks) > 0 {
			return fmt.Errorf("%+v, %w", app, err)
		}
		if _, z := s.Observe(t.Context()); z.Tasks[old.ID] != "killed" {
			return fmt.Errorf("Mesos says %q %s", z.Tasks[old.ID], z.Err)
		}
		return nil
	})
	target := s.other(t, old.Host)
	start := map[string]any{"instances": 1, "constraints": [][]string{{"hostname", "CLUSTER", string(target)}}}
	s.put(t, id, definition(t, start), marathon.PutOptions{Partial: true})
	app, task := s.one(t, id)
	if task.Host != target || !slices.Equal(app.Constraints, []state.Constraint{{Field: "hostname", Op: "CLUSTER", Value: string(target)}}) {
		t.Errorf("on %s, constraints %+v", task.Host, app.Constraints)
	}
	var kept struct{ Labels map[string]string }
	if err := json.Unmarshal(app.Definition, &kept); err != nil || kept.Labels["drover.test/x"] != "<&>" {
		t.Errorf("a partial change lost the rest: %s", app.Definition)
	}
}

func (s suite) other(t *testing.T, than state.Hostname) state.Hostname {
	t.Helper()
	_, z := s.Observe(t.Context())
	for _, a := range z.Agents {
		if a.Active && a.Hostname != than && a.Free.CPUs >= 0.1 && a.Free.Mem >= 32 && a.Free.Ports > 0 {
			return a.Hostname
		}
	}
	t.Fatalf("no agent but %s has room: %+v", than, z)
	return ""
}

// stuck starts a deployment that cannot end.
func (s suite) stuck(t *testing.T, id state.AppID) string {
	t.Helper()
	nowhere := map[string]any{"constraints": [][]string{{"hostname", "CLUSTER", "nowhere.invalid"}}}
	d, err := s.PutApp(t.Context(), id, sleeper(t, nowhere), marathon.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d.ID
}

func (s suite) lock(t *testing.T) {
	id := s.app(t)
	deployment := s.stuck(t, id)
	change := definition(t, map[string]any{"cpus": 0.2})
	_, err := s.PutApp(t.Context(), id, change, marathon.PutOptions{Partial: true})
	var e *marathon.Error
	if !errors.Is(err, marathon.ErrLocked) || !errors.As(err, &e) || !slices.Contains(e.Deployments, deployment) {
		t.Errorf("got %v, want a lock by %s", err, deployment)
	}
	eventually(t, "the queue says why", func() error {
		m, _ := s.Observe(t.Context())
		lock := slices.IndexFunc(m.Deployments, func(d state.Deployment) bool { return d.ID == deployment && slices.Contains(d.Apps, id) })
		if lock < 0 {
			return fmt.Errorf("deployments %+v %s", m.Deployments, m.Err)
		}
		for _, q := range m.Queue {
			if q.App == id && q.Count == 1 && q.Refused["UnfulfilledConstraint"] > 0 {
				return nil
			}
		}
		return fmt.Errorf("queue %+v", m.Queue)
	})
	if err := s.ResetDelay(t.Context(), id); err != nil {
		t.Error(err)
	}
	free := definition(t, map[string]any{"constraints": [][]string{}})
	s.put(t, id, free, marathon.PutOptions{Partial: true, Force: true})
	s.one(t, id)
}

func (s suite) cancel(t *testing.T) {
	id := s.app(t)
	back, err := s.CancelDeployment(t.Context(), s.stuck(t, id), false)
	if err != nil || back.ID == "" {
		t.Fatalf("%+v, %v", back, err)
	}
	s.wait(t, back.ID)
	if _, err := s.App(t.Context(), id); !errors.Is(err, marathon.ErrNotFound) {
		t.Errorf("a creation taken back left %v", err)
	}
	deployment := s.stuck(t, id)
	if _, err := s.CancelDeployment(t.Context(), deployment, true); err != nil {
		t.Fatal(err)
	}
	s.wait(t, deployment)
	if _, err := s.App(t.Context(), id); err != nil {
		t.Errorf("a creation that was stopped took the app away: %v", err)
	}
	if _, err := s.CancelDeployment(t.Context(), deployment, true); !errors.Is(err, marathon.ErrNotFound) {
		t.Errorf("stopped twice: %v", err)
	}
}

func (s suite) kill(t *testing.T) {
	id := s.app(t)
	s.put(t, id, sleeper(t, nil), marathon.PutOptions{})
	_, old := s.one(t, id)
	if _, err := s.KillTasks(t.Context(), []string{old.ID}, marathon.KillOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another task runs", func() error {
		app, err := s.App(t.Context(), id)
		if err != nil || len(app.Tasks) != 1 || app.Tasks[0].ID == old.ID || app.Tasks[0].State != state.TaskRunning {
			return fmt.Errorf("%+v, %w", app, err)
		}
		return nil
	})
	_, now := s.one(t, id)
	d, err := s.KillTasks(t.Context(), []string{now.ID}, marathon.KillOptions{Scale: true})
	if err != nil || d.ID == "" {
		t.Fatalf("%+v, %v", d, err)
	}
	s.wait(t, d.ID)
	if app, err := s.App(t.Context(), id); err != nil || app.Instances != 0 {
		t.Errorf("%+v, %v", app, err)
	}
}

func (s suite) invalid(t *testing.T) {
	id := s.app(t)
	for _, def := range []string{`{}`, `{"cmd":"x","instances":"many"}`, `{"cmd":"x","constraints":[["hostname","NEAR","x"]]}`} {
		_, err := s.PutApp(t.Context(), id, json.RawMessage(def), marathon.PutOptions{})
		var e *marathon.Error
		if !errors.Is(err, marathon.ErrInvalid) || !errors.As(err, &e) || e.Status != 422 || len(e.Details) == 0 {
			t.Errorf("%s: %v", def, err)
		}
	}
}

// watch runs Watch until the test ends and keeps what comes.
func watch(t *testing.T, c *marathon.Client, types ...string) *record {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &record{}
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Watch(ctx, r.add, types...) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return r
}

type record struct {
	mu     sync.Mutex
	events []marathon.Event
}

func (r *record) add(e marathon.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *record) count(f func(marathon.Event) bool) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(r.events), func(e marathon.Event) bool { return !f(e) }))
}

func (r *record) has(t *testing.T, what string, n int, f func(marathon.Event) bool) {
	t.Helper()
	eventually(t, what, func() error {
		if got := r.count(f); got < n {
			return fmt.Errorf("%d of %d", got, n)
		}
		return nil
	})
}

func named(name string) func(marathon.Event) bool {
	return func(e marathon.Event) bool { return e.Name == name }
}

func (s suite) events(t *testing.T) {
	id := s.app(t)
	seen := watch(t, s.Client, marathon.StatusUpdate, marathon.DeploymentSuccess)
	seen.has(t, "its own connection", 1, named("event_stream_attached"))
	d, err := s.PutApp(t.Context(), id, sleeper(t, nil), marathon.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.wait(t, d.ID)
	_, task := s.one(t, id)
	seen.has(t, "success", 1, func(e marathon.Event) bool { return e.Name == marathon.DeploymentSuccess && e.Deployment == d.ID })
	seen.has(t, "running", 1, func(e marathon.Event) bool {
		return e.Name == marathon.StatusUpdate && e.App == id && e.Task == task.ID && e.State == state.TaskRunning
	})
	if n := seen.count(named(marathon.DeploymentInfo)); n != 0 {
		t.Errorf("%d events that were not asked for", n)
	}
}
