package manifest

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/drover-project/drover/state"
)

// check checks one app by itself; grace is what holds if it gives none.
func (a *appDocument) check(grace time.Duration) {
	a.raw, _ = a.document.raw.(map[string]any) // nil if spec.marathon is missing, which was said
	spec := a.app.Spec
	a.out = state.App{
		ID:    state.AppID(a.app.Metadata.Name),
		Grace: a.duration("spec.grace", spec.Grace, 0, grace), Bandwidth: a.rate("spec.bandwidth", spec.Bandwidth, true),
		Where: a.position(),
	}
	if a.out.ID != "" {
		a.checkID("metadata.name", string(a.out.ID))
	}
	a.out.Instances = a.instances()
	a.out.Volumes = a.mounts()
	a.out.Constraints = a.placement()
	a.out.Cutover = a.cutover()
	a.out.Endpoints = a.endpoints()
	a.checkMarathon()
	a.out.Definition = a.definition()
}

// stateful reports whether the app says anything about volumes: then Drover owns some of its fields.
func (a *appDocument) stateful() bool { return len(a.app.Spec.Volumes) > 0 }

// segment is what Marathon demands of each part of an app's id.
var segment = regexp.MustCompile(`^(([a-z0-9]|[a-z0-9][a-z0-9-]*[a-z0-9])\.)*([a-z0-9]|[a-z0-9][a-z0-9-]*[a-z0-9])$`)

func (d *document) checkID(field, id string) {
	if !strings.HasPrefix(id, "/") {
		d.problem(field, "is %q: want an absolute path, such as /%s", id, strings.Trim(id, "/"))
		return
	}
	parts := strings.Split(id[1:], "/")
	for _, part := range parts {
		if !segment.MatchString(part) {
			d.problem(field, "is %q: want segments of lower case letters, digits, inner '-' and '.' between slashes, such as /todo/db", id)
			return
		}
	}
	if last := parts[len(parts)-1]; slices.Contains([]string{"restart", "tasks", "versions"}, last) {
		d.problem(field, "is %q: Marathon has its own use for the last part %q; want another name", id, last)
	}
}

// instances returns how many tasks are wanted; an app without volumes may say so in its Marathon definition.
func (a *appDocument) instances() int {
	n, field := a.app.Spec.Instances, "spec.instances"
	if inner, ok := a.wholeNumber("instances"); ok {
		switch {
		case n != nil && *n != inner:
			a.problem("spec.marathon.instances", "is %d, but spec.instances is %d: want one of the two", inner, *n)
		case n == nil:
			n, field = &inner, "spec.marathon.instances"
		}
	}
	switch {
	case n == nil:
		return defaultInstances
	case a.stateful() && *n != 1:
		a.problem(field, "is %d: want 1, since an app with volumes has exactly one task", *n)
	case *n < 0:
		a.problem(field, "is %d: want 0 or more", *n)
	}
	return *n
}

func (a *appDocument) mounts() []state.Mount {
	var out []state.Mount
	names, paths, envs := map[string]int{}, map[string]int{}, map[string]int{}
	for i, m := range a.app.Spec.Volumes {
		at := fmt.Sprintf("spec.volumes[%d]", i)
		if m.Name != "" {
			a.checkVolumeName(at+".name", m.Name)
			a.once(names, m.Name, at+".name")
		}
		if m.ContainerPath != "" && a.checkContainerPath(at+".containerPath", m.ContainerPath) {
			a.once(paths, path.Clean(m.ContainerPath), at+".containerPath")
		}
		if m.Env != "" && !envName.MatchString(m.Env) {
			a.problem(at+".env", "is %q: want the name of an environment variable, such as TODO_DATA", m.Env)
		} else if m.Env != "" {
			a.once(envs, m.Env, at+".env")
		}
		out = append(out, state.Mount{Volume: state.VolumeName(m.Name), ContainerPath: m.ContainerPath, Env: m.Env})
	}
	return out
}

var (
	envName      = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	endpointName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
)

// once complains about a value that this app has given before; seen maps values to lines.
func (d *document) once(seen map[string]int, value, field string) {
	if line, twice := seen[value]; twice {
		d.problem(field, "is %q, which is at line %d already: want each once", value, line)
		return
	}
	seen[value] = d.line(field)
}

func (d *document) checkContainerPath(field, p string) bool {
	switch {
	case slices.Contains(strings.Split(p, "/"), ".."):
		d.problem(field, "is %q: want a path without '..'", p)
	case path.Clean(p) == "/" || path.Clean(p) == ".":
		d.problem(field, "is %q: want a folder of its own for the volume, such as data", p)
	case strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r == ':' || r == 0x7f }):
		d.problem(field, "is %q: want a path without spaces, colons and control characters", p)
	default:
		return true
	}
	return false
}

// placement returns the constraints, which an app without volumes may have in its Marathon definition instead.
func (a *appDocument) placement() []state.Constraint {
	const outer, inner = "spec.placement.constraints", "spec.marathon.constraints"
	own := a.raw["constraints"] != nil
	switch {
	case own && a.stateful():
		a.problem(inner, "is Drover's for an app with volumes: want it as %s", outer)
	case own && a.has(outer):
		a.problem(inner, "is there beside %s: want one of the two", outer)
	case own:
		return a.constraints(inner, a.rawConstraints(), a.out.Instances)
	}
	return a.constraints(outer, a.app.Spec.Placement.Constraints, a.out.Instances)
}

func (a *appDocument) cutover() state.Cutover {
	c := a.app.Spec.Cutover
	out := state.Cutover{
		MaxOutage: a.duration("spec.cutover.maxOutage", c.MaxOutage, time.Millisecond, defaultMaxOutage),
		MaxRounds: defaultMaxRounds,
	}
	if c.MaxRounds != nil {
		out.MaxRounds = *c.MaxRounds
		if out.MaxRounds < 1 {
			a.problem("spec.cutover.maxRounds", "is %d: want 1 or more", out.MaxRounds)
		}
	}
	return out
}

func (a *appDocument) endpoints() []state.Endpoint {
	var out []state.Endpoint
	seen := map[string]int{}
	for i, e := range a.app.Spec.Endpoints {
		at := fmt.Sprintf("spec.endpoints[%d]", i)
		if e.Name != "" && !endpointName.MatchString(e.Name) {
			a.problem(at+".name", "is %q: want lower case letters, digits and inner '-', such as db", e.Name)
		} else if e.Name != "" {
			a.once(seen, e.Name, at+".name")
		}
		out = append(out, state.Endpoint{Name: e.Name, Address: a.address(at+".address", e.Address), Port: a.port(at+".port", e.Port)})
	}
	return out
}

// address returns the canonical form, so that one address is not taken for two.
func (d *document) address(field, text string) string {
	if text == "" {
		return ""
	}
	ip, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		d.problem(field, "is %q: want an IP address, such as 127.255.0.10", text)
	case ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "":
		d.problem(field, "is %s: want the address of one host", text)
	}
	return ip.Unmap().String()
}

// port returns 0 for a port that is missing, which was said.
func (d *document) port(field string, n *int) int {
	if n == nil {
		return 0
	}
	if *n < 1 || *n > 65535 {
		d.problem(field, "is %d: want a port from 1 to 65535", *n)
	}
	return *n
}
