package controller

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/drover-project/drover/state"
)

// limited are agents that are told limits.
type limited struct {
	Agents
	err error

	mu   sync.Mutex
	told map[string]state.Limits
}

func (l *limited) SetLimits(_ context.Context, addr string, term state.Term, limits state.Limits) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if term != 7 {
		return errors.New("the wrong term")
	}
	l.told[addr] = limits
	return l.err
}

// Every node that answers and has other limits than the manifests want is told; a link is known by the ids of its ends.
func TestLimitsAreToldWhereTheyDiffer(t *testing.T) {
	at := state.Source{At: time.Now()}
	d := &state.Desired{Cluster: state.Cluster{Bandwidth: state.Bandwidth{Node: 100, Nodes: map[state.Hostname]int64{"b": 20},
		Links: []state.LinkBandwidth{{From: "a", To: "b", Limit: 5}}}},
		Apps: map[state.AppID]state.App{"/db": {Bandwidth: 9}, "/free": {}}}
	apps := map[state.AppID]int64{"/db": 9}
	o := &state.Observed{Nodes: map[state.NodeID]*state.Node{
		"1": {Source: at, ID: "1", Hostname: "a", Address: "a:1"},
		"2": {Source: at, ID: "2", Hostname: "b", Address: "b:1", Limits: state.Limits{Node: 20, Apps: apps}},
		"3": {Source: state.Source{At: time.Now(), Err: "silent"}, ID: "3", Hostname: "c", Address: "c:1"},
		"4": {Source: at, ID: "4", Hostname: "d", Address: "d:1", Limits: state.Limits{Node: 1}},
	}}
	for _, failing := range []error{nil, errors.New("it does not answer")} { // a failure is tried again at the next look
		agents := &limited{err: failing, told: map[string]state.Limits{}}
		l := &loop{term: 7, c: &Controller{o: Options{Cluster: &Cluster{Agents: agents}, Log: slog.New(slog.DiscardHandler)}}}
		l.limit(t.Context(), d, o)
		want := map[string]state.Limits{"a:1": {Node: 100, Links: map[state.NodeID]int64{"2": 5}, Apps: apps}, "d:1": {Node: 100, Apps: apps}}
		if !maps.EqualFunc(agents.told, want, state.Limits.Equal) {
			t.Errorf("told %v, want %v", agents.told, want)
		}
	}
}
