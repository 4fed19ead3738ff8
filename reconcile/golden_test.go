package reconcile

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/drover-project/drover/state"
)

var update = flag.Bool("update", false, "write the plans and steps of testdata anew; read every one of them")

// Each file in testdata is one cluster: its manifests, what is observed, and exactly what is planned about it. A plan is what
// people read, steps is every step of it.
func TestGoldenPlans(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 40 {
		t.Fatalf("found %d cases, %v", len(files), err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) { golden(t, f) })
	}
}

func golden(t *testing.T, name string) {
	c := readCase(t, name)
	plan := Plan(c.d, c.o, noon)
	got := map[string]string{"plan": Format(plan, c.o), "steps": stepLines(plan)}
	if *update {
		c.write(t, name, got)
		return
	}
	for _, part := range []string{"plan", "steps"} {
		if diff := cmp.Diff(c.part(part), got[part]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", part, diff)
		}
	}
}

// goldenCase is one file of testdata.
type goldenCase struct {
	*txtar.Archive
	d *state.Desired
	o *state.Observed
}

func readCase(t testing.TB, name string) goldenCase {
	t.Helper()
	a, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	c := goldenCase{Archive: a}
	if len(strings.TrimSpace(string(a.Comment))) == 0 {
		t.Fatal("the comment does not say what the case shows")
	}
	c.d = desired(t, []byte(c.part("manifests.yaml")))
	c.o = observed(t, c.d, []byte(c.part("observed.yaml")))
	return c
}

func (c goldenCase) part(name string) string {
	for _, f := range c.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func (c goldenCase) write(t *testing.T, name string, got map[string]string) {
	c.Files = slices.DeleteFunc(c.Files, func(f txtar.File) bool { return f.Name == "plan" || f.Name == "steps" })
	for _, part := range []string{"plan", "steps"} {
		c.Files = append(c.Files, txtar.File{Name: part, Data: []byte(got[part])})
	}
	if err := os.WriteFile(name, txtar.Format(c.Archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// stepLines writes every step of a plan on a line of its own, without estimates.
func stepLines(p state.Plan) string {
	var b strings.Builder
	for _, a := range p.Apps {
		for _, s := range a.Steps {
			fmt.Fprintln(&b, stepLine(s))
		}
	}
	return b.String()
}

func stepLine(s state.Step) string {
	words := []string{string(s.App), string(s.Kind), string(s.Volume), string(s.Node)}
	add := func(shown bool, format string, args ...any) {
		if shown {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(s.Peer != "", "-> %s", s.Peer)
	if len(s.Nodes) > 0 {
		add(true, "%v", s.Nodes)
	}
	add(s.Expect != state.Expect{}, "(%s,%s)", s.Expect.Role, s.Expect.Epoch)
	add(!s.Epoch.IsZero(), "epoch %s", s.Epoch)
	add(s.Release != nil, "given by release")
	if s.Refusal != nil {
		add(true, "refused %s by %s", s.Refusal.Epoch, s.Refusal.Node)
	}
	if s.Taken != nil {
		add(true, "taken by %s at %s", s.Taken.Node, s.Taken.Epoch)
	}
	add(s.Snapshot != "", "@%s", s.Snapshot)
	add(s.Base != 0, "incremental")
	add(s.Token != "", "token %s", s.Token)
	add(s.Dataset != "", "%s", s.Dataset)
	add(s.Definition != nil, "%s", defined(s))
	add(s.Kind == state.ScaleApp, "to %d", s.Instances)
	add(s.Force, "force")
	add(s.Beside, "beside")
	for _, r := range s.Routes {
		add(true, "%s=%s", r.Endpoint.Name, routeText(r))
	}
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

// defined says what matters of the definition in a step: how often and where it may run.
func defined(s state.Step) string {
	live := deployed(s)
	return fmt.Sprintf("instances=%d %v", live.Instances, live.Constraints)
}

func routeText(r state.Route) string {
	if r.Held {
		return "held"
	}
	return r.Backend
}
