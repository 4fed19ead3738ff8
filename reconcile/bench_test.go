package reconcile

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/drover-project/drover/state"
)

// bigCluster has the given numbers of nodes and apps, two volumes for each app, all as wanted; the first moves apps are wanted
// on another node.
func bigCluster(nodes, apps, moves int) (*state.Desired, *state.Observed) {
	d := &state.Desired{Apps: map[state.AppID]state.App{}, Volumes: map[state.VolumeName]state.Volume{}}
	o := &state.Observed{Marathon: state.Marathon{Source: answered(""), Apps: map[state.AppID]*state.RunningApp{}}, Mesos: state.Mesos{Source: answered("")},
		Register: state.Register{Source: answered(""), Births: map[state.VolumeName]state.Birth{}}, Nodes: map[state.NodeID]*state.Node{}}
	for i := range nodes {
		id := fmt.Sprintf("node%04d", i)
		o.Nodes[state.NodeID(id)] = &state.Node{Source: answered(""), ID: state.NodeID(id), Hostname: state.Hostname(id), Address: id + ":7700", Root: "tank/drover", Mounts: "/drover",
			Pool: state.Pool{Name: "tank", Health: "ONLINE", Free: 1 << 40}}
		o.Mesos.Agents = append(o.Mesos.Agents, state.MesosAgent{ID: id, Hostname: state.Hostname(id), Active: true,
			Attributes: map[string]string{"rack": fmt.Sprint("r", i%10)}, Free: state.Resources{CPUs: 16, Mem: 1 << 16, Ports: 1000}})
	}
	for i := range apps {
		addApp(d, o, i, state.NodeID(fmt.Sprintf("node%04d", i%nodes)), i < moves)
	}
	return d, o
}

func addApp(d *state.Desired, o *state.Observed, i int, at state.NodeID, move bool) {
	id, n := state.AppID(fmt.Sprintf("/group/app%04d", i)), o.Nodes[at]
	rack := int(at[len(at)-1] - '0')
	app := state.App{ID: id, Instances: 1, Grace: time.Hour, Cutover: state.Cutover{MaxOutage: 5 * time.Second, MaxRounds: 10},
		Constraints: []state.Constraint{{Field: "rack", Op: "LIKE", Value: fmt.Sprint("r", rack)}},
		Definition: json.RawMessage(`{"cmd":"exec db --data $DATA","cpus":0.5,"mem":512,"env":{"A":"1","B":"2"},"portDefinitions":[{"name":"db","port":0}],
			"healthChecks":[{"protocol":"MESOS_HTTP","path":"/healthz","portIndex":0}]}`)}
	p := &pin{host: n.Hostname}
	for k := range 2 {
		v := state.VolumeName(fmt.Sprintf("vol%04d-%d", i, k))
		app.Volumes = append(app.Volumes, state.Mount{Volume: v, ContainerPath: fmt.Sprint("data", k)})
		d.Volumes[v] = state.Volume{Name: v, Quota: 10 << 30, Reclaim: state.Retain, Properties: map[string]string{"recordsize": "16K"}}
		o.Register.Births[v] = state.Birth{Volume: v, UUID: uuidOf(string(v)), Node: at, Created: true}
		n.Copies = append(n.Copies, state.Copy{Dataset: "tank/drover/" + string(v), Volume: v, UUID: uuidOf(string(v)), Role: state.Primary, Epoch: firstEpoch, Lead: app.Volumes[0].Volume,
			Quota: 10 << 30, Reclaim: state.Retain, Filesystem: state.Filesystem{
				Mounted: true, Mountpoint: "/drover/" + string(v), Used: 1 << 30, Referenced: 1 << 30, Properties: map[string]string{"recordsize": "16K"}}})
		n.Datasets = append(n.Datasets, "tank/drover/"+string(v))
		p.mounts = append(p.mounts, "/drover/"+string(v))
	}
	live := deployed(state.Step{App: id, Definition: definition(app, p).json()})
	live.Version, live.Tasks = noon.Add(-time.Hour), []state.Task{{ID: string(id), Host: n.Hostname, State: state.TaskRunning, Health: state.Healthy, Ports: []int{31000}}}
	o.Marathon.Apps[id] = live
	if move {
		app.Constraints[0].Value = fmt.Sprint("r", (rack+1)%10)
	}
	d.Apps[id] = app
}

// BenchmarkPlan plans over 1,000 nodes, 5,000 apps and 10,000 volumes.
func BenchmarkPlan(b *testing.B) {
	for _, moves := range []int{0, 500} {
		b.Run(fmt.Sprintf("%d moves", moves), func(b *testing.B) {
			d, o := bigCluster(1000, 5000, moves)
			b.ReportAllocs()
			for b.Loop() {
				p := Plan(d, o, noon)
				if len(p.Apps) != moves {
					b.Fatalf("%d apps to move", len(p.Apps))
				}
			}
		})
	}
}

// BenchmarkNextFor decides about one app of many, as the controller does between the steps of a cutover.
func BenchmarkNextFor(b *testing.B) {
	d, o := bigCluster(1000, 5000, 1)
	b.ReportAllocs()
	for b.Loop() {
		if NextFor(d, o, noon, "/group/app0000").Step == nil {
			b.Fatal("nothing to do")
		}
	}
}
