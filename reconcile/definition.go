package reconcile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/drover-project/drover/state"
)

// digestLabel marks the apps that Drover deployed, with a digest of what it deployed. It changes only together with the
// definition, so it never restarts a task by itself.
const digestLabel = "DROVER_DEFINITION"

// def is a Marathon app definition as a tree: what the manifest says, unknown fields included, and the fields that Drover
// owns.
type def map[string]any

// definition renders an app. For an app with volumes, paths are the mountpoints of its volumes in order, or nil while it is
// not to run anywhere.
func definition(app state.App, at *pin) def {
	d := parse(app.Definition)
	d["id"] = string(app.ID)
	if len(app.Volumes) > 0 {
		d.own(app, at)
	} else {
		d["instances"] = json.Number(jsonText(app.Instances))
		if len(app.Constraints) > 0 {
			d["constraints"] = constraintLists(app.Constraints)
		}
	}
	d.object("labels")[digestLabel] = digest(d)
	return d
}

// pin is where an app with volumes runs, and the mountpoints of its volumes there.
type pin struct {
	host   state.Hostname
	mounts []string
}

// own sets the fields of an app with volumes that are Drover's.
func (d def) own(app state.App, at *pin) {
	d["upgradeStrategy"] = map[string]any{"minimumHealthCapacity": json.Number("0"), "maximumOverCapacity": json.Number("0")}
	d["unreachableStrategy"] = "disabled"
	d.object("labels")["MARATHON_SINGLE_INSTANCE_APP"] = "true"
	env := d.object("env")
	for _, m := range app.Volumes {
		env[envName(m)] = m.ContainerPath
	}
	if at == nil {
		return
	}
	d["instances"] = json.Number("1")
	d["constraints"] = constraintLists(pinned(at.host))
	c := d.object("container")
	if c["type"] == nil {
		c["type"] = "MESOS"
	}
	volumes, _ := c["volumes"].([]any)
	for i, m := range app.Volumes {
		volumes = append(volumes, map[string]any{"containerPath": m.ContainerPath, "hostPath": path.Join(at.mounts[i], "data"), "mode": "RW"})
	}
	c["volumes"] = volumes
}

// hold makes a definition that is deployed but starts nowhere.
func (d def) hold(move state.MoveID) {
	d["instances"] = json.Number("0")
	d["constraints"] = constraintLists([]state.Constraint{{Field: holdField, Op: "CLUSTER", Value: string(move)}})
}

// envName is the environment variable that tells an app where it sees a volume.
func envName(m state.Mount) string {
	if m.Env != "" {
		return m.Env
	}
	return "DROVER_VOLUME_" + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(string(m.Volume)))
}

func pinned(h state.Hostname) []state.Constraint {
	return []state.Constraint{{Field: "hostname", Op: "CLUSTER", Value: string(h)}}
}

func constraintLists(cs []state.Constraint) []any {
	out := make([]any, 0, len(cs))
	for _, c := range cs {
		l := []any{c.Field, c.Op}
		if c.Value != "" {
			l = append(l, c.Value)
		}
		out = append(out, l)
	}
	return out
}

// object returns the object under a key, made if it is not there.
func (d def) object(key string) map[string]any {
	o, ok := d[key].(map[string]any)
	if !ok {
		o = map[string]any{}
		d[key] = o
	}
	return o
}

func (d def) json() json.RawMessage {
	b, err := json.Marshal(d)
	if err != nil {
		panic(err) // the tree came from JSON; only strings, numbers, lists and maps are in it
	}
	return b
}

// parse reads a definition and keeps its numbers as they are written. The manifest check has refused what is not an object.
func parse(raw json.RawMessage) def {
	d := def{}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&d); err != nil || d == nil {
		return def{}
	}
	return d
}

func jsonText(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// digest identifies a definition but for how many instances it has; where a pinned one runs is left out by its caller's
// rendering of the same app on the same node.
func digest(d def) string {
	c := def{}
	for k, v := range d {
		if k != "instances" {
			c[k] = v
		}
	}
	sum := sha256.Sum256(c.json())
	return hex.EncodeToString(sum[:6])
}

// deployedDigest returns the digest under which Drover deployed a definition, or "".
func (d def) deployedDigest() string {
	labels, _ := d["labels"].(map[string]any)
	s, _ := labels[digestLabel].(string)
	return s
}

// sameDefinition reports whether what Marathon holds is what Drover would deploy: the digest says so, and no field that is
// wanted has another value. Instances are compared elsewhere. Marathon rewrites some old forms of fields; for an app with the
// right digest a field that it does not return at all counts as rewritten, for one that Drover never deployed as missing.
func sameDefinition(have, want def) bool {
	digest := have.deployedDigest()
	if digest != "" && digest != want.deployedDigest() {
		return false
	}
	for k, w := range want {
		if k == "instances" || k == "id" {
			continue
		}
		if k == "labels" {
			w = without(w, digestLabel)
		}
		if !covers(have[k], w, digest != "") {
			return false
		}
	}
	return true
}

func without(v any, key string) any {
	out := map[string]any{}
	for k, x := range v.(map[string]any) {
		if k != key {
			out[k] = x
		}
	}
	return out
}

// covers reports whether have holds everything that want says; what Marathon adds on its own does not count. A rewritten
// value may be absent.
func covers(have, want any, rewritten bool) bool {
	if have == nil {
		return rewritten || isEmpty(want)
	}
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		return ok && coversObject(h, w, rewritten)
	case []any:
		h, ok := have.([]any)
		return ok && len(h) == len(w) && !slices.ContainsFunc(indexes(w), func(i int) bool { return !covers(h[i], w[i], rewritten) })
	case json.Number:
		h, ok := have.(json.Number)
		return ok && sameNumber(h, w)
	}
	return reflect.DeepEqual(have, want)
}

func coversObject(have, want map[string]any, rewritten bool) bool {
	for k, w := range want {
		if assigned[k] && w == json.Number("0") {
			continue
		}
		if !covers(have[k], w, rewritten) {
			return false
		}
	}
	return true
}

// assigned are the fields for which 0 asks Marathon to choose a port.
var assigned = map[string]bool{"port": true, "servicePort": true, "hostPort": true}

func isEmpty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

func indexes(l []any) []int {
	out := make([]int, len(l))
	for i := range l {
		out[i] = i
	}
	return out
}

func sameNumber(a, b json.Number) bool {
	if a == b {
		return true
	}
	x, errX := a.Float64()
	y, errY := b.Float64()
	return errX == nil && errY == nil && x == y
}

// hostPaths returns the host paths that a definition mounts.
func hostPaths(d def) []string {
	container, _ := d["container"].(map[string]any)
	volumes, _ := container["volumes"].([]any)
	var out []string
	for _, v := range volumes {
		o, _ := v.(map[string]any)
		if p, _ := o["hostPath"].(string); p != "" {
			out = append(out, path.Clean(p))
		}
	}
	return out
}

// inside reports whether a path is a folder or something in it.
func inside(p, folder string) bool { return p == folder || strings.HasPrefix(p, folder+"/") }

// resources returns what one instance of a definition asks for; Marathon's defaults where the manifest is silent.
func resources(d def) state.Resources {
	r := state.Resources{CPUs: number(d["cpus"], 1), Mem: number(d["mem"], 128), Disk: number(d["disk"], 0), Ports: 1}
	if ports, ok := d["portDefinitions"].([]any); ok {
		r.Ports = len(ports)
	}
	return r
}

func number(v any, def float64) float64 {
	n, ok := v.(json.Number)
	if !ok {
		return def
	}
	f, err := n.Float64()
	if err != nil {
		return def
	}
	return f
}

// hasChecks reports whether a definition asks for health checks.
func hasChecks(d def) bool {
	checks, _ := d["healthChecks"].([]any)
	return len(checks) > 0
}

// check is one health check of a definition.
type check map[string]any

func checksOf(d def) []check {
	list, _ := d["healthChecks"].([]any)
	var out []check
	for _, l := range list {
		if c, ok := l.(map[string]any); ok {
			out = append(out, c)
		}
	}
	return out
}

func (c check) protocol() string {
	p, _ := c["protocol"].(string)
	return strings.TrimPrefix(p, "MESOS_")
}

// asks reports whether the check asks over the network.
func (c check) asks() bool { return c.protocol() != "COMMAND" }

func (c check) tls() bool { return c.protocol() == "HTTPS" }

// path is what an HTTP check gets; "" for TCP.
func (c check) path() string {
	if c.protocol() == "TCP" {
		return ""
	}
	p, _ := c["path"].(string)
	return "/" + strings.TrimPrefix(p, "/")
}

// portOf returns the port that the check asks, of a task's ports; 0 if there is none.
func (c check) portOf(ports []int) int {
	if p := number(c["port"], 0); p > 0 {
		return int(p)
	}
	if i := int(number(c["portIndex"], 0)); i >= 0 && i < len(ports) {
		return ports[i]
	}
	return 0
}

// portIndex finds the task port that an endpoint leads to: the port definition of its name, else the one at its place in the
// list of endpoints.
func portIndex(d def, name string, place int) int {
	ports, _ := d["portDefinitions"].([]any)
	for i, p := range ports {
		if o, ok := p.(map[string]any); ok && o["name"] == name {
			return i
		}
	}
	return place
}
