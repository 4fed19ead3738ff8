package marathon

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/drover-project/drover/state"
)

type agentJSON struct {
	ID          string
	Hostname    state.Hostname
	Attributes  attributes
	Active      bool
	Deactivated bool
	DrainInfo   *struct{ State string } `json:"drain_info"`

	Resources  flatJSON
	Unreserved *flatJSON      `json:"unreserved_resources"`
	Used       flatJSON       `json:"used_resources"`
	UsedFull   []resourceJSON `json:"used_resources_full"`
}

// decodeAgents reads a master's agents. Those that it knows of but has not heard from since it took over are among them, as
// inactive; unreachable ones are not in the answer at all.
func decodeAgents(b []byte) ([]state.MesosAgent, error) {
	var j struct {
		Slaves    *[]agentJSON
		Recovered []agentJSON `json:"recovered_slaves"`
	}
	if err := json.Unmarshal(b, &j); err != nil {
		return nil, err
	}
	if j.Slaves == nil {
		return nil, errMissing("slaves")
	}
	var agents []state.MesosAgent
	for _, a := range *j.Slaves {
		agents = append(agents, a.agent())
	}
	for _, a := range j.Recovered {
		a.Active = false
		agents = append(agents, a.agent())
	}
	if slices.ContainsFunc(agents, func(a state.MesosAgent) bool { return a.ID == "" || a.Hostname == "" }) {
		return nil, errors.New("an agent without id or hostname")
	}
	slices.SortFunc(agents, func(a, b state.MesosAgent) int { return cmp.Compare(a.ID, b.ID) })
	return agents, nil
}

func (j agentJSON) agent() state.MesosAgent {
	return state.MesosAgent{
		ID: j.ID, Hostname: j.Hostname, Attributes: j.Attributes,
		Active: j.Active && !j.Deactivated && (j.DrainInfo == nil || j.DrainInfo.State == ""),
		Free:   j.free(),
	}
}

// free is what is unreserved and not in use. A master that does not list what is used one by one gives only totals: what is used
// of a reservation is then taken off too, and the result errs to the low side.
func (j agentJSON) free() state.Resources {
	total := j.Resources
	if j.Unreserved != nil {
		total = *j.Unreserved
	}
	used := j.Used
	if len(j.UsedFull) > 0 {
		used = unreserved(j.UsedFull)
	}
	return state.Resources{
		CPUs: left(total.CPUs, used.CPUs), Mem: left(total.Mem, used.Mem), Disk: left(total.Disk, used.Disk),
		Ports: max(0, int(total.Ports)-int(used.Ports)),
	}
}

// left subtracts as Mesos does, in thousandths: 1 - 0.9 is 0.1.
func left(total, used float64) float64 {
	return max(0, math.Round((total-used)*1000)/1000)
}

// flatJSON is Mesos's summary of resources.
type flatJSON struct {
	CPUs, Mem, Disk float64
	Ports           portCount
}

// portCount is how many ports "[31000-31999, 32005-32005]" has.
type portCount int

// UnmarshalJSON reads ports in Mesos's notation.
func (p *portCount) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	inner, ok := between(s, "[", "]")
	if !ok && s != "" {
		return fmt.Errorf("ports %q: want such as [31000-32000]", s)
	}
	rs, err := parseRanges(inner)
	if err != nil {
		return fmt.Errorf("ports: %w", err)
	}
	*p = countPorts(rs)
	return nil
}

const maxPorts = 1 << 16

func countPorts(rs []span) portCount {
	n := uint64(0)
	for _, r := range rs {
		n += min(r.end-r.begin, maxPorts) + 1
	}
	return portCount(min(n, maxPorts))
}

// resourceJSON is one resource in full.
type resourceJSON struct {
	Name         string
	Role         string
	Reservation  json.RawMessage
	Reservations []json.RawMessage
	Scalar       struct{ Value float64 }
	Ranges       struct {
		Range []struct{ Begin, End uint64 }
	}
}

func (r resourceJSON) reserved() bool {
	return (r.Role != "" && r.Role != "*") || r.Reservation != nil || len(r.Reservations) > 0
}

func unreserved(rs []resourceJSON) flatJSON {
	var sum flatJSON
	for _, r := range rs {
		if r.reserved() {
			continue
		}
		switch r.Name {
		case "cpus":
			sum.CPUs += r.Scalar.Value
		case "mem":
			sum.Mem += r.Scalar.Value
		case "disk":
			sum.Disk += r.Scalar.Value
		case "ports":
			sum.Ports += r.ports()
		}
	}
	return sum
}

func (r resourceJSON) ports() portCount {
	var rs []span
	for _, x := range r.Ranges.Range {
		if x.End >= x.Begin {
			rs = append(rs, span{x.Begin, x.End})
		}
	}
	return countPorts(rs)
}

type mesosTaskJSON struct {
	ID    string
	State string
}

type frameworkJSON struct {
	Name        string
	Tasks       []mesosTaskJSON
	Unreachable []mesosTaskJSON `json:"unreachable_tasks"`
	Completed   []mesosTaskJSON `json:"completed_tasks"`
}

// decodeMesosTasks reads the last known state of every task of the framework of the given name, earlier registrations of it
// included. Of a task that is listed twice the less final word counts: it may still be running.
func decodeMesosTasks(b []byte, framework string) (map[string]state.TaskState, error) {
	var j struct {
		Frameworks *[]frameworkJSON
		Completed  []frameworkJSON `json:"completed_frameworks"`
		Orphans    []mesosTaskJSON `json:"orphan_tasks"`
	}
	if err := json.Unmarshal(b, &j); err != nil {
		return nil, err
	}
	if j.Frameworks == nil {
		return nil, errMissing("frameworks")
	}
	all := slices.Concat(j.Completed, *j.Frameworks)
	all = slices.DeleteFunc(all, func(f frameworkJSON) bool { return f.Name != framework })
	tasks := map[string]state.TaskState{}
	for _, list := range []func(frameworkJSON) []mesosTaskJSON{
		func(f frameworkJSON) []mesosTaskJSON { return f.Completed },
		func(f frameworkJSON) []mesosTaskJSON { return f.Unreachable },
		func(f frameworkJSON) []mesosTaskJSON { return f.Tasks },
	} {
		for _, f := range all {
			note(tasks, list(f))
		}
	}
	note(tasks, j.Orphans)
	return tasks, nil
}

func note(tasks map[string]state.TaskState, list []mesosTaskJSON) {
	for _, t := range list {
		tasks[t.ID] = taskState(t.State)
	}
}
