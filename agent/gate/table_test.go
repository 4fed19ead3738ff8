package gate

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drover-project/drover/state"
)

func route(app, name, backend string, epoch uint64) state.Route {
	return state.Route{App: state.AppID(app), Endpoint: state.Endpoint{Name: name, Address: "127.0.0.1", Port: 1}, Backend: backend,
		Epoch: state.Epoch{N: epoch}, Hold: time.Second}
}

func TestMerge(t *testing.T) {
	forced := route("/a", "db", "forced", 1)
	forced.Epoch.F = 1
	routes := func(rs ...state.Route) []state.Route { return rs }
	tests := []struct {
		name                         string
		current, wanted, next, stale []state.Route
	}{
		{"first", nil, routes(route("/b", "x", "1", 1), route("/a", "x", "1", 1)), routes(route("/a", "x", "1", 1), route("/b", "x", "1", 1)), nil},
		{"newer", routes(route("/a", "db", "1", 1)), routes(route("/a", "db", "2", 2)), routes(route("/a", "db", "2", 2)), nil},
		{"same epoch: the later word counts", routes(route("/a", "db", "1", 1)), routes(route("/a", "db", "2", 1)), routes(route("/a", "db", "2", 1)), nil},
		{"older", routes(route("/a", "db", "2", 2)), routes(route("/a", "db", "1", 1)), routes(route("/a", "db", "2", 2)), routes(route("/a", "db", "1", 1))},
		{"a forced failover outranks", routes(forced), routes(route("/a", "db", "9", 9)), routes(forced), routes(route("/a", "db", "9", 9))},
		{"the same name in another app is another endpoint", routes(route("/a", "db", "2", 2)), routes(route("/a", "db", "2", 2), route("/b", "db", "1", 1)),
			routes(route("/a", "db", "2", 2), route("/b", "db", "1", 1)), nil},
		{"vanished", routes(route("/a", "db", "2", 2), route("/b", "db", "1", 1)), routes(route("/b", "db", "1", 1)), routes(route("/b", "db", "1", 1)), nil},
		{"twice in one table", nil, routes(route("/a", "db", "2", 2), route("/a", "db", "1", 1)), routes(route("/a", "db", "2", 2)), routes(route("/a", "db", "1", 1))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			next, stale := merge(tt.current, tt.wanted)
			if d := cmp.Diff(tt.next, next); d != "" {
				t.Errorf("next (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.stale, stale); d != "" {
				t.Errorf("stale (-want +got):\n%s", d)
			}
		})
	}
}

func TestTableSurvivesRestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.json")
	now := []state.Route{route("/a", "db", "10.0.0.1:31000", 2)}
	now[0].Held = true
	g := newGate(t, Options{File: file})
	if err := g.Set(now); err != nil {
		t.Fatal(err)
	}
	again := newGate(t, Options{File: file})
	if d := cmp.Diff(now, again.State().Routes); d != "" {
		t.Errorf("after a restart (-want +got):\n%s", d)
	}
	if err := again.Set([]state.Route{route("/a", "db", "10.0.0.1:31000", 1)}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(now, again.State().Routes); d != "" {
		t.Errorf("an older epoch after a restart (-want +got):\n%s", d)
	}
}

func TestDamagedTableIsSetAside(t *testing.T) {
	for name, content := range map[string]string{"cut": `{"Version": 1, "Rou`, "empty": "", "of the future": `{"Version": 2}`} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "routes.json")
			if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			g := newGate(t, Options{File: file, Log: slog.New(slog.NewTextHandler(&log, nil))})
			if n := len(g.State().Routes); n != 0 {
				t.Errorf("%d routes", n)
			}
			if !strings.Contains(log.String(), "not understood") {
				t.Errorf("logged %q", log.String())
			}
			if kept, err := os.ReadFile(file + ".damaged"); err != nil || string(kept) != content {
				t.Errorf("kept %q, %v", kept, err)
			}
		})
	}
}

func TestTableThatCannotBeKeptIsInForceAndReported(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	g := newGate(t, Options{File: filepath.Join(dir, "routes.json")})
	routes := []state.Route{route("/a", "db", "x:1", 1)}
	if err := g.Set(routes); err == nil {
		t.Error("no error")
	}
	if len(g.State().Routes) != 1 {
		t.Error("not in force")
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := g.Set(routes); err != nil {
		t.Errorf("once the folder is there: %v", err)
	}
	if n := len(newGate(t, Options{File: filepath.Join(dir, "routes.json")}).State().Routes); n != 1 {
		t.Errorf("%d routes kept", n)
	}
}
