package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/state"
)

func TestPrintPlan(t *testing.T) {
	move := state.Plan{Apps: []state.AppPlan{{App: "/db", Summary: "move a -> b", Reason: "placement: disk CLUSTER x -> y",
		Steps: []state.Step{{Kind: state.DeployApp, App: "/db", Instances: 1, Why: "1 < 2 & so on"}}}}}
	stalled := state.Plan{Apps: []state.AppPlan{{App: "/db", Stalled: "no node fits"}}}
	for _, tt := range []struct {
		name, output string
		plan         state.Plan
		want         string // the last line, or the whole of a JSON plan
		code         exitCode
		err          string
	}{
		{"changes", "text", move, "Plan: 1 app to move. No changes made.", exitChanges, ""},
		{"changes as data", "json", move, `"Why": "1 < 2 & so on"`, exitChanges, ""},
		{"nothing", "text", state.Plan{}, "Plan: nothing to do, the cluster is as the manifests want it.", exitDone, ""},
		{"nothing as data", "json", state.Plan{}, "{\n  \"Apps\": []\n}", exitDone, ""},
		{"stalled", "text", stalled, "Plan: 1 app stalled or waiting.", exitError, "not everything is as wanted; see above"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			err := printPlan(&out, tt.output, &state.Observed{}, tt.plan)
			if !strings.Contains(out.String(), tt.want) {
				t.Errorf("got:\n%s\nwant %q in it", out.String(), tt.want)
			}
			var code exitCode
			switch {
			case errors.As(err, &code):
			case err != nil:
				code = exitError
				if err.Error() != tt.err {
					t.Errorf("error %q, want %q", err, tt.err)
				}
			}
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
		})
	}
}

func TestAskIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in, typing := io.Pipe()
	defer typing.Close()
	cancel()
	a := &applying{in: in, out: io.Discard}
	p := state.Plan{Apps: []state.AppPlan{{Steps: []state.Step{{Kind: state.StopApp, Outage: true}}}}}
	if err := a.ask(ctx, p); err == nil || err.Error() != "nothing was changed: interrupted" {
		t.Errorf("got %v", err)
	}
	a.yes = true
	if err := a.ask(ctx, p); err != nil {
		t.Errorf("with --yes: %v", err)
	}
}

// lines returns what progress printed, without the times.
func lines(out string) []string {
	var got []string
	for line := range strings.Lines(out) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), "  ")
		got = append(got, rest)
	}
	return got
}

func TestProgressWithoutTerminal(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	s := state.Step{Kind: state.Replicate, App: "/db", Volume: "data", UUID: "u", Bytes: 3 << 30, Why: "node2 has no copy"}
	broken := errors.New("node2 is full")
	stream := &state.Stream{Volume: "data", UUID: "u", Snapshot: "s1", Bytes: 1 << 30, Total: 3 << 30, Rate: 100 << 20}
	for _, e := range []controller.Event{
		{Kind: controller.EventStarted, Step: s},
		{Kind: controller.EventFailed, Step: s, Err: broken},
		{Kind: controller.EventStarted, Step: s},
		{Kind: controller.EventFailed, Step: s, Err: broken},
		{Kind: controller.EventProgress, Step: s, Stream: stream},
		{Kind: controller.EventProgress, Step: s, Stream: stream},
		{Kind: controller.EventDone, Step: s},
		{Kind: controller.EventMoved, Move: &controller.Move{App: "/db", Outage: 1500 * time.Millisecond,
			Parts: map[string]time.Duration{"stop": 300 * time.Millisecond, "start": time.Second}}},
	} {
		p.event(e)
	}
	p.close()
	want := []string{
		"/db        replicate       data 3.0 GiB (node2 has no copy)",
		"/db        replicate       did not work, it is tried again: node2 is full",
		"data       s1              1.0 GiB of 3.0 GiB, 100 MiB/s, 20 s left",
		"/db        is up again: outage 1.50 s (stop 0.30 s, last delta 0.00 s, promote 0.00 s, start 1.00 s)",
	}
	if diff := cmp.Diff(want, lines(out.String())); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDescribeBuild(t *testing.T) {
	for _, tt := range []struct {
		name string
		info debug.BuildInfo
		want string
	}{
		{"installed", debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "v1.2.3"}}, "v1.2.3 (go1.26, "},
		{"from a clone", debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "(devel)"},
			Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}}}, "abc+dirty (go1.26, "},
		{"without git", debug.BuildInfo{GoVersion: "go1.26"}, "of an unknown revision (go1.26, "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := describeBuild(&tt.info); !strings.HasPrefix(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAppID(t *testing.T) {
	for _, arg := range []string{"/todo/db", "todo/db", "/todo/db/"} {
		if got := appID(arg); got != "/todo/db" {
			t.Errorf("%q: got %s", arg, got)
		}
	}
}

func TestSilenceIsShownOnce(t *testing.T) {
	v := &overview{Observed: &state.Observed{Nodes: map[state.NodeID]*state.Node{
		"2": {ID: "2", Hostname: "b", Address: "b:1", Source: state.Source{Err: "agent b:1 does not answer: dial tcp: connect: connection refused"}},
		"1": {ID: "1", Hostname: "a", Address: "a:1", Source: state.Source{Err: "context deadline exceeded"}},
	}}}
	var out bytes.Buffer
	v.printNodes(&out)
	want := fmt.Sprintf("\nNODE\tAGENT\tPOOL\tFREE\tATTRIBUTES\tSEEN\na\ta:1\t?\t?\t?\tnothing within %s\n"+
		"b\tb:1\t?\t?\t?\tdoes not answer: dial tcp: connection refused\n", patience)
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
