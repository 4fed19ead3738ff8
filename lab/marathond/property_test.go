package marathond

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// simulation is the whole server without processes and HTTP: the test plays the agents.
type simulation struct {
	*Server
	t    *rapid.T
	now  time.Time
	last string // version
	// forced is set once force was used: Marathon then starts a new instance beside one that is being killed.
	forced bool
	lost   bool // an agent was cut off
}

func simulate(t *rapid.T, agents []Agent) *simulation {
	parsed, err := newAgents(agents)
	if err != nil {
		t.Fatal(err)
	}
	opt := Options{Emulate: rapid.SampledFrom([]Version{V15, V18, V111}).Draw(t, "version"), Timing: fast, Dir: "/nowhere"}
	s := &Server{opt: opt, agents: parsed, hub: newHub(opt.Emulate), m: newModel(), queue: map[string]*queueEntry{}, faults: &faults{}}
	s.opt.Timing = s.opt.Timing.withDefaults()
	s.probes = newProbes()
	return &simulation{Server: s, t: t, now: time.Unix(1e9, 0)}
}

// settled lets everything follow from the state; the test stands in for the processes.
func (s *simulation) settled() {
	s.now = s.now.Add(time.Second)
	s.settle(s.now)
	s.effects = nil
	s.check()
}

var simulatedApps = []string{"/a", "/b"}

func (s *simulation) draw() (string, tree) {
	id := rapid.SampledFrom(simulatedApps).Draw(s.t, "app")
	return id, tree{
		"id": id, "cmd": "true", "cpus": 0.1, "mem": 1.0, "instances": float64(rapid.IntRange(0, 1).Draw(s.t, "n")),
		"env":             tree{"N": fmt.Sprint(rapid.IntRange(0, 2).Draw(s.t, "env"))},
		"upgradeStrategy": tree{"minimumHealthCapacity": 0.0, "maximumOverCapacity": 0.0},
		"portDefinitions": []any{}, "unreachableStrategy": rapid.SampledFrom([]any{"disabled", tree{}}).Draw(s.t, "unreachable"),
	}
}

func (s *simulation) put() {
	id, in := s.draw()
	def, err := s.definition(in, id, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.deployTargets(map[string]target{id: {def: def}})
}

func (s *simulation) deployTargets(targets map[string]target) {
	force := rapid.IntRange(0, 9).Draw(s.t, "force") == 0
	d, err := s.deploy(s.now, targets, force)
	if err != nil {
		return // locked
	}
	s.forced = s.forced || force
	if d.Version <= s.last {
		s.t.Fatalf("version %s after %s", d.Version, s.last)
	}
	s.last = d.Version
	s.settled()
}

func (s *simulation) remove() {
	s.deployTargets(map[string]target{rapid.SampledFrom(simulatedApps).Draw(s.t, "app"): {}})
}

func (s *simulation) restart() {
	id := rapid.SampledFrom(simulatedApps).Draw(s.t, "app")
	if a := s.m.app(id); a != nil {
		s.deployTargets(map[string]target{id: {def: a.Def, restart: true}})
	}
}

// noOp puts what is there: the plan is empty whatever else is going on.
func (s *simulation) noOp() {
	for _, id := range s.m.appIDs() {
		running := len(s.m.Deployments)
		d, err := s.deploy(s.now, map[string]target{id: {def: copyTree(s.m.app(id).Def)}}, false)
		if err != nil || len(d.Steps) != 0 || len(s.m.Deployments) != running {
			s.t.Fatalf("no-op: %v, steps %v", err, d)
		}
	}
}

// agentMoves lets one task take its next step.
func (s *simulation) agentMoves() {
	var live []*mesosTask
	for _, a := range s.agents {
		live = append(live, keep(s.tasksOf(a.ID), func(t *mesosTask) bool { return !terminalState(t.Actual) })...)
	}
	if len(live) == 0 {
		return
	}
	t := live[rapid.IntRange(0, len(live)-1).Draw(s.t, "task")]
	switch {
	case t.KillAsked && s.condition(t.Agent).reachable():
		s.agentSays(s.now, t, taskKilled, "")
	case t.Actual == taskStaging:
		s.agentSays(s.now, t, taskRunning, "")
	case rapid.IntRange(0, 3).Draw(s.t, "dies") == 0:
		s.agentSays(s.now, t, taskFailed, "")
	}
	s.settled()
}

func (s *simulation) cutOff() {
	a := s.agents[rapid.IntRange(0, len(s.agents)-1).Draw(s.t, "agent")]
	s.lost = true
	if s.condition(a.ID).reachable() {
		s.partition(s.now, a)
	} else if err := s.returnAgent(s.now, a); err != nil {
		s.t.Fatal(err)
	}
	s.settled()
}

func (s *simulation) kill() {
	for _, i := range s.sortedInstances() {
		if rapid.Bool().Draw(s.t, "this one") {
			s.endInstance(s.now, i)
		}
	}
	s.settled()
}

func (s *simulation) takeBack() {
	if len(s.m.Deployments) == 0 {
		return
	}
	d := s.m.Deployments[rapid.IntRange(0, len(s.m.Deployments)-1).Draw(s.t, "deployment")]
	s.forced = true
	if _, err := s.revert(s.now, d); err != nil {
		s.t.Fatal(err)
	}
	s.last = s.m.LastVersion
	s.settled()
}

func (s *simulation) check() {
	held := map[string]bool{}
	for _, d := range s.m.Deployments {
		for _, id := range d.apps() {
			if held[id] {
				s.t.Fatalf("two deployments affect %s", id)
			}
			held[id] = true
		}
	}
	for _, id := range simulatedApps {
		s.checkSingle(id)
	}
	for _, t := range s.m.Tasks {
		i := s.m.Instances[t.Instance]
		known := i != nil && i.TaskID == t.ID
		if !known && !t.KillAsked && s.condition(t.Agent).reachable() {
			s.t.Fatalf("task %s belongs to no instance and is not being killed", t.ID)
		}
	}
}

// checkSingle: with (0,0) and one instance there are never two wanted ones, and never two live tasks unless an agent was
// cut off or somebody forced.
func (s *simulation) checkSingle(id string) {
	all := s.m.instances(id)
	if n := len(keep(all, (*instance).active)); n > 1 && !s.lost {
		s.t.Fatalf("%d wanted instances of %s", n, id)
	}
	if s.lost || s.forced {
		return
	}
	live := 0
	for _, t := range s.m.Tasks {
		if t.App == id && !terminalState(t.Actual) {
			live++
		}
	}
	if live > 1 {
		s.t.Fatalf("%d live tasks of %s", live, id)
	}
}

func TestInvariants(t *testing.T) {
	agents := []Agent{{Hostname: "n1"}, {Hostname: "n2"}}
	rapid.Check(t, func(t *rapid.T) {
		s := simulate(t, agents)
		steps := map[string]func(){
			"put": s.put, "remove": s.remove, "restart": s.restart, "no-op": s.noOp, "agent moves": s.agentMoves, "kill": s.kill, "take back": s.takeBack, "cut off": s.cutOff,
		}
		names := []string{"put", "put", "remove", "restart", "no-op", "agent moves", "agent moves", "agent moves", "kill", "take back", "cut off"}
		if rapid.Bool().Draw(t, "reliable") {
			names = names[:len(names)-2]
		}
		for range 40 {
			steps[rapid.SampledFrom(names).Draw(t, "step")]()
		}
		s.converges()
	})
}

// converges: once the agents are back and do as they are told, every deployment ends and every app has its instances.
func (s *simulation) converges() {
	for _, a := range s.agents {
		if err := s.returnAgent(s.now, a); err != nil {
			s.t.Fatal(err)
		}
	}
	for range 60 {
		s.now = s.now.Add(time.Hour) // longer than any backoff
		for _, a := range s.agents {
			for _, t := range s.tasksOf(a.ID) {
				if t.KillAsked {
					s.agentSays(s.now, t, taskKilled, "")
				} else if t.Actual == taskStaging {
					s.agentSays(s.now, t, taskRunning, "")
				}
			}
		}
		s.settled()
	}
	if len(s.m.Deployments) > 0 {
		s.t.Fatalf("deployment %v never ends, instances %v", s.m.Deployments[0].planJSON(), s.m.Instances)
	}
	want := 0
	for _, id := range s.m.appIDs() {
		want += s.m.app(id).spec.Instances
	}
	if len(s.m.Instances) != want || len(s.m.Tasks) != want {
		s.t.Fatalf("%d instances, %d tasks, want %d", len(s.m.Instances), len(s.m.Tasks), want)
	}
}

func TestRestartStrategy(t *testing.T) {
	for _, c := range []struct {
		name           string
		u              upgradeStrategy
		n, healthy     int
		capacity, kill int
	}{
		{"one, default", upgradeStrategy{1, 1}, 1, 1, 2, 0},
		{"one, no over capacity", upgradeStrategy{1, 0}, 1, 1, 2, 0},
		{"one, half", upgradeStrategy{0.5, 0}, 1, 1, 2, 0},
		{"one, both at once", upgradeStrategy{0, 1}, 1, 1, 2, 1},
		{"one, stop first", upgradeStrategy{0, 0}, 1, 1, 1, 1},
		{"ten, tenth, double", upgradeStrategy{0.1, 1}, 10, 10, 20, 9},
		{"ten, half, no more", upgradeStrategy{0.5, 0}, 10, 10, 10, 5},
		{"surplus goes", upgradeStrategy{1, 1}, 2, 5, 4, 3},
		{"from nothing", upgradeStrategy{0, 0}, 3, 0, 3, 0},
	} {
		got := restartStrategy(c.u, c.n, c.healthy, c.healthy)
		if got.MaxCapacity != c.capacity || got.KillNow != c.kill {
			t.Errorf("%s: got %+v, want capacity %d kill %d", c.name, got, c.capacity, c.kill)
		}
	}
}

func TestRestartNeverExceedsCapacity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := upgradeStrategy{rapid.Float64Range(0, 1).Draw(t, "mHC"), rapid.Float64Range(0, 1).Draw(t, "mOC")}
		n := rapid.IntRange(1, 20).Draw(t, "n")
		r := restartStrategy(u, n, n, n)
		old, fresh := n, 0
		r.Old = n
		for range 4 * n {
			old = min(old, r.oldAllowed(fresh))
			fresh += r.startNow(n, fresh, old)
			if old+fresh > r.MaxCapacity {
				t.Fatalf("%d old and %d new, capacity %d", old, fresh, r.MaxCapacity)
			}
		}
		if old != 0 || fresh != n {
			t.Fatalf("stuck at %d old and %d new of %d with %+v", old, fresh, n, r)
		}
	})
}
