package controller

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/drover-project/drover/agent"
	"github.com/drover-project/drover/certs"
	"github.com/drover-project/drover/marathon"
	"github.com/drover-project/drover/register"
	"github.com/drover-project/drover/state"
)

// Config says how to reach a cluster. It is a YAML file.
type Config struct {
	Marathon MarathonConfig `json:"marathon"`
	Agents   AgentsConfig   `json:"agents"`
	Register string         `json:"register"` // URL, such as file:///var/lib/drover/register
	Certs    string         `json:"certs"`    // folder with tls.crt, tls.key and ca.crt; relative to the file
}

// MarathonConfig says where Marathon and its Mesos master are.
type MarathonConfig struct {
	URLs     []string `json:"urls"`            // all masters, with a base path if there is one
	Mesos    string   `json:"mesos,omitempty"` // URL; asked from Marathon if absent
	User     string   `json:"user,omitempty"`
	Password string   `json:"password,omitempty"`
	Token    string   `json:"token,omitempty"`
}

// AgentsConfig says where Drover's agents are.
type AgentsConfig struct {
	Port      int                       `json:"port,omitempty"`      // on every Mesos agent's hostname
	Addresses map[state.Hostname]string `json:"addresses,omitempty"` // host:port of single ones, by the hostname that Mesos has
}

// ReadConfig reads a config file.
func ReadConfig(path string) (Config, error) {
	var cfg Config
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return cfg, fmt.Errorf("config %s does not exist", path)
	} else if err != nil {
		return cfg, fmt.Errorf("config: %w", err)
	}
	if err := yaml.UnmarshalStrict(b, &cfg); err != nil {
		return cfg, fmt.Errorf("config %s: %s", path, plainYAML(err))
	}
	if cfg.Certs != "" && !filepath.IsAbs(cfg.Certs) {
		cfg.Certs = filepath.Join(filepath.Dir(path), cfg.Certs)
	}
	if missing := cfg.missing(); len(missing) > 0 {
		return cfg, fmt.Errorf("config %s lacks %s", path, strings.Join(missing, ", "))
	}
	return cfg, nil
}

// plainYAML leaves out what only says which libraries were at work.
func plainYAML(err error) string {
	s := err.Error()
	for _, prefix := range []string{"error converting YAML to JSON: ", "error unmarshaling JSON: ", "while decoding JSON: ", "json: ", "yaml: "} {
		s = strings.TrimPrefix(s, prefix)
	}
	return s
}

func (c Config) missing() []string {
	var out []string
	for _, f := range []struct {
		name   string
		absent bool
	}{
		{"marathon.urls", len(c.Marathon.URLs) == 0},
		{"agents.port or agents.addresses", c.Agents.Port == 0 && len(c.Agents.Addresses) == 0},
		{"register", c.Register == ""},
		{"certs", c.Certs == ""},
	} {
		if f.absent {
			out = append(out, f.name)
		}
	}
	return out
}

// Write writes the file that ReadConfig reads.
func (c Config) Write(path string) error {
	b, err := yaml.Marshal(c)
	if err != nil {
		return fmt.Errorf("config %s: %w", path, err)
	}
	return os.WriteFile(path, b, 0o600)
}

// Open connects to what the config names. Nothing is asked yet.
func (c Config) Open(log *slog.Logger) (*Cluster, error) {
	m, err := marathon.New(marathon.Options{URLs: c.Marathon.URLs, MesosURL: c.Marathon.Mesos, User: c.Marathon.User,
		Password: c.Marathon.Password, Token: c.Marathon.Token, Log: log})
	if err != nil {
		return nil, err
	}
	reg, err := register.Open(c.Register)
	if err != nil {
		return nil, err
	}
	tls, err := certs.ClientConfig(c.Certs, certs.Agent)
	if err != nil {
		return nil, err
	}
	return &Cluster{Marathon: m, Agents: agent.NewClient(tls, log), Register: reg,
		Addresses: c.Agents.Addresses, AgentPort: c.Agents.Port, Log: log}, nil
}
