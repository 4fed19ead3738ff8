package marathond

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
)

// kind is the JSON type a field must have.
type kind int

const (
	anything kind = iota
	text
	number
	whole
	truth
	object
	list
	dict // an object with free keys
)

// field describes one field of the wire format. Reading drops what is not described, as Marathon's readers do.
type field struct {
	name     string
	kind     kind
	required bool
	pattern  *regexp.Regexp
	words    []string
	min, max float64
	bounded  bool
	fields   []field
	elem     *field
	or       *field // an alternative form
}

func str(name string) field     { return field{name: name, kind: text} }
func num(name string) field     { return field{name: name, kind: number} }
func integer(name string) field { return field{name: name, kind: whole} }
func boolean(name string) field { return field{name: name, kind: truth} }
func raw(name string) field     { return field{name: name, kind: anything} }

func obj(name string, fields ...field) field { return field{name: name, kind: object, fields: fields} }
func listOf(name string, elem field) field   { return field{name: name, kind: list, elem: &elem} }
func dictOf(name string, elem field) field   { return field{name: name, kind: dict, elem: &elem} }

func (f field) need() field                      { f.required = true; return f }
func (f field) oneOf(words ...string) field      { f.words = words; return f }
func (f field) matching(re *regexp.Regexp) field { f.pattern = re; return f }
func (f field) atLeast(n float64) field          { return f.between(n, math.Inf(1)) }
func (f field) orElse(o field) field             { f.or = &o; return f }
func (f field) between(lo, hi float64) field     { f.bounded, f.min, f.max = true, lo, hi; return f }

// fieldError is one entry of an error's details.
type fieldError struct {
	Path   string   `json:"path"`
	Errors []string `json:"errors"`
}

// reader collects what is wrong while it reads; paths are grouped, in the order they were met.
type reader struct{ errs []fieldError }

func (r *reader) fail(path, code string) {
	if path == "" {
		path = "/"
	}
	for i := range r.errs {
		if r.errs[i].Path == path {
			r.errs[i].Errors = append(r.errs[i].Errors, code)
			return
		}
	}
	r.errs = append(r.errs, fieldError{path, []string{code}})
}

var expected = map[kind]string{
	text: "error.expected.jsstring", number: "error.expected.jsnumber", whole: "error.expected.jsnumber",
	truth: "error.expected.jsboolean", object: "error.expected.jsobject", dict: "error.expected.jsobject", list: "error.expected.jsarray",
}

// read checks v against f and returns the known part of it.
func (r *reader) read(f field, v any, path string) any {
	if f.or != nil && !f.accepts(v) && f.or.accepts(v) {
		return r.read(*f.or, v, path)
	}
	if !f.accepts(v) {
		r.fail(path, expected[f.kind])
		return nil
	}
	switch f.kind {
	case object:
		return r.readObject(f, v.(map[string]any), path)
	case dict:
		return r.readDict(f, v.(map[string]any), path)
	case list:
		return r.readList(f, v.([]any), path)
	case text:
		r.checkText(f, v.(string), path)
	case number, whole:
		r.checkNumber(f, v.(float64), path)
	default: // nothing more to check
	}
	return v
}

func (f field) accepts(v any) bool {
	switch f.kind {
	case text:
		_, ok := v.(string)
		return ok
	case number, whole:
		_, ok := v.(float64)
		return ok
	case truth:
		_, ok := v.(bool)
		return ok
	case object, dict:
		_, ok := v.(map[string]any)
		return ok
	case list:
		_, ok := v.([]any)
		return ok
	default:
		return true
	}
}

func (r *reader) readObject(f field, v map[string]any, path string) any {
	out := map[string]any{}
	for _, c := range f.fields {
		got, there := v[c.name]
		if !there || got == nil {
			if c.required {
				r.fail(path+"/"+c.name, "error.path.missing")
			}
			continue
		}
		out[c.name] = r.read(c, got, path+"/"+c.name)
	}
	return out
}

func (r *reader) readDict(f field, v map[string]any, path string) any {
	out := map[string]any{}
	for k, e := range v {
		out[k] = r.read(*f.elem, e, path+"/"+k)
	}
	return out
}

func (r *reader) readList(f field, v []any, path string) any {
	out := make([]any, len(v))
	for i, e := range v {
		out[i] = r.read(*f.elem, e, path+"("+strconv.Itoa(i)+")")
	}
	return out
}

func (r *reader) checkText(f field, v, path string) {
	if f.pattern != nil && !f.pattern.MatchString(v) {
		r.fail(path, "error.pattern")
	}
	if f.words != nil && !slices.Contains(f.words, v) {
		r.fail(path, "error.unknown.enum.literal")
	}
}

func (r *reader) checkNumber(f field, v float64, path string) {
	if f.kind == whole && v != math.Trunc(v) {
		r.fail(path, "error.expected.int")
		return
	}
	if f.bounded && v < f.min {
		r.fail(path, "error.min")
	}
	if f.bounded && v > f.max {
		r.fail(path, "error.max")
	}
}

// readApp reads one app object; errs become a 422 "Invalid JSON".
func readApp(v any, path string, needID bool) (map[string]any, []fieldError) {
	r := &reader{}
	s := appSchema
	if needID {
		s = appSchemaWithID
	}
	out, _ := r.read(s, v, path).(map[string]any)
	return out, r.errs
}

var (
	appSchema       = obj("", appFields(false)...)
	appSchemaWithID = obj("", appFields(true)...)
)

func appFields(needID bool) []field {
	id := str("id").matching(pathRE)
	id.required = needID
	return append([]field{id}, slices.Concat(processFields, networkFields, checkFields, lifeFields)...)
}

var portRange = func(name string) field { return integer(name).between(0, 65535) }

var processFields = []field{
	str("cmd"), listOf("args", str("")), str("user"), str("executor"), boolean("tty"),
	dictOf("env", str("").orElse(obj("", str("secret").need()))),
	dictOf("secrets", obj("", str("source").need())),
	dictOf("labels", str("")),
	integer("instances").atLeast(0),
	num("cpus").atLeast(0), num("mem").atLeast(0), num("disk").atLeast(0), integer("gpus").atLeast(0),
	obj("resourceLimits", raw("cpus"), raw("mem")),
	obj("executorResources", num("cpus"), num("mem"), num("disk")),
	listOf("fetch", obj("", str("uri").need(), boolean("executable"), boolean("extract"), boolean("cache"), str("destPath"))),
	listOf("uris", str("")), listOf("storeUrls", str("")),
	listOf("dependencies", str("").matching(pathRE)),
	listOf("constraints", listOf("", str(""))),
	listOf("acceptedResourceRoles", str("")), str("role"),
	str("version"), raw("versionInfo"),
}

var networkFields = []field{
	listOf("networks", obj("", str("name"), str("mode").oneOf("container", "container/bridge", "host"), dictOf("labels", str("")))),
	listOf("ports", portRange("")),
	listOf("portDefinitions", obj("", portRange("port"), str("name").matching(portName), str("protocol").oneOf("tcp", "udp", "udp,tcp", "tcp,udp"), dictOf("labels", str("")))),
	boolean("requirePorts"),
	obj("ipAddress", str("networkName"), dictOf("labels", str("")), raw("discovery"), raw("groups")),
	obj("container",
		str("type").oneOf("MESOS", "DOCKER"),
		obj("docker", str("image"), boolean("forcePullImage"), boolean("privileged"), raw("credential"), obj("pullConfig", str("secret").need()),
			str("network"), listOf("portMappings", mappingField),
			listOf("parameters", obj("", str("key").need(), str("value").need()))),
		listOf("volumes", obj("", str("containerPath"), str("hostPath"), str("mode").oneOf("RW", "RO"), raw("persistent"), raw("external"), str("secret"))),
		listOf("portMappings", mappingField),
		raw("linuxInfo"),
	),
}

var portName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])*$`)

var mappingField = obj("", portRange("containerPort"), portRange("hostPort"), portRange("servicePort"), str("name").matching(portName),
	str("protocol").oneOf("tcp", "udp", "udp,tcp", "tcp,udp"), dictOf("labels", str("")), listOf("networkNames", str("")))

var checkFields = []field{
	listOf("healthChecks", obj("",
		str("protocol").oneOf("HTTP", "HTTPS", "TCP", "COMMAND", "MESOS_HTTP", "MESOS_HTTPS", "MESOS_TCP"),
		str("path"), portRange("port"), integer("portIndex").atLeast(0), obj("command", str("value").need()),
		integer("gracePeriodSeconds").atLeast(0), integer("intervalSeconds").atLeast(0), integer("timeoutSeconds").atLeast(0),
		integer("maxConsecutiveFailures").atLeast(0), integer("delaySeconds").atLeast(0), boolean("ignoreHttp1xx"), str("ipProtocol").oneOf("IPv4", "IPv6"))),
	listOf("readinessChecks", obj("",
		str("name"), str("protocol").oneOf("HTTP", "HTTPS"), str("path"), str("portName"), integer("intervalSeconds").atLeast(1),
		integer("timeoutSeconds").atLeast(1), listOf("httpStatusCodesForReady", integer("").between(100, 999)), boolean("preserveLastResponse"))),
	raw("check"),
}

var lifeFields = []field{
	integer("backoffSeconds").atLeast(0), num("backoffFactor").atLeast(1), integer("maxLaunchDelaySeconds").atLeast(0),
	integer("taskKillGracePeriodSeconds").atLeast(0),
	obj("upgradeStrategy", num("minimumHealthCapacity"), num("maximumOverCapacity")),
	obj("unreachableStrategy", integer("inactiveAfterSeconds").atLeast(0), integer("expungeAfterSeconds").atLeast(0)).orElse(str("").oneOf("disabled")),
	str("killSelection").oneOf("YOUNGEST_FIRST", "OLDEST_FIRST"),
	obj("residency", raw("relaunchEscalationTimeoutSeconds"), raw("taskLostBehavior")),
}

func (e fieldError) String() string { return fmt.Sprintf("%s: %v", e.Path, e.Errors) }
