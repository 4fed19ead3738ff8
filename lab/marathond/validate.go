package marathond

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// validate applies the semantic rules; problems become a 422 "Object is not valid".
func (v Version) validate(s *spec, def tree) []fieldError {
	r := &reader{}
	checkID(r, s.ID, v)
	checkCommand(r, s, def)
	checkStrategies(r, s)
	checkConstraints(r, s.Constraints, v)
	checkNetworks(r, s, def)
	checkVolumes(r, s)
	checkChecks(r, s)
	checkFeatures(r, def)
	return r.errs
}

func checkID(r *reader, id string, v Version) {
	if id == "/" {
		r.fail("/id", "must not be root")
		return
	}
	segs := strings.Split(strings.Trim(id, "/"), "/")
	for _, seg := range segs {
		if !segmentRE.MatchString(seg) {
			r.fail("/id", "must fully match regular expression '"+segmentPattern+"'")
		}
	}
	last := segs[len(segs)-1]
	if v != V15 && slices.Contains([]string{"restart", "tasks", "versions", ".", ".."}, last) {
		r.fail("/id", last+" is a reserved keyword and may not be the last part of an id")
	}
}

const noCommand = "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'."

func checkCommand(r *reader, s *spec, def tree) {
	_, hasCmd := def["cmd"]
	_, hasArgs := def["args"]
	switch {
	case hasCmd && hasArgs:
		r.fail("/", noCommand)
	case !hasCmd && !hasArgs && def["container"] == nil:
		r.fail("/", noCommand)
	case hasCmd && s.Cmd == "":
		r.fail("/cmd", "must not be empty")
	}
}

func checkStrategies(r *reader, s *spec) {
	between01(r, "/upgradeStrategy/minimumHealthCapacity", s.Upgrade.MinimumHealth)
	between01(r, "/upgradeStrategy/maximumOverCapacity", s.Upgrade.MaximumOverload)
	if s.Labels["MARATHON_SINGLE_INSTANCE_APP"] == "true" {
		if s.Instances > 1 {
			r.fail("/instances", fmt.Sprintf("got %d, expected 1 or less", s.Instances))
		}
		if s.Upgrade != (upgradeStrategy{}) {
			r.fail("/upgradeStrategy", "must have minimumHealthCapacity and maximumOverCapacity 0 for a single instance app")
		}
	}
	if !s.Unreachable.Disabled && s.Unreachable.InactiveAfter > s.Unreachable.ExpungeAfter {
		r.fail("/unreachableStrategy", fmt.Sprintf("inactiveAfterSeconds (%g) must be less or equal to expungeAfterSeconds (%g)",
			s.Unreachable.InactiveAfter, s.Unreachable.ExpungeAfter))
	}
}

func between01(r *reader, path string, n float64) {
	if n < 0 || n > 1 {
		r.fail(path, fmt.Sprintf("got %s, expected between 0.0 and 1.0", decimal(n)))
	}
}

// decimal prints a double as the JVM does: always with a fraction.
func decimal(n float64) string {
	s := strconv.FormatFloat(n, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

var (
	isValue   = regexp.MustCompile(`^[a-zA-Z0-9_/.-]*$`)
	wholeText = regexp.MustCompile(`^[0-9]+$`)
)

func checkConstraints(r *reader, cs [][]string, v Version) {
	for i, c := range cs {
		if msg := v.constraintProblem(c); msg != "" {
			r.fail(fmt.Sprintf("/constraints(%d)", i), msg)
		}
	}
}

const operators = "UNIQUE, CLUSTER, GROUP_BY, LIKE, MAX_PER, UNLIKE or IS"

// constraintProblem is the text for one constraint, empty when it is fine.
func (v Version) constraintProblem(c []string) string {
	if len(c) < 2 || len(c) > 3 {
		return "Each constraint must have either 2 or 3 fields"
	}
	if c[0] == "" {
		return "missing field for constraint declaration"
	}
	value, has := "", len(c) == 3
	if has {
		value = c[2]
	}
	switch c[1] {
	case "UNIQUE":
		return problemIf(has, "UNIQUE does not accept a value")
	case "CLUSTER":
		return ""
	case "GROUP_BY":
		return problemIf(has && !wholeText.MatchString(value), "GROUP BY must define an integer value or else no value at all")
	case "MAX_PER":
		return problemIf(!wholeText.MatchString(value), "MAX_PER requires an integer value")
	case "LIKE", "UNLIKE":
		return regexProblem(value)
	case "IS":
		if v != V15 {
			return problemIf(!has || !isValue.MatchString(value), "IS only supports Mesos text and float values (see http://mesos.apache.org/documentation/latest/attributes-resources/)")
		}
	}
	return "operator must be one of the following " + operators
}

func problemIf(bad bool, msg string) string {
	if bad {
		return msg
	}
	return ""
}

func regexProblem(value string) string {
	if value == "" {
		return "LIKE and UNLIKE require a non-empty, regular expression value"
	}
	if _, err := fullMatch(value); err != nil {
		return "is not a valid regular expression"
	}
	return ""
}

func checkNetworks(r *reader, s *spec, def tree) {
	if s.hostNetwork() {
		if c, ok := def["container"].(tree); ok && len(trees(c["portMappings"])) > 0 {
			r.fail("/container/portMappings", "must be empty when using host networking")
		}
	} else if len(s.PortDefinitions) > 0 {
		r.fail("/portDefinitions", "must be empty when not using host networking")
	}
	checkNetworkList(r, s.Networks)
	checkPortNames(r, s)
}

func checkNetworkList(r *reader, ns []network) {
	modes := map[string]int{}
	for i, n := range ns {
		modes[n.Mode]++
		if n.Mode == "container" && n.Name == "" {
			r.fail(fmt.Sprintf("/networks(%d)/name", i), "must be defined: there is no default network name")
		}
	}
	if modes["host"] > 1 || modes["container/bridge"] > 1 || len(modes) > 1 {
		r.fail("/networks", "must be exactly one host network, or exactly one bridge network, or one or more container networks")
	}
}

func checkPortNames(r *reader, s *spec) {
	names, ports := map[string]bool{}, map[int]bool{}
	for _, p := range s.PortDefinitions {
		if p.Name != "" && names[p.Name] {
			r.fail("/portDefinitions", "Port names must be unique.")
		}
		if p.Port != 0 && ports[p.Port] {
			r.fail("/portDefinitions", "Ports must be unique.")
		}
		names[p.Name], ports[p.Port] = true, true
	}
}

func checkVolumes(r *reader, s *spec) {
	if s.Container == nil {
		return
	}
	for i, v := range s.Container.Volumes {
		path := fmt.Sprintf("/container/volumes(%d)", i)
		switch {
		case v.Persistent != nil:
			r.fail(path, "the lab has no persistent volumes: use a hostPath")
		case v.External != nil:
			r.fail(path, "external volumes need the feature external_volumes, which is not enabled")
		case v.ContainerPath == "" && v.Secret == "":
			r.fail(path+"/containerPath", "must not be empty")
		case v.HostPath == "" && v.Secret == "":
			r.fail(path+"/hostPath", "must not be empty")
		}
	}
}

func checkChecks(r *reader, s *spec) {
	mesos := 0
	for i, h := range s.HealthChecks {
		path := fmt.Sprintf("/healthChecks(%d)", i)
		if h.Protocol == "COMMAND" || strings.HasPrefix(h.Protocol, "MESOS_") {
			mesos++
		}
		checkHealthTarget(r, path, h, s)
	}
	if mesos > 1 {
		r.fail("/healthChecks", "AppDefinition can contain at most one Mesos health check")
	}
	checkReadiness(r, s)
}

func checkHealthTarget(r *reader, path string, h healthCheck, s *spec) {
	if h.Protocol == "COMMAND" {
		if h.Command == nil {
			r.fail(path, "Health check protocol COMMAND must define a command")
		}
		return
	}
	if h.Command != nil {
		r.fail(path, "Health check protocol "+h.Protocol+" must not define a command")
	}
	if h.Port == nil && h.PortIndex != nil && *h.PortIndex >= max(len(s.hostPorts()), len(s.mappings())) {
		r.fail(path, "Health check port indices must address an element of the ports array or container port mappings.")
	}
}

func checkReadiness(r *reader, s *spec) {
	if len(s.ReadinessChecks) > 1 {
		r.fail("/readinessChecks", "Only one readiness check is allowed")
	}
	for i, c := range s.ReadinessChecks {
		if _, ok := s.portByName(c.PortName); !ok {
			r.fail(fmt.Sprintf("/readinessChecks(%d)/portName", i), fmt.Sprintf("'%s' does not exist. Please define a port with this name.", c.PortName))
		}
	}
}

// portByName is the index of a named port.
func (s *spec) portByName(name string) (int, bool) {
	for i, p := range s.PortDefinitions {
		if p.Name == name {
			return i, true
		}
	}
	for i, m := range s.mappings() {
		if m.Name == name {
			return i, true
		}
	}
	return 0, false
}

// checkFeatures refuses what Marathon refuses without --enable_features.
func checkFeatures(r *reader, def tree) {
	if def["secrets"] != nil {
		r.fail("/secrets", "must be empty. Feature secrets is not enabled. Enable with --enable_features secrets)")
	}
	if n, ok := def["gpus"].(float64); ok && n > 0 {
		r.fail("/gpus", "must be 0. Feature gpu_resources is not enabled. Enable with --enable_features gpu_resources)")
	}
}
