package marathond

import (
	"encoding/json"
	"fmt"
)

// app is one version of an app: its normalised definition and its stamps.
type app struct {
	Def                map[string]any `json:"def"`
	Version            string         `json:"version"`
	LastScalingAt      string         `json:"lastScalingAt"`
	LastConfigChangeAt string         `json:"lastConfigChangeAt"`

	spec *spec
}

// spec is the typed part of a definition, the part that the server acts on.
type spec struct {
	ID              string            `json:"id"`
	Cmd             string            `json:"cmd"`
	Args            []string          `json:"args"`
	User            string            `json:"user"`
	Env             map[string]any    `json:"env"`
	Labels          map[string]string `json:"labels"`
	Instances       int               `json:"instances"`
	CPUs            float64           `json:"cpus"`
	Mem             float64           `json:"mem"`
	Disk            float64           `json:"disk"`
	GPUs            float64           `json:"gpus"`
	Constraints     [][]string        `json:"constraints"`
	Dependencies    []string          `json:"dependencies"`
	Fetch           []artifact        `json:"fetch"`
	PortDefinitions []portDefinition  `json:"portDefinitions"`
	RequirePorts    bool              `json:"requirePorts"`
	Networks        []network         `json:"networks"`
	Container       *container        `json:"container"`
	HealthChecks    []healthCheck     `json:"healthChecks"`
	ReadinessChecks []readinessCheck  `json:"readinessChecks"`
	Upgrade         upgradeStrategy   `json:"upgradeStrategy"`
	Unreachable     unreachable       `json:"unreachableStrategy"`
	KillSelection   string            `json:"killSelection"`
	KillGrace       *float64          `json:"taskKillGracePeriodSeconds"`
	BackoffSeconds  float64           `json:"backoffSeconds"`
	BackoffFactor   float64           `json:"backoffFactor"`
	MaxLaunchDelay  float64           `json:"maxLaunchDelaySeconds"`
	Role            string            `json:"role"`
	Roles           []string          `json:"acceptedResourceRoles"`
}

type artifact struct {
	URI        string `json:"uri"`
	Executable bool   `json:"executable"`
	DestPath   string `json:"destPath"`
}

type portDefinition struct {
	Port     int               `json:"port"`
	Name     string            `json:"name"`
	Protocol string            `json:"protocol"`
	Labels   map[string]string `json:"labels"`
}

type network struct {
	Mode string `json:"mode"`
	Name string `json:"name"`
}

type container struct {
	Type         string        `json:"type"`
	Docker       *docker       `json:"docker"`
	Volumes      []volume      `json:"volumes"`
	PortMappings []portMapping `json:"portMappings"`
}

type docker struct {
	Image string `json:"image"`
}

type volume struct {
	ContainerPath string         `json:"containerPath"`
	HostPath      string         `json:"hostPath"`
	Mode          string         `json:"mode"`
	Persistent    map[string]any `json:"persistent"`
	External      map[string]any `json:"external"`
	Secret        string         `json:"secret"`
}

type portMapping struct {
	ContainerPort int    `json:"containerPort"`
	HostPort      *int   `json:"hostPort"`
	ServicePort   int    `json:"servicePort"`
	Name          string `json:"name"`
	Protocol      string `json:"protocol"`
}

type healthCheck struct {
	Protocol    string       `json:"protocol"`
	Path        string       `json:"path"`
	Port        *int         `json:"port"`
	PortIndex   *int         `json:"portIndex"`
	Command     *commandLine `json:"command"`
	Grace       float64      `json:"gracePeriodSeconds"`
	Interval    float64      `json:"intervalSeconds"`
	Timeout     float64      `json:"timeoutSeconds"`
	MaxFailures int          `json:"maxConsecutiveFailures"`
	Delay       float64      `json:"delaySeconds"`
	Ignore1xx   bool         `json:"ignoreHttp1xx"`
}

type commandLine struct {
	Value string `json:"value"`
}

type readinessCheck struct {
	Name     string  `json:"name"`
	Protocol string  `json:"protocol"`
	Path     string  `json:"path"`
	PortName string  `json:"portName"`
	Interval float64 `json:"intervalSeconds"`
	Timeout  float64 `json:"timeoutSeconds"`
	Codes    []int   `json:"httpStatusCodesForReady"`
	Preserve bool    `json:"preserveLastResponse"`
}

type upgradeStrategy struct {
	MinimumHealth   float64 `json:"minimumHealthCapacity"`
	MaximumOverload float64 `json:"maximumOverCapacity"`
}

// unreachable is {inactiveAfterSeconds, expungeAfterSeconds}, or "disabled".
type unreachable struct {
	Disabled      bool
	InactiveAfter float64
	ExpungeAfter  float64
}

// UnmarshalJSON accepts both forms of an unreachableStrategy.
func (u *unreachable) UnmarshalJSON(data []byte) error {
	var word string
	if json.Unmarshal(data, &word) == nil {
		*u = unreachable{Disabled: true}
		return nil
	}
	var o struct {
		InactiveAfterSeconds, ExpungeAfterSeconds float64
	}
	if err := json.Unmarshal(data, &o); err != nil {
		return fmt.Errorf("unreachableStrategy: %w", err)
	}
	*u = unreachable{InactiveAfter: o.InactiveAfterSeconds, ExpungeAfter: o.ExpungeAfterSeconds}
	return nil
}

// parseSpec reads the typed part of a normalised definition.
func parseSpec(def map[string]any) (*spec, error) {
	raw, err := json.Marshal(def)
	if err != nil {
		return nil, fmt.Errorf("app definition: %w", err)
	}
	s := &spec{}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("app definition: %w", err)
	}
	return s, nil
}

// copyTree is a deep copy with only the Go types of decoded JSON in it, so that two trees compare with DeepEqual.
func copyTree[T any](v T) T {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("marathond: a JSON tree does not encode: %v", err))
	}
	var out T
	if err := json.Unmarshal(raw, &out); err != nil {
		panic(fmt.Sprintf("marathond: a JSON tree does not decode: %v", err))
	}
	return out
}

func (a *app) id() string { return a.spec.ID }

// hostPorts are the ports a task needs: the wanted number, or 0 for any.
func (s *spec) hostPorts() []int {
	var out []int
	if s.hostNetwork() {
		for _, p := range s.PortDefinitions {
			if s.RequirePorts {
				out = append(out, p.Port)
			} else {
				out = append(out, 0)
			}
		}
		return out
	}
	for _, m := range s.mappings() {
		if m.HostPort != nil {
			out = append(out, *m.HostPort)
		}
	}
	return out
}

func (s *spec) mappings() []portMapping {
	if s.Container == nil {
		return nil
	}
	return s.Container.PortMappings
}

func (s *spec) hostNetwork() bool {
	return len(s.Networks) == 0 || s.Networks[0].Mode == "host"
}

func (s *spec) servicePorts() []int {
	out := []int{}
	if s.hostNetwork() {
		for _, p := range s.PortDefinitions {
			out = append(out, p.Port)
		}
		return out
	}
	for _, m := range s.mappings() {
		out = append(out, m.ServicePort)
	}
	return out
}
