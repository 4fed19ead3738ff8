package controller

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drover-project/drover/state"
)

// While a step runs, the status says which of its ends does not answer, and why.
func TestStatusOfAStepWhoseTargetIsSilent(t *testing.T) {
	step := state.Step{App: "/db", Kind: state.Replicate, Node: "n1", Peer: "n2"}
	l := newLoop(&Controller{}, 1, nil)
	l.busy["/db"] = step
	o := &state.Observed{Nodes: map[state.NodeID]*state.Node{
		"n1": {Hostname: "node1", Source: state.Source{At: time.Now()}},
		"n2": {Hostname: "node2", Source: state.Source{At: time.Now(), Err: "pool tank of node2 is suspended"}},
		"n3": {Hostname: "node3", Source: state.Source{At: time.Now(), Err: "connection refused"}},
	}}
	dec := state.Decision{App: "/db", Waiting: "for something else", Notes: []string{"of note"}}
	l.start(t.Context(), nil, o, &dec, time.Now())
	want := AppStatus{App: "/db", Step: state.Replicate, Node: "n1", Notes: []string{"of note", "node2 does not answer: pool tank of node2 is suspended"}}
	if diff := cmp.Diff(want, appStatus(dec)); diff != "" {
		t.Error(diff)
	}
}
