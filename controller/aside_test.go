package controller

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/drover-project/drover/agent"
	"github.com/drover-project/drover/marathon"
	"github.com/drover-project/drover/reconcile"
	"github.com/drover-project/drover/state"
)

// patience bounds what would wait for ever if steps came one after the other.
const patience = 20 * time.Second

// until waits for a channel.
func until(c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	case <-time.After(patience):
		return errors.New("it was not begun beside the other")
	}
}

// leaving is a Marathon whose task ends when the agent has been asked who uses its volume.
type leaving struct {
	told
	asked chan struct{}
}

func (m leaving) PutApp(context.Context, state.AppID, json.RawMessage, marathon.PutOptions) (state.Deployment, error) {
	return state.Deployment{}, nil
}

func (m leaving) App(ctx context.Context, id state.AppID) (*state.RunningApp, error) {
	app, err := m.told.App(ctx, id)
	select {
	case <-m.asked:
		app.Tasks = nil
	default:
	}
	return app, err
}

// nobody is an agent that sees nobody in a volume.
type nobody struct {
	Agents
	asked chan struct{}
}

func (a nobody) AwaitUnused(context.Context, string, state.UUID, time.Duration) ([]state.User, error) {
	close(a.asked)
	return nil, nil
}

// The node is asked who uses the volume while Marathon still says that the task runs: an app is down meanwhile.
func TestStopAsksNodeAndMarathonAtOnce(t *testing.T) {
	s := newScene()
	o := s.on("node1", 1)
	o.Nodes["node1"].Copies[0].Lead = "data"
	o.Nodes["node1"].Copies[0].Users = []state.User{{PID: 1}}
	asked := make(chan struct{})
	w := &doer{c: &Cluster{Marathon: leaving{told{app: o.Marathon.Apps["/db"]}, asked}, Agents: nobody{asked: asked}, Log: slog.New(slog.DiscardHandler)},
		mem: newMemory(time.Minute), d: s.d, o: o}
	stop := state.Step{Kind: state.StopApp, App: "/db", Node: "node1", Volume: "data", Lead: "data", Definition: []byte(`{"instances":0}`)}
	if err := w.do(t.Context(), stop); err != nil {
		t.Fatal(err)
	}
	if tasks, users := o.Marathon.Apps["/db"].Tasks, o.Nodes["node1"].Copies[0].Users; len(tasks) > 0 || len(users) > 0 {
		t.Errorf("after the stop there are %v and %v", tasks, users)
	}
}

// slowToRetire is an agent that retires a copy only when the gates have been set.
type slowToRetire struct {
	asked
	routed chan struct{} // closed by set
	set    func()

	mu   sync.Mutex
	done []state.StepKind
}

func (a *slowToRetire) Do(_ context.Context, _ string, _ state.Term, s state.Step) (agent.Result, error) {
	if s.Kind == state.Retire {
		err := until(a.routed)
		a.note(s.Kind)
		return agent.Result{}, err
	}
	a.note(s.Kind) // before the other hears of it
	if s.Kind != state.SetRoutes {
		return agent.Result{}, nil
	}
	a.set()
	return agent.Result{Gate: &state.Gate{Routes: s.Routes}}, nil
}

func (a *slowToRetire) note(k state.StepKind) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done = append(a.done, k)
}

// An app that is down does not wait until its old copy is retired; but its script does, so that no other begins before.
func TestRetireBesideStart(t *testing.T) {
	s := newScene()
	app := s.d.Apps["/db"]
	app.Definition = []byte(`{"healthChecks":[{"protocol":"MESOS_HTTP","path":"/","portIndex":0}]}`)
	app.Endpoints = []state.Endpoint{{Name: "db", Address: "127.255.0.10", Port: 27017}}
	s.d.Apps["/db"] = app
	o := s.on("node2", 2)
	live := o.Marathon.Apps["/db"]
	live.Definition, live.Version, live.Tasks[0].Ports = app.Definition, time.Now(), []int{4711}
	o.Nodes["node2"].Copies[0].Lead = "data"
	held := state.Gate{Routes: []state.Route{{App: "/db", Endpoint: app.Endpoints[0], Held: true}}}
	o.Nodes["node2"].Gate = held
	live.Definition = reconcile.NextFor(s.d, o, time.Now(), "/db").Step.Definition // as Drover has deployed it
	o.Nodes["node1"] = &state.Node{Source: o.Register.Source, ID: "node1", Hostname: "node1", Gate: held, Copies: []state.Copy{{Volume: "data", UUID: "u", Lead: "data",
		Role: state.Released, Epoch: state.Epoch{N: 1}, Release: &state.Release{From: "node1", To: "node2", Epoch: state.Epoch{N: 2}}}}}
	routed := make(chan struct{})
	agents := &slowToRetire{asked: asked{answers: true}, routed: routed, set: sync.OnceFunc(func() { close(routed) })}
	c := New(Options{Cluster: &Cluster{Marathon: told{app: live}, Agents: agents, Log: slog.New(slog.DiscardHandler)}, Log: slog.New(slog.DiscardHandler)})
	c.mem.stopped("/db", time.Now())
	l := newLoop(c, 1, func(error) {})
	w := &doer{c: c.o.Cluster, mem: c.mem, term: 1, d: s.d, o: o}
	dec := reconcile.NextFor(s.d, o, time.Now(), "/db")
	if dec.Step == nil || dec.Step.Kind != state.Retire {
		t.Fatalf("first comes %+v, want the old copy to be retired", dec)
	}
	l.script(t.Context(), w, dec)
	if got := agents.done; !slices.Contains(got, state.Retire) || got[0] != state.SetRoutes {
		t.Errorf("done were %q, want the gates set first and the old copy retired", got)
	}
	if len(l.moves) > 0 {
		t.Errorf("a record of a move began: %+v", l.moves)
	}
}
