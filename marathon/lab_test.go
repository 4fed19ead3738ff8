package marathon_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/drover-project/drover/lab/marathond"
	"github.com/drover-project/drover/marathon"
	"github.com/drover-project/drover/state"
)

// The test binary is the executor of the embedded Marathon.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "lab-executor" {
		os.Exit(marathond.ExecutorMain(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// lab runs an embedded Marathon until the test ends.
func lab(t *testing.T, v marathond.Version) *marathond.Server {
	t.Helper()
	s, err := marathond.New(marathond.Options{
		Dir: t.TempDir(), Executor: []string{os.Args[0], "lab-executor"}, Emulate: v,
		MesosListen: "127.0.0.1:0",
		Timing: marathond.Timing{
			Heartbeat: 20 * time.Millisecond, Offers: 50 * time.Millisecond, KillGrace: time.Second, SecondsUnit: 20 * time.Millisecond,
		},
		Agents: []marathond.Agent{
			{ID: "S1", Hostname: "node1", Attributes: []marathond.Attribute{{Name: "disk", Value: "spinning"}, {Name: "slots", Value: "4.0"}}},
			{ID: "S2", Hostname: "node2", Attributes: []marathond.Attribute{{Name: "zone", Value: "{b,a}"}, {Name: "racks", Value: "[5-6,1-2]"}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		kill, release := context.WithTimeout(context.Background(), patience)
		defer release()
		if err := errors.Join(s.ClearFaults(), s.KillTasks(kill)); err != nil {
			t.Errorf("kill tasks: %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return s
}

func TestEmbeddedMarathon(t *testing.T) {
	t.Parallel()
	for _, v := range []marathond.Version{marathond.V15, marathond.V18, marathond.V111} {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			runSuite(t, marathon.Options{URLs: []string{lab(t, v).URL()}})
		})
	}
}

func connect(t *testing.T, o marathon.Options) suite {
	t.Helper()
	c, err := marathon.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return suite{c}
}

func TestEmbeddedAgents(t *testing.T) {
	t.Parallel()
	s := connect(t, marathon.Options{URLs: []string{lab(t, "").URL()}})
	id := s.app(t)
	pin := map[string]any{"constraints": [][]string{{"hostname", "CLUSTER", "node2"}}}
	s.put(t, id, sleeper(t, pin), marathon.PutOptions{})
	_, z := s.Observe(t.Context())
	if len(z.Agents) != 2 {
		t.Fatalf("%+v", z)
	}
	if a := z.Agents[0].Attributes; a["disk"] != "spinning" || a["slots"] != "4" {
		t.Errorf("%+v", a)
	}
	if a := z.Agents[1].Attributes; a["zone"] != "{a,b}" || a["racks"] != "[1-2,5-6]" {
		t.Errorf("%+v", a)
	}
	if got, want := z.Agents[0].Free, (state.Resources{CPUs: 4, Mem: 8192, Disk: 102400, Ports: 1001}); got != want {
		t.Errorf("unused: free %+v, want %+v", got, want)
	}
	if got, want := z.Agents[1].Free, (state.Resources{CPUs: 3.9, Mem: 8160, Disk: 102400, Ports: 1000}); got != want {
		t.Errorf("used: free %+v, want %+v", got, want)
	}
}

// A change whose answer is lost was carried out here: the error says that nobody knows, and a look at the app tells.
func TestEmbeddedCutAnswer(t *testing.T) {
	t.Parallel()
	l := lab(t, "")
	s := connect(t, marathon.Options{URLs: []string{l.URL()}})
	id := s.app(t)
	l.InjectHTTP(marathond.HTTPFault{Method: "PUT", Times: 1, Cut: true})
	_, err := s.PutApp(t.Context(), id, sleeper(t, nil), marathon.PutOptions{})
	if !errors.Is(err, marathon.ErrAmbiguous) {
		t.Fatalf("got %v", err)
	}
	if _, err := s.App(t.Context(), id); err != nil {
		t.Error(err)
	}
}

func TestEmbeddedPage(t *testing.T) {
	t.Parallel()
	l := lab(t, "")
	s := connect(t, marathon.Options{URLs: []string{l.URL()}, MesosURL: l.MesosURL()})
	for _, status := range []int{0, 502} {
		l.InjectHTTP(marathond.HTTPFault{Path: "/v2/apps", Status: status, HTML: true})
		m, z := s.Observe(t.Context())
		if m.Answered() || m.Apps != nil || !z.Answered() {
			t.Errorf("%d: Marathon %+v, Mesos %+v", status, m, z.Source)
		}
		if err := l.ClearFaults(); err != nil {
			t.Fatal(err)
		}
		if m, _ := s.Observe(t.Context()); !m.Answered() {
			t.Errorf("after %d: %+v", status, m.Source)
		}
	}
}

func TestEmbeddedStreamBreaksAndStalls(t *testing.T) {
	t.Parallel()
	l := lab(t, "")
	s := connect(t, marathon.Options{URLs: []string{l.URL()}, Silence: 300 * time.Millisecond})
	seen := watch(t, s.Client)
	seen.has(t, "first connection", 1, named(marathon.Resync))
	l.DropEvents()
	seen.has(t, "connection after a drop", 2, named(marathon.Resync))
	l.StallEvents(true)
	seen.has(t, "connection after silence", 3, named(marathon.Resync))
	l.StallEvents(false)
	id := s.app(t)
	s.put(t, id, sleeper(t, nil), marathon.PutOptions{})
	seen.has(t, "events again", 1, func(e marathon.Event) bool { return e.App == id && e.State == state.TaskRunning })
}

// While its agent is cut off a task is unreachable, for Marathon and for Mesos; it is not gone, and not killed.
func TestEmbeddedPartition(t *testing.T) {
	t.Parallel()
	l := lab(t, "")
	s := connect(t, marathon.Options{URLs: []string{l.URL()}})
	id := s.app(t)
	s.put(t, id, sleeper(t, nil), marathon.PutOptions{})
	_, task := s.one(t, id)
	if err := l.PartitionAgent(string(task.Host)); err != nil {
		t.Fatal(err)
	}
	sees := func(want state.TaskState) func() error {
		return func() error {
			m, z := s.Observe(t.Context())
			app := m.Apps[id]
			if app == nil || len(app.Tasks) != 1 || app.Tasks[0].State != want || z.Tasks[task.ID] != want {
				return fmt.Errorf("Marathon %+v, Mesos %q", app, z.Tasks[task.ID])
			}
			return nil
		}
	}
	eventually(t, "unreachable", sees(state.TaskUnreachable))
	if err := l.ReturnAgent(string(task.Host)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "running again", sees(state.TaskRunning))
}
