package marathond

import (
	"net/http"
	"strings"
	"time"
)

// routeApps serves /v2/apps and below.
func (s *Server) routeApps(r *http.Request, rest string) (*answer, error) {
	segs := strings.Split(strings.Trim(rest, "/"), "/")
	if rest == "" || rest == "/" {
		return s.routeAllApps(r)
	}
	n := len(segs)
	last, before := segs[n-1], ""
	if n > 1 {
		before = segs[n-2]
	}
	id := func(drop int) string { return resolvePath("/", strings.Join(segs[:n-drop], "/")) }
	switch {
	case before == "versions" && n > 2 && r.Method == http.MethodGet:
		return s.getAppVersion(id(2), last)
	case last == "versions" && n > 1 && r.Method == http.MethodGet:
		return s.getAppVersions(id(1))
	case last == "restart" && n > 1 && r.Method == http.MethodPost:
		return s.restartApp(r, id(1))
	case last == "tasks" && n > 1:
		return s.routeAppTasks(r, id(1), "")
	case before == "tasks" && n > 2 && r.Method == http.MethodDelete:
		return s.routeAppTasks(r, id(2), last)
	}
	return s.routeApp(r, id(0))
}

func (s *Server) routeAllApps(r *http.Request) (*answer, error) {
	switch r.Method {
	case http.MethodGet:
		return s.listApps(r)
	case http.MethodPost:
		return s.createApp(r)
	case http.MethodPut:
		return s.putApps(r, true)
	case http.MethodPatch:
		return s.putApps(r, false)
	}
	return nil, wrongMethod()
}

func (s *Server) routeApp(r *http.Request, id string) (*answer, error) {
	switch r.Method {
	case http.MethodGet:
		return s.getApp(r, id)
	case http.MethodPut:
		return s.putApp(r, id, true)
	case http.MethodPatch:
		return s.putApp(r, id, false)
	case http.MethodDelete:
		return s.deleteApp(r, id)
	}
	return nil, wrongMethod()
}

func (s *Server) listApps(r *http.Request) (*answer, error) {
	q := r.URL.Query()
	selector, err := parseSelector(q.Get("label"))
	if err != nil {
		return nil, apiErr(422, "Can not parse label selector %s: %v", q.Get("label"), err)
	}
	e := embedsOf(q["embed"])
	e["counts"], e["deployments"] = true, true
	has := func(text, part string) bool { return strings.Contains(strings.ToLower(text), strings.ToLower(part)) }
	return s.ask(func(time.Time) (*answer, error) {
		apps := []any{}
		for _, id := range s.m.appIDs() {
			a := s.m.app(id)
			if has(a.spec.Cmd, q.Get("cmd")) && has(id, q.Get("id")) && selector.matches(a.spec.Labels) {
				apps = append(apps, s.appJSON(a, e))
			}
		}
		return ok(tree{"apps": apps}), nil
	})
}

func (s *Server) getApp(r *http.Request, id string) (*answer, error) {
	e := embedsOf(r.URL.Query()["embed"])
	for _, name := range []string{"counts", "tasks", "deployments", "lastTaskFailure"} {
		e[name] = true
	}
	if strings.HasSuffix(id, "/*") {
		return s.getAppsOf(resolvePath("/", strings.TrimSuffix(id, "*")), e)
	}
	return s.ask(func(time.Time) (*answer, error) {
		a := s.m.app(id)
		if a == nil {
			return nil, notFound("App", id)
		}
		return ok(tree{"app": s.appJSON(a, e)}), nil
	})
}

func (s *Server) getAppsOf(group string, e embeds) (*answer, error) {
	return s.ask(func(time.Time) (*answer, error) {
		if !s.groupExists(group) {
			return nil, notFound("Group", group)
		}
		apps := []any{}
		for _, id := range s.m.appIDs() {
			if within(id, group) {
				apps = append(apps, s.appJSON(s.m.app(id), e))
			}
		}
		return ok(tree{"*": apps}), nil
	})
}

func (s *Server) getAppVersions(id string) (*answer, error) {
	return s.ask(func(time.Time) (*answer, error) {
		h := s.m.Apps[id]
		if h == nil {
			return nil, notFound("App", id)
		}
		versions := []string{}
		for _, v := range h.Versions {
			versions = append(versions, v.Version)
		}
		return ok(tree{"versions": versions}), nil
	})
}

func (s *Server) getAppVersion(id, version string) (*answer, error) {
	return s.ask(func(time.Time) (*answer, error) {
		a, err := s.versionOf(id, version)
		if err != nil {
			return nil, err
		}
		return ok(a.fullJSON()), nil
	})
}

func (s *Server) versionOf(id, version string) (*app, error) {
	t, err := parseStamp(version)
	if err != nil {
		return nil, apiErr(422, "Invalid format: \"%s\"", version)
	}
	if h := s.m.Apps[id]; h != nil {
		for _, a := range h.Versions {
			if a.Version == stamp(t) {
				return a, nil
			}
		}
	}
	return nil, apiErr(404, "App '%s' does not exist in version %s", id, stamp(t))
}

// createApp is POST /v2/apps.
func (s *Server) createApp(r *http.Request) (*answer, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	in, errs := readApp(body, "", true)
	if errs = append(errs, deprecations(in, errs)...); errs != nil {
		return nil, invalidJSON(errs)
	}
	id := resolvePath("/", in["id"].(string))
	return s.change(func(now time.Time) (*answer, error) {
		if s.m.app(id) != nil {
			return nil, apiErr(409, "An app with id [%s] already exists.", id)
		}
		if s.groupExists(id) {
			return nil, apiErr(409, "A group with id [%s] already exists.", id)
		}
		def, err := s.definition(in, id, nil)
		if err != nil {
			return nil, err
		}
		d, err := s.accept(now, map[string]target{id: {def: def}}, flag(r, "force", false))
		if err != nil {
			return nil, err
		}
		s.publishPost(now, r, s.m.app(id).fullJSON())
		s.begin(now, d)
		return s.created(id, d), nil
	})
}

func (s *Server) created(id string, d *deployment) *answer {
	body := s.m.app(id).fullJSON()
	delete(body, "versionInfo")
	body["tasksStaged"], body["tasksRunning"], body["tasksHealthy"], body["tasksUnhealthy"] = 0, 0, 0, 0
	body["deployments"] = []any{tree{"id": d.ID}}
	return &answer{status: 201, body: body, deployment: d.ID, location: s.URL() + id}
}

func (s *Server) publishPost(now time.Time, r *http.Request, definition tree) {
	s.publish(now, "api_post_event", tree{"clientIp": clientIP(r), "uri": r.URL.Path, "appDefinition": definition})
}

func clientIP(r *http.Request) string {
	host, _, _ := strings.Cut(r.RemoteAddr, ":")
	return host
}

// deprecations rewrites old fields of a definition that was read without errors.
func deprecations(in tree, errs []fieldError) []fieldError {
	if errs != nil {
		return nil
	}
	return rewriteDeprecated(in)
}

// definition makes a full, valid definition of an input.
func (s *Server) definition(in tree, id string, old *spec) (tree, error) {
	def := s.opt.Emulate.normalize(in, id, old, s.freeServicePort)
	sp, err := parseSpec(def)
	if err != nil {
		return nil, apiErr(422, "%v", err)
	}
	if errs := s.opt.Emulate.validate(sp, def); errs != nil {
		return nil, invalidObject(errs)
	}
	return def, nil
}

// freeServicePort is the lowest of Marathon's local ports that no app has.
func (s *Server) freeServicePort() int {
	used := map[int]bool{}
	for id := range s.m.Apps {
		for _, p := range s.m.app(id).spec.servicePorts() {
			used[p] = true
		}
	}
	s.handedOut++
	for n := range 10001 {
		if p := 10000 + (s.handedOut+n)%10001; !used[p] {
			return p
		}
	}
	return 0
}

// updated is what one element of a PUT or PATCH makes of an app.
func (s *Server) updated(in tree, id string, partial, create bool) (target, error) {
	old := s.m.app(id)
	if old == nil && !create {
		return target{}, notFound("App", id)
	}
	if v, has := in["version"].(string); has {
		return s.rollback(in, id, v)
	}
	var had *spec
	if old != nil {
		had = old.spec
		if partial {
			in = merge(old.Def, in)
		}
	}
	def, err := s.definition(in, id, had)
	return target{def: def}, err
}

// rollback is {"version": old}.
func (s *Server) rollback(in tree, id, version string) (target, error) {
	for k := range in {
		if k != "version" && k != "id" {
			return target{}, apiErr(422, "The 'version' field may only be combined with the 'id' field.")
		}
	}
	a, err := s.versionOf(id, version)
	if err != nil {
		return target{}, err
	}
	return target{def: a.Def}, nil
}

func (s *Server) putApp(r *http.Request, id string, create bool) (*answer, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	in, errs := readApp(body, "", false)
	if errs = append(errs, deprecations(in, errs)...); errs != nil {
		return nil, invalidJSON(errs)
	}
	return s.change(func(now time.Time) (*answer, error) {
		existed := s.m.app(id) != nil
		if !existed && create && s.groupExists(id) {
			return nil, apiErr(409, "A group with id [%s] already exists.", id)
		}
		t, err := s.updated(in, id, flag(r, "partialUpdate", true), create)
		if err != nil {
			return nil, err
		}
		d, err := s.accept(now, map[string]target{id: t}, flag(r, "force", false))
		if err != nil {
			return nil, err
		}
		s.publishPost(now, r, s.m.app(id).fullJSON())
		s.begin(now, d)
		a := deployed(d)
		if !existed {
			a.status, a.location = 201, s.URL()+id
		}
		return a, nil
	})
}

// putApps is the batch form: one deployment for all.
func (s *Server) putApps(r *http.Request, create bool) (*answer, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	items, isList := body.([]any)
	if !isList {
		return nil, invalidJSON([]fieldError{{"/", []string{"error.expected.jsarray"}}})
	}
	ins, err := readBatch(items)
	if err != nil {
		return nil, err
	}
	return s.change(func(now time.Time) (*answer, error) {
		targets := map[string]target{}
		for _, in := range ins {
			id := resolvePath("/", in["id"].(string))
			if targets[id], err = s.updated(in, id, flag(r, "partialUpdate", true), create); err != nil {
				return nil, err
			}
		}
		d, err := s.deploy(now, targets, flag(r, "force", false))
		if err != nil {
			return nil, err
		}
		return deployed(d), nil
	})
}

func readBatch(items []any) ([]tree, error) {
	var ins []tree
	var errs []fieldError
	for n, item := range items {
		in, bad := readApp(item, "("+itoa(n)+")", false)
		if bad = append(bad, deprecations(in, bad)...); bad != nil {
			errs = append(errs, bad...)
			continue
		}
		if in["id"] == nil {
			return nil, apiErr(422, "requirement failed: App Update must have app id set")
		}
		ins = append(ins, in)
	}
	if errs != nil {
		return nil, invalidJSON(errs)
	}
	return ins, nil
}

func (s *Server) deleteApp(r *http.Request, id string) (*answer, error) {
	return s.change(func(now time.Time) (*answer, error) {
		if s.m.app(id) == nil {
			return nil, notFound("App", id)
		}
		d, err := s.deploy(now, map[string]target{id: {}}, flag(r, "force", true))
		if err != nil {
			return nil, err
		}
		return deployed(d), nil
	})
}

func (s *Server) restartApp(r *http.Request, id string) (*answer, error) {
	return s.change(func(now time.Time) (*answer, error) {
		a := s.m.app(id)
		if a == nil {
			return nil, notFound("App", id)
		}
		d, err := s.deploy(now, map[string]target{id: {def: a.Def, restart: true}}, flag(r, "force", false))
		if err != nil {
			return nil, err
		}
		return deployed(d), nil
	})
}
