package marathond

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// groupExists: the root, a group that was made, or one that holds an app at any depth.
func (s *Server) groupExists(id string) bool {
	if id == "/" || s.m.Groups[id] {
		return true
	}
	for other := range s.m.Apps {
		if within(other, id) {
			return true
		}
	}
	for other := range s.m.Groups {
		if within(other, id) {
			return true
		}
	}
	return false
}

// routeGroups serves /v2/groups for reading, and deletion.
func (s *Server) routeGroups(r *http.Request, rest string) (*answer, error) {
	switch r.Method {
	case http.MethodGet:
		return s.getGroups(r, rest)
	case http.MethodDelete:
		return s.deleteGroup(r, resolvePath("/", rest))
	case http.MethodPost, http.MethodPut:
		return s.writeGroup(r, resolvePath("/", rest))
	}
	return nil, wrongMethod()
}

func (s *Server) getGroups(r *http.Request, rest string) (*answer, error) {
	names := r.URL.Query()["embed"]
	return s.ask(func(time.Time) (*answer, error) {
		id, what := rest, ""
		for _, suffix := range []string{"/apps", "/versions"} {
			if cut, hit := strings.CutSuffix(strings.TrimSuffix(rest, "/"), suffix); hit {
				id, what = cut, suffix
			}
		}
		id = resolvePath("/", id)
		if !s.groupExists(id) {
			return nil, notFound("Group", id)
		}
		switch what {
		case "/versions":
			return ok([]string{s.rootVersion()}), nil
		case "/apps":
			return ok(s.appsIn(id, embedsOf(names), true)), nil
		}
		return ok(s.groupJSON(id, names)), nil
	})
}

func (s *Server) rootVersion() string {
	if s.m.RootVersion == "" {
		return stamp(time.Unix(0, 0))
	}
	return s.m.RootVersion
}

func (s *Server) appsIn(group string, e embeds, deep bool) []any {
	out := []any{}
	for _, id := range s.m.appIDs() {
		if parentPath(id) == group || deep && within(id, group) {
			out = append(out, s.appJSON(s.m.app(id), e))
		}
	}
	return out
}

// groupJSON is a group with its parts; without embed everything that has no counts, with embed only what was asked.
func (s *Server) groupJSON(id string, names []string) tree {
	has := func(part string) bool {
		return len(names) == 0 || slices.ContainsFunc(names, func(n string) bool { return n == part || strings.HasPrefix(n, part+".") })
	}
	out := tree{"id": id, "dependencies": []any{}, "version": s.rootVersion(), "apps": []any{}, "pods": []any{}, "groups": []any{}}
	if s.opt.Emulate == V111 {
		out["enforceRole"] = false
	}
	if has("group.apps") {
		out["apps"] = s.appsIn(id, embedsOf(names), false)
	}
	if has("group.groups") {
		groups := []any{}
		for _, child := range s.childGroups(id) {
			groups = append(groups, s.groupJSON(child, names))
		}
		out["groups"] = groups
	}
	return out
}

func (s *Server) childGroups(id string) []string {
	seen := map[string]bool{}
	add := func(path string) {
		for ; path != "/" && path != id; path = parentPath(path) {
			if parentPath(path) == id {
				seen[path] = true
			}
		}
	}
	for app := range s.m.Apps {
		add(parentPath(app))
	}
	for g := range s.m.Groups {
		add(g)
	}
	var out []string
	for g := range seen {
		out = append(out, g)
	}
	slices.Sort(out)
	return out
}

func (s *Server) deleteGroup(r *http.Request, id string) (*answer, error) {
	return s.change(func(now time.Time) (*answer, error) {
		if !s.groupExists(id) {
			return nil, notFound("Group", id)
		}
		targets := map[string]target{}
		for app := range s.m.Apps {
			if within(app, id) {
				targets[app] = target{}
			}
		}
		d, err := s.deploy(now, targets, flag(r, "force", false))
		if err != nil {
			return nil, err
		}
		for g := range s.m.Groups {
			if g == id || within(g, id) {
				delete(s.m.Groups, g)
			}
		}
		return deployed(d), nil
	})
}

var groupSchema = func() field {
	g := obj("", str("id").matching(pathRE), listOf("apps", raw("")), listOf("groups", raw("")), listOf("dependencies", str("")))
	return g
}()

// writeGroup creates (POST) or updates (PUT) a group with its apps. A list that is present replaces what is at that level.
func (s *Server) writeGroup(r *http.Request, base string) (*answer, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	edit := &groupEdit{s: s, groups: map[string]bool{}, apps: map[string]tree{}, replaced: map[string]bool{}}
	id := edit.read(body, base, "")
	if edit.errs != nil {
		return nil, invalidJSON(edit.errs)
	}
	return s.change(func(now time.Time) (*answer, error) {
		if r.Method == http.MethodPost && id != "/" && s.groupExists(id) {
			return nil, apiErr(409, "Group %s is already created. Use PUT to change this group.", id)
		}
		if s.m.app(id) != nil {
			return nil, apiErr(409, "An app with the path %s already exists.", id)
		}
		targets, err := edit.targets()
		if err != nil {
			return nil, err
		}
		if flag(r, "dryRun", false) {
			return s.dryRun(targets)
		}
		d, err := s.deploy(now, targets, flag(r, "force", false))
		if err != nil {
			return nil, err
		}
		edit.keepGroups()
		a := deployed(d)
		if r.Method == http.MethodPost {
			a.status, a.location = 201, s.URL()+id
		}
		return a, nil
	})
}

func (s *Server) dryRun(targets map[string]target) (*answer, error) {
	changes, err := s.changesFor(targets, s.m.LastVersion)
	if err != nil {
		return nil, err
	}
	steps, err := s.stepsFor(changes)
	if err != nil {
		return nil, err
	}
	d := &deployment{Steps: steps}
	return ok(tree{"steps": d.planJSON()["steps"]}), nil
}

// groupEdit collects what a group body says.
type groupEdit struct {
	s        *Server
	errs     []fieldError
	groups   map[string]bool
	apps     map[string]tree
	replaced map[string]bool // groups whose app list was given
	nested   []string        // groups whose group list was given
}

// read walks a group body; ids are relative to the group around them.
func (g *groupEdit) read(body any, base, path string) string {
	rd := &reader{}
	in, _ := rd.read(groupSchema, body, path).(tree)
	if rd.errs != nil {
		g.errs = append(g.errs, rd.errs...)
		return base
	}
	id := base
	if raw, has := in["id"].(string); has {
		id = resolvePath(base, raw)
	}
	g.groups[id] = true
	if apps, has := in["apps"].([]any); has {
		g.replaced[id] = true
		for n, a := range apps {
			g.readApp(a, id, path+"/apps("+itoa(n)+")")
		}
	}
	if groups, has := in["groups"].([]any); has {
		g.nested = append(g.nested, id)
		for n, sub := range groups {
			g.read(sub, id, path+"/groups("+itoa(n)+")")
		}
	}
	return id
}

func (g *groupEdit) readApp(body any, group, path string) {
	in, errs := readApp(body, path, true)
	if errs = append(errs, deprecations(in, errs)...); errs != nil {
		g.errs = append(g.errs, errs...)
		return
	}
	g.apps[resolvePath(group, in["id"].(string))] = in
}

func (g *groupEdit) targets() (map[string]target, error) {
	targets := map[string]target{}
	for id := range g.s.m.Apps {
		if _, stays := g.apps[id]; !stays && g.drops(id) {
			targets[id] = target{}
		}
	}
	for id, in := range g.apps {
		var had *spec
		if old := g.s.m.app(id); old != nil {
			had = old.spec
		}
		def, err := g.s.definition(in, id, had)
		if err != nil {
			return nil, err
		}
		targets[id] = target{def: def}
	}
	return targets, nil
}

// drops tells whether a list in the body replaced the one that an app was in.
func (g *groupEdit) drops(id string) bool {
	group := parentPath(id)
	if g.replaced[group] {
		return true
	}
	return !g.groups[group] && slices.ContainsFunc(g.nested, func(n string) bool { return within(group, n) })
}

func (g *groupEdit) keepGroups() {
	for id := range g.s.m.Groups {
		if !g.groups[id] && slices.ContainsFunc(g.nested, func(n string) bool { return within(id, n) }) {
			delete(g.s.m.Groups, id)
		}
	}
	for id := range g.groups {
		if id != "/" {
			g.s.m.Groups[id] = true
		}
	}
}
