// Package hack_test holds the rules of the house that no single package can hold: who may import whom.
package hack_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/drover-project/drover"

// rule says what the packages below one folder may import of this module, themselves always included. A
// folder stands for everything below it, unless it ends in "!": then for itself alone.
type rule struct {
	folder string
	may    []string
}

// rules go down the list of ARCHITECTURE's map: a package may import what stands above it, where it has a
// reason to. The longest folder that fits a package rules it. A package that no rule fits fails the test:
// whoever adds one decides here what it may know.
var rules = []rule{
	{"state!", nil},
	{"state/manifest", []string{"state!"}},
	{"reconcile", []string{"state!"}},

	// Adapters: each knows one thing outside, and none knows another adapter.
	{"zfs", []string{"state!"}},
	{"marathon", []string{"state!"}},
	{"register", []string{"state!"}},
	{"certs", []string{"state!"}},

	{"agent", []string{"state!", "zfs", "register", "certs"}},
	{"controller", []string{"state", "reconcile", "marathon", "agent!", "register", "certs"}},

	// The lab may know everything; nobody but the program and the tests may know the lab.
	{"lab", []string{"state", "reconcile", "zfs", "marathon", "register", "certs", "agent", "controller"}},
	{"cmd/drover", []string{"state", "reconcile", "zfs", "marathon", "register", "certs", "agent", "controller", "lab", "manifests"}},
	{"manifests", nil},
	{"test", []string{"state", "reconcile", "zfs", "marathon", "register", "certs", "agent", "controller", "lab", "manifests", "cmd/drover"}},
	{"hack", nil},
}

// outside lists what packages that decide must not import from the standard library: they do no I/O.
var outside = map[string][]string{
	"state!":    {"os", "os/exec", "net/http", "log", "log/slog"},
	"reconcile": {"os", "os/exec", "net/http", "log", "log/slog"},
}

// covers says whether folder, as rules write it, stands for the package at path.
func covers(folder, path string) bool {
	alone, only := strings.CutSuffix(folder, "!")
	return path == alone || !only && strings.HasPrefix(path, folder+"/")
}

func ruleFor(path string) *rule {
	var best *rule
	for i := range rules {
		if covers(rules[i].folder, path) && (best == nil || len(rules[i].folder) > len(best.folder)) {
			best = &rules[i]
		}
	}
	return best
}

func (r *rule) allows(path string) bool {
	for _, folder := range append(r.may, r.folder) {
		if covers(folder, path) {
			return true
		}
	}
	return false
}

// listed is what `go list -json` says of a package, as far as it is needed here. Imports leaves out what only
// tests import: a test may stand on whatever it likes.
type listed struct {
	ImportPath string
	Imports    []string
}

// list reads every package of the module, for both systems that are supported, because build tags hide imports.
func list(t *testing.T, system string) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports", module+"/...")
	cmd.Env = append(cmd.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal("go list:", err)
		}
		all = append(all, p)
	}
}

func TestImportsGoDownTheList(t *testing.T) {
	for _, system := range []string{"linux", "darwin"} {
		packages := list(t, system)
		if len(packages) < 3 {
			t.Fatalf("go list found only %d packages", len(packages))
		}
		for _, p := range packages {
			for _, complaint := range judge(p) {
				t.Errorf("%s: %s", system, complaint)
			}
		}
	}
}

// judge returns one sentence for every import of p that is not allowed.
func judge(p listed) []string {
	path := strings.TrimPrefix(p.ImportPath, module+"/")
	r := ruleFor(path)
	if r == nil {
		return []string{path + " has no rule: add one to hack/imports_test.go that says what it may import"}
	}
	var complaints []string
	for _, imported := range p.Imports {
		ours, own := strings.CutPrefix(imported, module+"/")
		switch {
		case own && !r.allows(ours):
			complaints = append(complaints, path+" imports "+ours+", which its rule does not allow")
		case !own && forbidden(r.folder, imported):
			complaints = append(complaints, path+" imports "+imported+", but what decides does no I/O")
		}
	}
	return complaints
}

func forbidden(folder, imported string) bool {
	for _, name := range outside[folder] {
		if name == imported {
			return true
		}
	}
	return false
}

// TestJudge shows that the rule can be broken.
func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		from string
		to   string
		ok   bool
	}{
		"state imports nothing of ours":         {"state", "state/manifest", false},
		"manifest knows the nouns":              {"state/manifest", "state", true},
		"reconcile knows the nouns":             {"reconcile", "state", true},
		"reconcile does not read YAML":          {"reconcile", "state/manifest", false},
		"adapters do not know each other":       {"zfs", "marathon", false},
		"an adapter's parts know each other":    {"zfs/stream", "zfs", true},
		"the agent does not know Marathon":      {"agent", "marathon", false},
		"the agent's parts know the nouns":      {"agent/gate", "state", true},
		"the controller has the agent's client": {"controller", "agent", true},
		"the controller has no ZFS":             {"controller", "zfs", false},
		"the controller has no part of agents":  {"controller", "agent/gate", false},
		"production does not know the lab":      {"controller", "lab/marathond", false},
		"the lab knows the agent":               {"lab/cluster", "agent", true},
		"nobody imports a command":              {"lab", "cmd/drover", false},
		"the command wires everything":          {"cmd/drover", "lab", true},
		"a new folder needs a rule":             {"util", "state", false},
	} {
		got := judge(listed{ImportPath: module + "/" + c.from, Imports: []string{module + "/" + c.to}})
		if (len(got) == 0) != c.ok {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if got := judge(listed{ImportPath: module + "/reconcile", Imports: []string{"os/exec"}}); len(got) == 0 {
		t.Error("reconcile may run commands")
	}
}
