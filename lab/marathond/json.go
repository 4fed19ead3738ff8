package marathond

import (
	"maps"
	"slices"
	"strings"
)

// fullJSON is an app as stored: definition, version and stamps.
func (a *app) fullJSON() tree {
	out := maps.Clone(a.Def)
	out["version"] = a.Version
	out["versionInfo"] = tree{"lastScalingAt": a.LastScalingAt, "lastConfigChangeAt": a.LastConfigChangeAt}
	return out
}

// embeds are the parts a request asked for.
type embeds map[string]bool

// embedsOf reads embed parameters, with or without their prefixes.
func embedsOf(names []string) embeds {
	out := embeds{}
	for _, n := range names {
		for _, prefix := range []string{"group.apps.", "apps.", "app."} {
			n = strings.TrimPrefix(n, prefix)
		}
		switch n {
		case "tasks":
			out["tasks"], out["deployments"] = true, true
		case "failures":
			out["lastTaskFailure"], out["tasks"], out["deployments"] = true, true, true
		default:
			out[n] = true
		}
	}
	return out
}

// appJSON is an app with what was asked for.
func (s *Server) appJSON(a *app, e embeds) tree {
	out := a.fullJSON()
	all := s.m.instances(a.id())
	if e["counts"] {
		s.addCounts(out, all)
	}
	if e["deployments"] {
		out["deployments"] = s.deploymentsOf(a.id())
	}
	if e["tasks"] {
		out["tasks"] = s.tasksJSON(all, false)
	}
	if e["readiness"] {
		out["readinessCheckResults"] = s.readinessJSON(a)
	}
	if f := s.m.Failures[a.id()]; f != nil && e["lastTaskFailure"] {
		out["lastTaskFailure"] = f
	}
	if e["taskStats"] {
		out[map[bool]string{true: "tasksStats", false: "taskStats"}[s.opt.Emulate == V111]] = s.statsJSON(all)
	}
	return out
}

type counts struct{ staged, running, healthy, unhealthy int }

func (s *Server) count(all []*instance) counts {
	var c counts
	for _, i := range all {
		switch i.Condition {
		case condProvisioned, condStaging:
			c.staged++
		case condRunning:
			c.running++
		}
		if len(i.health) > 0 && i.unhealthy() {
			c.unhealthy++
		} else if len(i.health) > 0 {
			c.healthy++
		}
	}
	return c
}

func (s *Server) addCounts(out tree, all []*instance) {
	c := s.count(all)
	out["tasksStaged"], out["tasksRunning"], out["tasksHealthy"], out["tasksUnhealthy"] = c.staged, c.running, c.healthy, c.unhealthy
}

func (s *Server) statsJSON(all []*instance) tree {
	if len(all) == 0 {
		return tree{}
	}
	c := s.count(all)
	return tree{"totalSummary": tree{"stats": tree{"counts": tree{
		"staged": c.staged, "running": c.running, "healthy": c.healthy, "unhealthy": c.unhealthy}}}}
}

func (s *Server) deploymentsOf(app string) []any {
	out := []any{}
	for _, d := range s.m.Deployments {
		if d.affects(app) {
			out = append(out, tree{"id": d.ID})
		}
	}
	return out
}

// tasksJSON lists what has a task. full adds what /v2/tasks has and an embedded task has not.
func (s *Server) tasksJSON(all []*instance, full bool) []any {
	out := []any{}
	for _, i := range all {
		if t := s.taskOf(i); t != nil {
			out = append(out, s.taskJSON(i, t, full))
		}
	}
	return out
}

func (s *Server) taskJSON(i *instance, t *mesosTask, full bool) tree {
	out := tree{
		"id": t.ID, "appId": t.App, "host": t.Host, "slaveId": t.Agent, "state": t.State, "stagedAt": t.StagedAt,
		"version": t.Version, "ports": t.portsJSON(), "ipAddresses": t.addresses(), "localVolumes": []any{},
	}
	if t.StartedAt != "" {
		out["startedAt"] = t.StartedAt
	}
	if r := i.healthResultsJSON(); len(r) > 0 {
		out["healthCheckResults"] = r
	}
	p := s.placeOf(t.Agent)
	if p.region != "" {
		out["region"] = p.region
	}
	if p.zone != "" {
		out["zone"] = p.zone
	}
	a := s.m.app(t.App)
	if s.opt.Emulate == V111 && a != nil {
		out["role"] = a.spec.Role
	}
	if full && a != nil {
		out["servicePorts"] = a.spec.servicePorts()
	}
	return out
}

func (s *Server) readinessJSON(a *app) []any {
	out := []any{}
	for _, i := range s.m.instances(a.id()) {
		r := i.readiness
		if r == nil {
			continue
		}
		o := tree{"name": r.Name, "taskId": i.ID, "ready": r.Ready}
		if slices.ContainsFunc(a.spec.ReadinessChecks, func(c readinessCheck) bool { return c.Preserve }) {
			o["lastResponse"] = tree{"status": r.Status, "contentType": r.Type, "body": r.Body}
		}
		out = append(out, o)
	}
	return out
}
