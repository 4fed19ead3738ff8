package controller

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/drover-project/drover/reconcile"
	"github.com/drover-project/drover/state"
)

// told is a Marathon that knows one app.
type told struct {
	Marathon
	app *state.RunningApp
}

func (m told) App(context.Context, state.AppID) (*state.RunningApp, error) {
	app := *m.app
	app.Tasks = append([]state.Task(nil), m.app.Tasks...)
	return &app, nil
}

// asked is an agent that has an answer for whoever asks whether an app answers.
type asked struct {
	Agents
	answers bool
}

func (a asked) AwaitAnswers(context.Context, string, []state.Probe, time.Duration) (bool, string, error) {
	return a.answers, "", nil
}

// The gates lead to the task that has answered, on the port that Marathon gave it, before Marathon's own checks have come round.
func TestVerifyLeadsGatesToTheTaskThatAnswered(t *testing.T) {
	for name, c := range map[string]struct {
		answers bool
		now     string // the task that runs when the answer has come
		want    string // where the gates lead; "" if connections are held
	}{
		"it answers":                {answers: true, now: "t", want: "10.0.0.1:4711"},
		"it does not answer":        {answers: false, now: "t"},
		"another task is there now": {answers: true, now: "u"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene()
			app := s.d.Apps["/db"]
			app.Definition = []byte(`{"healthChecks":[{"protocol":"MESOS_HTTP","path":"/","portIndex":0}]}`)
			app.Endpoints = []state.Endpoint{{Name: "db", Address: "127.255.0.10", Port: 27017}}
			s.d.Apps["/db"] = app
			o := s.on("node1", 1)
			o.Nodes["node1"].Address = "10.0.0.1:17071"
			live := o.Marathon.Apps["/db"]
			live.Definition, live.Version = []byte(`{"healthChecks":[{"protocol":"MESOS_HTTP","path":"/","portIndex":0}]}`), s.now
			live.Tasks[0].Ports = []int{4711}
			later := *live
			later.Tasks = []state.Task{live.Tasks[0]}
			later.Tasks[0].ID = c.now
			w := &doer{c: &Cluster{Marathon: told{app: &later}, Agents: asked{answers: c.answers}, Log: slog.New(slog.DiscardHandler)},
				mem: newMemory(time.Minute), d: s.d, o: o}
			verify := state.Step{Kind: state.VerifyReady, App: "/db", Node: "node1", Probes: []state.Probe{{Address: "10.0.0.1:4711", Path: "/"}}}
			if err := w.do(t.Context(), verify); err != nil {
				t.Fatal(err)
			}
			dec := reconcile.NextFor(s.d, w.o, s.now, "/db")
			if dec.Step == nil || dec.Step.Kind != state.SetRoutes || len(dec.Step.Routes) != 1 {
				t.Fatalf("after the question comes %+v, want one route", dec)
			}
			if got := dec.Step.Routes[0]; got.Backend != c.want || got.Held != (c.want == "") {
				t.Errorf("the gates lead to %+v, want %q", got, c.want)
			}
		})
	}
}
