package main

import (
	"strings"
	"testing"
	"time"

	"github.com/drover-project/drover/state"
)

func TestStatusSaysWhatAStreamWaitsFor(t *testing.T) {
	for bound, want := range map[state.Bound]string{
		state.BoundTarget:  "by the pool of node2 (48 MiB wait for it)",
		state.BoundSource:  "by the pool of node1",
		state.BoundNetwork: "by the network",
		state.BoundLimit:   "by a bandwidth limit",
		state.BoundUnknown: "-",
	} {
		got := streamLine(state.Stream{Bound: bound, Waiting: 48 << 20})
		if !strings.HasSuffix(got, want) {
			t.Errorf("%q: got %q, want %q at its end", bound, got, want)
		}
	}
	got := streamLine(state.Stream{Resumed: 1 << 30})
	if !strings.Contains(got, "1.0 GiB of 2.0 GiB, after 1.0 GiB before it was cut") {
		t.Errorf("got %q", got)
	}
	for want, s := range map[string]state.Stream{
		"the pool of node2 does not take the 48 MiB that have arrived; it is cut and resumed after 5 min": {Waiting: 48 << 20, Patience: 5 * time.Minute},
		"the pool of node1 gives nothing; it is cut and resumed after 5 min":                              {Bound: state.BoundSource, Patience: 5 * time.Minute},
		"node2 takes nothing from the network; it is cut and resumed after 5 min":                         {Bound: state.BoundNetwork, Patience: 5 * time.Minute},
		"a bandwidth limit":                            {Bound: state.BoundLimit},
		"node2 has all of it, and has not said so yet": {},
	} {
		s.Quiet = seen.Add(-40 * time.Second)
		if got := streamLine(s); !strings.HasSuffix(got, "nothing has moved for 40 s: "+want) {
			t.Errorf("got %q, want %q at its end", got, want)
		}
	}
}

var seen = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// streamLine is what status says of a stream from node1 to node2.
func streamLine(s state.Stream) string {
	s.Volume, s.Snapshot, s.To, s.Bytes, s.Total = "db", "drover-0.2-0", "b", 1<<30, 2<<30
	v := &overview{Observed: &state.Observed{Nodes: map[state.NodeID]*state.Node{
		"a": {Source: state.Source{At: seen}, ID: "a", Hostname: "node1", Streams: []state.Stream{s}}, "b": {ID: "b", Hostname: "node2"}}}}
	var out strings.Builder
	v.printStreams(&out)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	return lines[len(lines)-1]
}
