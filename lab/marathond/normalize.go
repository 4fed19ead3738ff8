package marathond

import (
	"maps"
	"slices"
	"strings"
)

// tree is a decoded JSON object.
type tree = map[string]any

// rewriteDeprecated turns the fields of older releases into those of 1.5.
func rewriteDeprecated(d tree) []fieldError {
	var errs []fieldError
	if c, ok := d["container"].(tree); ok {
		errs = rewriteDockerNetwork(d, c)
	}
	if ports, ok := d["ports"].([]any); ok && d["portDefinitions"] == nil {
		d["portDefinitions"] = portsToDefinitions(ports)
	}
	if uris, ok := d["uris"].([]any); ok && d["fetch"] == nil {
		d["fetch"] = urisToFetch(uris)
	}
	for _, gone := range []string{"ports", "uris", "ipAddress", "storeUrls", "versionInfo"} {
		delete(d, gone)
	}
	return errs
}

func rewriteDockerNetwork(d, c tree) []fieldError {
	dock, ok := c["docker"].(tree)
	if !ok {
		return nil
	}
	mode, hadMode := dock["network"].(string)
	mappings, hadMappings := dock["portMappings"]
	delete(dock, "network")
	delete(dock, "portMappings")
	if (hadMode || hadMappings) && d["networks"] != nil {
		return []fieldError{{"/networks", []string{"cannot be used together with container.docker.network or container.docker.portMappings"}}}
	}
	if hadMappings && c["portMappings"] == nil {
		c["portMappings"] = mappings
	}
	if hadMode {
		d["networks"] = []any{networkOf(mode, d)}
	}
	return nil
}

func networkOf(mode string, d tree) tree {
	switch strings.ToUpper(mode) {
	case "BRIDGE":
		return tree{"mode": "container/bridge"}
	case "USER":
		n := tree{"mode": "container"}
		if ip, ok := d["ipAddress"].(tree); ok && ip["networkName"] != nil {
			n["name"] = ip["networkName"]
		}
		return n
	}
	return tree{"mode": "host"}
}

func portsToDefinitions(ports []any) []any {
	out := make([]any, len(ports))
	for i, p := range ports {
		out[i] = tree{"port": p, "protocol": "tcp"}
	}
	return out
}

func urisToFetch(uris []any) []any {
	out := make([]any, len(uris))
	for i, u := range uris {
		out[i] = tree{"uri": u}
	}
	return out
}

// defaults of an app, from Marathon's wire types.
func (v Version) appDefaults() tree {
	delay := 300.0
	if v == V15 {
		delay = 3600
	}
	d := tree{
		"instances": 1.0, "cpus": 1.0, "mem": 128.0, "disk": 0.0, "gpus": 0.0, "executor": "",
		"backoffSeconds": 1.0, "backoffFactor": 1.15, "maxLaunchDelaySeconds": delay,
		"killSelection": "YOUNGEST_FIRST", "labels": tree{}, "networks": []any{tree{"mode": "host"}}, "requirePorts": false,
		"upgradeStrategy":     tree{"minimumHealthCapacity": 1.0, "maximumOverCapacity": 1.0},
		"unreachableStrategy": tree{"inactiveAfterSeconds": 0.0, "expungeAfterSeconds": 0.0},
	}
	if v == V111 {
		d["role"] = "*"
	}
	return d
}

var healthDefaults = tree{
	"protocol": "HTTP", "gracePeriodSeconds": 300.0, "intervalSeconds": 60.0, "timeoutSeconds": 20.0,
	"maxConsecutiveFailures": 3.0, "delaySeconds": 15.0, "ipProtocol": "IPv4", "ignoreHttp1xx": false,
}

var readinessDefaults = tree{
	"name": "readinessCheck", "protocol": "HTTP", "path": "/", "portName": "http-api", "intervalSeconds": 30.0,
	"timeoutSeconds": 10.0, "httpStatusCodesForReady": []any{200.0}, "preserveLastResponse": false,
}

// fill sets what is absent in d from defaults.
func fill(d, defaults tree) {
	for k, v := range defaults {
		if _, there := d[k]; !there {
			d[k] = copyTree(v)
		}
	}
}

// normalize makes the complete definition that Marathon would store and show. old, which may be nil, lends the
// service ports it was assigned; assign hands out a free one.
func (v Version) normalize(d tree, id string, old *spec, assign func() int) tree {
	d = copyTree(d)
	delete(d, "version")
	d["id"] = id
	if v != V111 {
		delete(d, "role")
	}
	fill(d, v.appDefaults())
	fillNested(d)
	absoluteDependencies(d, id)
	normalizeConstraints(d)
	normalizePorts(d, old, assign)
	dropEmpty(d)
	return copyTree(d)
}

func fillNested(d tree) {
	if u, ok := d["upgradeStrategy"].(tree); ok {
		fill(u, tree{"minimumHealthCapacity": 1.0, "maximumOverCapacity": 1.0})
	}
	if u, ok := d["unreachableStrategy"].(tree); ok {
		fill(u, tree{"inactiveAfterSeconds": 0.0, "expungeAfterSeconds": 0.0})
	}
	for _, h := range trees(d["healthChecks"]) {
		fill(h, healthDefaults)
		fillPortIndex(h)
	}
	for _, c := range trees(d["readinessChecks"]) {
		fill(c, readinessDefaults)
	}
	for _, f := range trees(d["fetch"]) {
		uri, _ := f["uri"].(string)
		fill(f, tree{"extract": archive(uri), "executable": false, "cache": false})
	}
	if c, ok := d["container"].(tree); ok {
		fillContainer(c)
	}
}

func fillPortIndex(h tree) {
	if h["protocol"] != "COMMAND" && h["port"] == nil && h["portIndex"] == nil {
		h["portIndex"] = 0.0
	}
}

func archive(uri string) bool {
	for _, suffix := range []string{".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".zip", ".tar"} {
		if strings.HasSuffix(uri, suffix) {
			return true
		}
	}
	return false
}

func fillContainer(c tree) {
	fill(c, tree{"type": "DOCKER", "volumes": []any{}})
	if dock, ok := c["docker"].(tree); ok {
		fill(dock, tree{"forcePullImage": false, "privileged": false, "parameters": []any{}})
	}
	for _, vol := range trees(c["volumes"]) {
		if vol["secret"] == nil {
			fill(vol, tree{"mode": "RW"})
		}
	}
}

func absoluteDependencies(d tree, id string) {
	deps, _ := d["dependencies"].([]any)
	for i, dep := range deps {
		if s, ok := dep.(string); ok {
			deps[i] = resolvePath(parentPath(id), s)
		}
	}
}

func normalizeConstraints(d tree) {
	cs, _ := d["constraints"].([]any)
	for _, c := range cs {
		if parts, ok := c.([]any); ok && len(parts) > 1 {
			if op, ok := parts[1].(string); ok {
				parts[1] = strings.ToUpper(op)
			}
		}
	}
}

func networkMode(d tree) string {
	if ns := trees(d["networks"]); len(ns) > 0 {
		if m, ok := ns[0]["mode"].(string); ok {
			return m
		}
		ns[0]["mode"] = "container"
		return "container"
	}
	return "host"
}

func normalizePorts(d tree, old *spec, assign func() int) {
	take := portSource(old, assign)
	mode := networkMode(d)
	if mode == "host" {
		if _, there := d["portDefinitions"]; !there {
			d["portDefinitions"] = []any{tree{"port": 0.0, "name": "default"}}
		}
		for i, p := range trees(d["portDefinitions"]) {
			fill(p, tree{"protocol": "tcp", "port": 0.0})
			assignPort(p, "port", i, take)
			if l, ok := p["labels"].(tree); ok && len(l) == 0 {
				delete(p, "labels")
			}
		}
		return
	}
	d["requirePorts"] = false
	normalizeMappings(d, mode, take)
}

func normalizeMappings(d tree, mode string, take func(i int) int) {
	c, ok := d["container"].(tree)
	if !ok {
		c = tree{"type": "MESOS", "volumes": []any{}}
		d["container"] = c
	}
	if _, there := c["portMappings"]; !there {
		c["portMappings"] = []any{tree{"containerPort": 0.0, "name": "default"}}
	}
	for i, m := range trees(c["portMappings"]) {
		fill(m, tree{"containerPort": 0.0, "protocol": "tcp", "servicePort": 0.0, "labels": tree{}})
		if mode == "container/bridge" {
			fill(m, tree{"hostPort": 0.0})
		}
		assignPort(m, "servicePort", i, take)
	}
}

func assignPort(p tree, name string, i int, take func(i int) int) {
	if p[name] == 0.0 {
		p[name] = float64(take(i))
	}
}

// portSource reuses the service port that the app already had at the same place.
func portSource(old *spec, assign func() int) func(i int) int {
	var had []int
	if old != nil {
		had = old.servicePorts()
	}
	return func(i int) int {
		if i < len(had) && had[i] != 0 {
			return had[i]
		}
		return assign()
	}
}

var omittedWhenEmpty = []string{
	"args", "constraints", "dependencies", "env", "fetch", "healthChecks", "readinessChecks", "secrets", "acceptedResourceRoles", "executorResources",
}

func dropEmpty(d tree) {
	for _, name := range omittedWhenEmpty {
		switch v := d[name].(type) {
		case []any:
			if len(v) == 0 {
				delete(d, name)
			}
		case tree:
			if len(v) == 0 {
				delete(d, name)
			}
		}
	}
}

func trees(v any) []tree {
	items, _ := v.([]any)
	var out []tree
	for _, i := range items {
		if t, ok := i.(tree); ok {
			out = append(out, t)
		}
	}
	return out
}

// merge lays an update over a definition: a field that is present replaces as a whole.
func merge(old, update tree) tree {
	out := maps.Clone(old)
	delete(out, "executorResources")
	delete(out, "resourceLimits")
	for _, k := range slices.Collect(maps.Keys(update)) {
		out[k] = update[k]
	}
	return out
}
