package marathond

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// routeAppTasks serves /v2/apps/{id}/tasks and one task below it.
func (s *Server) routeAppTasks(r *http.Request, id, task string) (*answer, error) {
	switch r.Method {
	case http.MethodGet:
		return s.listAppTasks(id)
	case http.MethodDelete:
		return s.killAppTasks(r, id, task)
	}
	return nil, wrongMethod()
}

func (s *Server) listAppTasks(id string) (*answer, error) {
	return s.ask(func(time.Time) (*answer, error) {
		if group, hit := strings.CutSuffix(id, "/*"); hit {
			return s.listGroupTasks(resolvePath("/", group))
		}
		if s.m.app(id) == nil {
			return nil, notFound("App", id)
		}
		return ok(tree{"tasks": s.tasksJSON(s.m.instances(id), true)}), nil
	})
}

func (s *Server) listGroupTasks(group string) (*answer, error) {
	if !s.groupExists(group) {
		return nil, notFound("Group", group)
	}
	tasks := []any{}
	for _, id := range s.m.appIDs() {
		if within(id, group) {
			tasks = append(tasks, s.tasksJSON(s.m.instances(id), true)...)
		}
	}
	return ok(tree{"tasks": tasks}), nil
}

// killOptions are the parameters of the calls that kill.
type killOptions struct{ scale, wipe, force bool }

func killOptionsOf(r *http.Request) (killOptions, error) {
	k := killOptions{flag(r, "scale", false), flag(r, "wipe", false), flag(r, "force", false)}
	if k.scale && k.wipe {
		return k, apiErr(400, "You cannot use scale and wipe at the same time.")
	}
	return k, nil
}

func (s *Server) killAppTasks(r *http.Request, id, task string) (*answer, error) {
	k, err := killOptionsOf(r)
	if err != nil {
		return nil, err
	}
	host := r.URL.Query().Get("host")
	return s.change(func(now time.Time) (*answer, error) {
		if s.m.app(id) == nil {
			return nil, notFound("App", id)
		}
		chosen := keep(s.m.instances(id), func(i *instance) bool {
			t := s.taskOf(i)
			return t != nil && (host == "" || host == "*" || t.Host == host) && (task == "" || t.ID == task || i.ID == task)
		})
		if task != "" && len(chosen) == 0 {
			return nil, notFound("Task", task)
		}
		if k.scale && task == "" && len(s.m.instances(id)) == 0 {
			return nil, apiErr(404, "Path '%s' does not exist", id)
		}
		return s.killChosen(now, chosen, k, task != "")
	})
}

func (s *Server) killChosen(now time.Time, chosen []*instance, k killOptions, one bool) (*answer, error) {
	if k.scale {
		d, err := s.killAndScale(now, chosen, k.force)
		if err != nil {
			return nil, err
		}
		return deployed(d), nil
	}
	killed := s.tasksJSON(chosen, true)
	for _, i := range chosen {
		if k.wipe {
			s.wipe(now, i)
		} else {
			s.endInstance(now, i)
		}
	}
	if one {
		return ok(tree{"task": killed[0]}), nil
	}
	return ok(tree{"tasks": killed}), nil
}

// wipe gives an instance up for good; a new one takes its place when it has ended.
func (s *Server) wipe(now time.Time, i *instance) {
	if i.terminal() {
		s.forget(now, i)
		return
	}
	i.Replace = true
	s.decommission(now, i)
}

// killAndScale ends instances and lowers the count by as many, in one deployment.
func (s *Server) killAndScale(now time.Time, chosen []*instance, force bool) (*deployment, error) {
	targets := map[string]target{}
	for _, i := range chosen {
		a := s.m.app(i.App)
		t, begun := targets[i.App]
		if !begun {
			t.def = copyTree(a.Def)
		}
		if i.active() {
			t.def["instances"] = max(0, t.def["instances"].(float64)-1)
		}
		targets[i.App] = t
	}
	d, err := s.deploy(now, targets, force)
	if err != nil {
		return nil, err
	}
	for _, i := range chosen {
		s.decommission(now, i)
	}
	return d, nil
}

// routeTasks serves /v2/tasks and /v2/tasks/delete.
func (s *Server) routeTasks(r *http.Request, rest string) (*answer, error) {
	switch {
	case rest == "" && r.Method == http.MethodGet:
		return s.listTasks(r)
	case rest == "/delete" && r.Method == http.MethodPost:
		return s.deleteTasks(r)
	case rest == "" || rest == "/delete":
		return nil, wrongMethod()
	}
	return nil, s.noRoute(r)
}

func (s *Server) listTasks(r *http.Request) (*answer, error) {
	q := r.URL.Query()
	want := append(slices.Clone(q["status"]), q["status[]"]...)
	return s.ask(func(time.Time) (*answer, error) {
		tasks := []any{}
		for _, id := range s.m.appIDs() {
			all := keep(s.m.instances(id), func(i *instance) bool { return len(want) == 0 || slices.Contains(want, statusWord(i)) })
			tasks = append(tasks, s.tasksJSON(all, true)...)
		}
		return ok(tree{"tasks": tasks}), nil
	})
}

func statusWord(i *instance) string {
	switch i.Condition {
	case condRunning:
		return "running"
	case condProvisioned, condStaging:
		return "staging"
	}
	return ""
}

func (s *Server) deleteTasks(r *http.Request) (*answer, error) {
	k, err := killOptionsOf(r)
	if err != nil {
		return nil, err
	}
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	rd := &reader{}
	in, _ := rd.read(obj("", listOf("ids", str("")).need()), body, "").(tree)
	if rd.errs != nil {
		return nil, invalidJSON(rd.errs)
	}
	ids := []string{}
	for _, v := range in["ids"].([]any) {
		id := v.(string)
		if !taskIDRE.MatchString(id) {
			return nil, apiErr(400, "Invalid task id '%s'. [Task id %s is not valid]", id, id)
		}
		ids = append(ids, id)
	}
	return s.change(func(now time.Time) (*answer, error) {
		chosen := keep(s.sortedInstances(), func(i *instance) bool {
			return i.TaskID != "" && (slices.Contains(ids, i.TaskID) || slices.Contains(ids, i.ID))
		})
		return s.killChosen(now, chosen, k, false)
	})
}
