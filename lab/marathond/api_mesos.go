package marathond

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

var mesosPaths = []string{
	"/slaves", "/master/slaves", "/state", "/master/state", "/state-summary", "/master/state-summary",
	"/redirect", "/master/redirect", "/health", "/master/health", "/api/v1", "/master/api/v1",
}

const mesosVersion = "1.11.0"

// mesosRoutes serves the master's API on its own listener.
func (s *Server) mesosRoutes() http.Handler {
	mux := http.NewServeMux()
	for _, path := range mesosPaths {
		mux.HandleFunc(path, s.serveMesos)
	}
	return mux
}

func (s *Server) serveMesos(w http.ResponseWriter, r *http.Request) {
	switch strings.TrimPrefix(r.URL.Path, "/master") {
	case "/slaves":
		only := r.URL.Query().Get("slave_id")
		s.answerMesos(w, r, func(time.Time) any {
			return tree{"slaves": s.slavesJSON(only), "recovered_slaves": []any{}}
		})
	case "/state":
		s.answerMesos(w, r, s.stateJSON)
	case "/state-summary":
		s.answerMesos(w, r, s.summaryJSON)
	case "/redirect":
		w.Header().Set("Location", "//"+strings.TrimPrefix(s.MesosURL(), "http://"))
		w.WriteHeader(http.StatusTemporaryRedirect)
	case "/health":
		w.WriteHeader(http.StatusOK)
	default:
		s.serveOperator(w, r)
	}
}

func (s *Server) answerMesos(w http.ResponseWriter, r *http.Request, f func(now time.Time) any) {
	var body any
	s.look(func(now time.Time) { body = f(now) })
	s.writeJSON(w, r, 200, body)
}

// serveOperator is POST /api/v1, of which the lab knows the calls that read agents and health.
func (s *Server) serveOperator(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "Expecting 'POST', received '"+r.Method+"'", http.StatusMethodNotAllowed)
		return
	}
	var call struct {
		Type string `json:"type"`
	}
	if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
		http.Error(w, "Failed to parse body into Call protobuf: "+err.Error(), http.StatusBadRequest)
		return
	}
	switch call.Type {
	case "GET_AGENTS":
		s.answerMesos(w, r, func(time.Time) any {
			return tree{"type": call.Type, "get_agents": tree{"agents": s.agentsJSON(), "recovered_agents": []any{}}}
		})
	case "GET_HEALTH":
		s.answerMesos(w, r, func(time.Time) any { return tree{"type": call.Type, "get_health": tree{"healthy": true}} })
	default:
		http.Error(w, "the lab does not know the call "+call.Type, http.StatusNotImplemented)
	}
}

func (s *Server) visibleAgents() []*agent {
	return keep(s.agents, func(a *agent) bool { return s.condition(a.ID).reachable() })
}

func (s *Server) slavesJSON(only string) []any {
	out := []any{}
	for _, a := range s.visibleAgents() {
		if only == "" || a.ID == only {
			out = append(out, s.slaveJSON(a))
		}
	}
	return out
}

func (s *Server) slaveJSON(a *agent) tree {
	attrs := tree{}
	for _, at := range a.place.attributes {
		attrs[at.name] = at.value.masterJSON()
	}
	used := s.usage(a)
	out := tree{
		"id": a.ID, "hostname": a.Hostname, "port": 5051, "attributes": attrs, "pid": a.pid(),
		"registered_time": s.registered(), "resources": resourcesJSON(a.total, a.ports), "used_resources": used, "offered_resources": tree{},
		"reserved_resources": tree{}, "unreserved_resources": resourcesJSON(a.total, a.ports), "active": true, "deactivated": false,
		"version": mesosVersion, "capabilities": []string{"MULTI_ROLE"}, "reserved_resources_full": tree{},
		"unreserved_resources_full": fullResources(a.total, a.ports), "used_resources_full": []any{}, "offered_resources_full": []any{},
	}
	if a.Region != "" {
		out["domain"] = a.domain()
	}
	return out
}

func (a *agent) pid() string { return "slave(1)@" + a.IP + ":5051" }

func (a *agent) domain() tree {
	return tree{"fault_domain": tree{"region": tree{"name": a.Region}, "zone": tree{"name": a.Zone}}}
}

func (s *Server) registered() float64 { return float64(s.start.UnixMilli()) / 1000 }

// usage is what tasks take of an agent, in the master's form.
func (s *Server) usage(a *agent) tree {
	var used Resources
	var ports []portInterval
	for _, t := range s.tasksOf(a.ID) {
		used.CPUs += t.CPUs
		used.Mem += t.Mem
		used.Disk += t.Disk
		for _, p := range t.Ports {
			ports = append(ports, portInterval{p, p})
		}
	}
	slices.SortFunc(ports, func(x, y portInterval) int { return x.begin - y.begin })
	return resourcesJSON(used, ports)
}

func resourcesJSON(r Resources, ports []portInterval) tree {
	out := tree{"cpus": r.CPUs, "mem": r.Mem, "disk": r.Disk, "gpus": r.GPUs}
	if len(ports) > 0 {
		out["ports"] = "[" + joinRanges(ports, ", ") + "]"
	}
	return out
}

func fullResources(r Resources, ports []portInterval) []any {
	out := []any{}
	for _, p := range []struct {
		name string
		n    float64
	}{{"cpus", r.CPUs}, {"mem", r.Mem}, {"disk", r.Disk}} {
		item := value{kind: scalarAttribute, scalar: p.n}.protoJSON(p.name)
		item["role"] = "*"
		out = append(out, item)
	}
	item := value{kind: rangesAttribute, ranges: ports}.protoJSON("ports")
	item["role"] = "*"
	return append(out, item)
}

func (s *Server) agentsJSON() []any {
	out := []any{}
	for _, a := range s.visibleAgents() {
		attrs := []any{}
		for _, at := range a.place.attributes {
			attrs = append(attrs, at.value.protoJSON(at.name))
		}
		info := tree{"id": tree{"value": a.ID}, "hostname": a.Hostname, "port": 5051, "attributes": attrs, "resources": fullResources(a.total, a.ports)}
		if a.Region != "" {
			info["domain"] = a.domain()
		}
		out = append(out, tree{
			"agent_info": info, "active": true, "deactivated": false, "version": mesosVersion, "pid": a.pid(),
			"registered_time": tree{"nanoseconds": s.start.UnixNano()}, "total_resources": fullResources(a.total, a.ports),
		})
	}
	return out
}

func (s *Server) unreachableAgents() int {
	n := 0
	for _, a := range s.agents {
		if c := s.condition(a.ID); !c.reachable() && !c.Gone {
			n++
		}
	}
	return n
}

func (s *Server) stateJSON(time.Time) any {
	host := strings.TrimPrefix(s.MesosURL(), "http://")
	slaves := s.slavesJSON("")
	return tree{
		"version": mesosVersion, "git_sha": "drover-lab", "build_time": 0.0, "start_time": s.registered(), "elected_time": s.registered(),
		"id": s.m.FrameworkID, "pid": "master@" + host, "hostname": "localhost", "capabilities": []any{}, "cluster": "lab", "flags": tree{},
		"leader": "master@" + host, "leader_info": tree{"id": s.m.FrameworkID, "pid": "master@" + host, "port": portOf(host), "hostname": "localhost"},
		"activated_slaves": len(slaves), "deactivated_slaves": 0, "unreachable_slaves": s.unreachableAgents(),
		"slaves": slaves, "recovered_slaves": []any{}, "completed_frameworks": []any{}, "orphan_tasks": []any{}, "unregistered_frameworks": []any{},
		"frameworks": []any{s.frameworkJSON(true)},
	}
}

func (s *Server) summaryJSON(time.Time) any {
	slaves := s.slavesJSON("")
	for _, sl := range slaves {
		o := sl.(tree)
		s.addStateCounts(o, keep(s.allTasks(), func(t *mesosTask) bool { return t.Agent == o["id"] }))
		o["framework_ids"] = []string{s.m.FrameworkID}
	}
	fw := s.frameworkJSON(false)
	s.addStateCounts(fw, s.allTasks())
	var ids []string
	for _, a := range s.visibleAgents() {
		ids = append(ids, a.ID)
	}
	fw["slave_ids"] = ids
	return tree{"hostname": "localhost", "cluster": "lab", "slaves": slaves, "frameworks": []any{fw}}
}

func (s *Server) allTasks() []*mesosTask {
	var out []*mesosTask
	for _, t := range s.m.Tasks {
		out = append(out, t)
	}
	return append(out, s.m.Completed...)
}

func (s *Server) addStateCounts(o tree, tasks []*mesosTask) {
	for _, st := range []string{taskStaging, taskStarting, taskRunning, taskKilling, taskFinished, taskKilled, taskFailed, "TASK_LOST", "TASK_ERROR", taskUnreachable, taskGone, taskDropped, taskGoneByOp} {
		o[st] = len(keep(tasks, func(t *mesosTask) bool { return t.State == st }))
	}
}

func (s *Server) frameworkJSON(withTasks bool) tree {
	out := tree{
		"id": s.m.FrameworkID, "name": "marathon", "pid": "scheduler-lab@" + s.api.Addr().String(), "active": true, "connected": true, "recovered": false,
		"roles": []string{"*"}, "hostname": "localhost", "webui_url": s.URL(), "capabilities": []string{"PARTITION_AWARE", "TASK_KILLING_STATE"},
	}
	if !withTasks {
		return out
	}
	tasks, lost, done := []any{}, []any{}, []any{}
	for _, t := range s.tasksOfAll() {
		if t.State == taskUnreachable {
			lost = append(lost, s.mesosTaskJSON(t))
		} else {
			tasks = append(tasks, s.mesosTaskJSON(t))
		}
	}
	for _, t := range s.m.Completed {
		done = append(done, s.mesosTaskJSON(t))
	}
	out["tasks"], out["unreachable_tasks"], out["completed_tasks"], out["offers"], out["executors"] = tasks, lost, done, []any{}, []any{}
	return out
}

func (s *Server) tasksOfAll() []*mesosTask {
	var out []*mesosTask
	for _, a := range s.agents {
		out = append(out, s.tasksOf(a.ID)...)
	}
	return out
}

func (s *Server) mesosTaskJSON(t *mesosTask) tree {
	ports := []any{}
	var ranges []portInterval
	for _, p := range t.Ports {
		ports = append(ports, tree{"number": p, "protocol": "tcp"})
		ranges = append(ranges, portInterval{p, p})
	}
	statuses := []any{}
	for _, st := range t.Statuses {
		o := tree{"state": st.State, "timestamp": float64(st.Timestamp.UnixMicro()) / 1e6, "container_status": tree{
			"network_infos": []any{tree{"ip_addresses": t.addressesMesos()}}}}
		if st.Healthy != nil {
			o["healthy"] = *st.Healthy
		}
		if st.Message != "" {
			o["message"] = st.Message
		}
		statuses = append(statuses, o)
	}
	return tree{
		"id": t.ID, "name": reversedPath(t.App), "framework_id": s.m.FrameworkID, "executor_id": "", "slave_id": t.Agent, "state": t.State, "role": "*",
		"resources": resourcesJSON(Resources{CPUs: t.CPUs, Mem: t.Mem, Disk: t.Disk}, ranges), "statuses": statuses, "labels": []any{},
		"discovery": tree{"name": reversedPath(t.App), "visibility": "FRAMEWORK", "ports": tree{"ports": ports}},
	}
}

func (t *mesosTask) addressesMesos() []any {
	return []any{tree{"ip_address": t.IP, "protocol": "IPv4"}}
}
