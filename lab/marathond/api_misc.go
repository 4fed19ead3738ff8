package marathond

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

func (s *Server) routeDeployments(r *http.Request, rest string) (*answer, error) {
	id := strings.Trim(rest, "/")
	switch {
	case id == "" && r.Method == http.MethodGet:
		return s.ask(func(time.Time) (*answer, error) { return ok(s.deploymentsJSON()), nil })
	case id != "" && r.Method == http.MethodDelete:
		return s.deleteDeployment(id, flag(r, "force", false))
	case id != "" && strings.Contains(id, "/"):
		return nil, s.noRoute(r)
	}
	return nil, wrongMethod()
}

func (s *Server) deploymentsJSON() []any {
	out := []any{}
	for _, d := range s.m.Deployments {
		current := []any{}
		for _, a := range d.Steps[d.Current].Actions {
			results := []any{}
			if ap := s.m.app(a.App); ap != nil {
				results = s.readinessJSON(ap)
			}
			current = append(current, tree{"action": a.Type, "app": a.App, "readinessCheckResults": results})
		}
		out = append(out, tree{
			"id": d.ID, "version": d.Version, "affectedApps": d.apps(), "affectedPods": []any{}, "steps": d.planJSON()["steps"],
			"currentActions": current, "currentStep": d.Current + 1, "totalSteps": len(d.Steps),
		})
	}
	return out
}

// deleteDeployment reverts a deployment by a new one, or with force just stops it.
func (s *Server) deleteDeployment(id string, force bool) (*answer, error) {
	return s.change(func(now time.Time) (*answer, error) {
		n := slices.IndexFunc(s.m.Deployments, func(d *deployment) bool { return d.ID == id })
		if n < 0 {
			return nil, apiErr(404, "DeploymentPlan %s does not exist", id)
		}
		d := s.m.Deployments[n]
		if force {
			s.cancel(now, d)
			return &answer{status: 202}, nil
		}
		back, err := s.revert(now, d)
		if err != nil {
			return nil, err
		}
		return deployed(back), nil
	})
}

func (s *Server) routeQueue(r *http.Request, rest string) (*answer, error) {
	if rest == "" && r.Method == http.MethodGet {
		offers := slices.Contains(r.URL.Query()["embed"], "lastUnusedOffers")
		return s.ask(func(now time.Time) (*answer, error) { return ok(tree{"queue": s.queueJSON(now, offers)}), nil })
	}
	id, isDelay := strings.CutSuffix(rest, "/delay")
	if !isDelay {
		return nil, s.noRoute(r)
	}
	if r.Method != http.MethodDelete {
		return nil, wrongMethod()
	}
	return s.change(func(time.Time) (*answer, error) {
		id = resolvePath("/", id)
		waiting := slices.ContainsFunc(s.m.instances(id), func(i *instance) bool { return i.Condition == condScheduled })
		if !waiting {
			return nil, apiErr(404, "Application %s not found in tasks queue.", id)
		}
		s.resetBackoff(id)
		return &answer{status: 204}, nil
	})
}

func (s *Server) routeInfo(r *http.Request, rest string) (*answer, error) {
	if rest != "" {
		return nil, s.noRoute(r)
	}
	if r.Method != http.MethodGet {
		return nil, wrongMethod()
	}
	leader := s.api.Addr().String()
	return s.ask(func(time.Time) (*answer, error) {
		return ok(tree{
			"name": "marathon", "version": s.opt.Emulate.full(), "buildref": "drover-lab", "elected": true, "leader": leader, "frameworkId": s.m.FrameworkID,
			"marathon_config": tree{
				"master": strings.TrimPrefix(s.MesosURL(), "http://"), "mesos_leader_ui_url": s.MesosURL() + "/", "framework_name": "marathon",
				"ha": true, "hostname": "127.0.0.1", "checkpoint": true, "features": []any{}, "local_port_min": 10000, "local_port_max": 20000,
				"mesos_role": nil, "task_launch_timeout": 300000, "task_reservation_timeout": 20000, "failover_timeout": 604800,
				"reconciliation_interval": 600000, "reconciliation_initial_delay": 15000, "mesos_heartbeat_interval": 15000,
				"leader_proxy_connection_timeout_ms": 5000, "leader_proxy_read_timeout_ms": 10000, "executor": "//cmd",
				"env_vars_prefix": nil, "mesos_user": nil, "webui_url": nil, "access_control_allow_origin": nil, "decline_offer_duration": 120000,
			},
			"zookeeper_config": tree{"zk": "", "zk_timeout": 10000, "zk_session_timeout": 10000, "zk_connection_timeout": 10000, "zk_max_versions": maxVersions},
			"http_config":      tree{"http_port": portOf(leader), "https_port": 8443},
		}), nil
	})
}

func (s *Server) routeLeader(r *http.Request, rest string) (*answer, error) {
	if rest != "" {
		return nil, s.noRoute(r)
	}
	switch r.Method {
	case http.MethodGet:
		return ok(tree{"leader": s.api.Addr().String()}), nil
	case http.MethodDelete:
		if err := s.ChangeLeader(500 * time.Millisecond); err != nil {
			return nil, err
		}
		return ok(tree{"message": "Leadership abdicated"}), nil
	}
	return nil, wrongMethod()
}

// routePods answers what generic clients ask; the lab has no pods.
func (s *Server) routePods(r *http.Request, rest string) (*answer, error) {
	id := strings.Trim(rest, "/")
	switch {
	case id == "" && r.Method == http.MethodHead:
		return &answer{status: 200}, nil
	case id == "" && r.Method == http.MethodGet, id == "::status" && r.Method == http.MethodGet:
		return ok([]any{}), nil
	case id != "":
		name, _, _ := strings.Cut(id, "::")
		return nil, notFound("Pod", resolvePath("/", name))
	}
	return nil, apiErr(422, "the lab has no pods")
}

// routeNotEvents answers requests for the stream by another method.
func (s *Server) routeNotEvents(*http.Request, string) (*answer, error) { return nil, wrongMethod() }

func (s *Server) routePing(r *http.Request, rest string) (*answer, error) {
	if rest != "" {
		return nil, s.noRoute(r)
	}
	accept := r.Header.Get("Accept")
	switch {
	case accept == "", strings.Contains(accept, "*/*"), strings.Contains(accept, "text/"):
		return &answer{status: 200, plain: "pong"}, nil
	case strings.Contains(accept, "application/json"):
		return ok("pong"), nil
	}
	return &answer{status: 204}, nil
}

func portOf(addr string) int { return atoi(addr[strings.LastIndexByte(addr, ':')+1:]) }
