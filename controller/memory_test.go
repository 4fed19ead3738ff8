package controller

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/drover-project/drover/state"
)

// scene is a cluster in which /db is desired on one volume, as far as memory looks at it.
type scene struct {
	d   *state.Desired
	now time.Time
}

func newScene() *scene {
	return &scene{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), d: &state.Desired{
		Apps:    map[state.AppID]state.App{"/db": {ID: "/db", Instances: 1, Volumes: []state.Mount{{Volume: "data", ContainerPath: "data"}}, Definition: json.RawMessage(`{}`)}},
		Volumes: map[state.VolumeName]state.Volume{"data": {Name: "data"}}}}
}

// on is the observation of the app running on a node, with its data primary there at epoch 0.n.
func (s *scene) on(node string, n uint64) *state.Observed {
	host := state.Hostname(node)
	answered := state.Source{At: s.now}
	live := &state.RunningApp{ID: "/db", Instances: 1, Definition: json.RawMessage(`{"id":"/db"}`), Version: s.now.Add(-time.Hour),
		Constraints: []state.Constraint{{Field: "hostname", Op: "CLUSTER", Value: node}},
		Tasks:       []state.Task{{ID: "t", Host: host, State: state.TaskRunning, Started: s.now.Add(-time.Hour)}}}
	return &state.Observed{
		Marathon: state.Marathon{Source: answered, Apps: map[state.AppID]*state.RunningApp{"/db": live}},
		Mesos:    state.Mesos{Source: answered, Agents: []state.MesosAgent{{ID: "a", Hostname: host, Active: true}}},
		Register: state.Register{Source: answered, Births: map[state.VolumeName]state.Birth{"data": {Volume: "data", UUID: "u", Created: true}}},
		Nodes: map[state.NodeID]*state.Node{state.NodeID(node): {Source: answered, ID: state.NodeID(node), Hostname: host,
			Copies: []state.Copy{{Volume: "data", UUID: "u", Role: state.Primary, Epoch: state.Epoch{N: n}, Filesystem: state.Filesystem{Mounted: true}}}}},
	}
}

// silent is the same observation when Marathon does not answer.
func silent(o *state.Observed) *state.Observed {
	o.Marathon = state.Marathon{Source: state.Source{At: o.Register.At, Err: "connection refused"}}
	return o
}

// readyFor is what memory has counted for /db.
func readyFor(m *memory, now time.Time) time.Duration {
	var o state.Observed
	m.fill(&o, now)
	return o.ReadyFor["/db"]
}

func TestReadyTimeIsWhatWasSeen(t *testing.T) {
	type look struct {
		after time.Duration
		o     func(*scene) *state.Observed
		do    func(*memory, time.Time)
	}
	node1 := func(s *scene) *state.Observed { return s.on("node1", 1) }
	node2 := func(s *scene) *state.Observed { return s.on("node2", 2) }
	cases := []struct {
		name  string
		looks []look
		want  time.Duration
	}{
		{"the first look counts nothing", []look{{o: node1}}, 0},
		{"from look to look", []look{{o: node1}, {after: 10 * time.Second, o: node1}, {after: 20 * time.Second, o: node1}}, 30 * time.Second},
		{"silence ends the count", []look{{o: node1}, {after: 10 * time.Second, o: func(s *scene) *state.Observed { return silent(s.on("node1", 1)) }}, {after: 10 * time.Second, o: node1}}, 0},
		{"a long time without a look does not count", []look{{o: node1}, {after: 10 * time.Second, o: node1}, {after: time.Hour, o: node1}}, 10 * time.Second},
		{"a move begins a new count though no look fell into it", []look{{o: node1}, {after: 30 * time.Second, o: node1}, {after: 5 * time.Second, o: node2}}, 0},
		{"and counts on from there", []look{{o: node1}, {after: 30 * time.Second, o: node1}, {after: 5 * time.Second, o: node2}, {after: 7 * time.Second, o: node2}}, 7 * time.Second},
		{"a way back to the same node is another stay", []look{{o: node1}, {after: 30 * time.Second, o: func(s *scene) *state.Observed { return s.on("node1", 3) }}}, 0},
		{"a stop ends the count", []look{{o: node1}, {after: 30 * time.Second, o: node1, do: func(m *memory, now time.Time) { m.stopped("/db", now) }}, {after: 5 * time.Second, o: node1}}, 0},
		{"what was saved is not counted again", []look{{o: node1}, {after: 30 * time.Second, o: node1, do: func(m *memory, _ time.Time) { m.saved("/db") }}, {after: 5 * time.Second, o: node1}}, 5 * time.Second},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, m := newScene(), newMemory(30*time.Second)
			for _, l := range c.looks {
				s.now = s.now.Add(l.after)
				m.look(s.d, l.o(s), s.now)
				if l.do != nil {
					l.do(m, s.now)
				}
			}
			if got := readyFor(m, s.now); got != c.want {
				t.Errorf("ready for %v, want %v", got, c.want)
			}
		})
	}
}

func TestOutageIsFromTheFirstStop(t *testing.T) {
	m, begun := newMemory(time.Second), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, ok := m.up("/db", begun); ok {
		t.Error("an app that was never stopped came up")
	}
	m.stopped("/db", begun)
	m.stopped("/db", begun.Add(time.Second))
	var o state.Observed
	m.fill(&o, begun.Add(3*time.Second))
	if got := o.DownFor["/db"]; got != 3*time.Second || !m.isDown("/db") || !m.anyDown() {
		t.Errorf("down for %v, want 3s from the first stop", got)
	}
	if outage, ok := m.up("/db", begun.Add(4*time.Second)); !ok || outage != 4*time.Second || m.anyDown() {
		t.Errorf("outage %v, %v; want 4s", outage, ok)
	}
}

func TestMissedCutoversAreCounted(t *testing.T) {
	m, now := newMemory(time.Second), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m.missed("/db", now)
	m.missed("/db", now.Add(time.Minute))
	var o state.Observed
	m.fill(&o, now)
	if got := o.Attempts["/db"]; got.Missed != 2 || !got.Last.Equal(now.Add(time.Minute)) {
		t.Errorf("attempts %+v, want 2, the last a minute later", got)
	}
	m.moved("/db")
	m.fill(&o, now)
	if got, ok := o.Attempts["/db"]; ok {
		t.Errorf("attempts %+v after a move, want none", got)
	}
}
