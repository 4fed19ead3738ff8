package marathond

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"time"
)

// Version is the Marathon release line whose behaviour is emulated.
//
// It switches the task id format, the default of maxLaunchDelaySeconds (3600 before 1.8), the constraint operator
// IS and the fields with @ (absent in 1.5), the status of an unknown route (404 in 1.5, else 500), the role field
// (1.11), the GROUP_BY rule and the meaning of "healthy" when a restart is computed (1.11), and whether a slow
// event stream is closed (1.8 and later) or loses events. It does not switch number formatting, heavy event plans or text/plain tasks.
type Version string

// The release lines that can be emulated.
const (
	V15  Version = "1.5"
	V18  Version = "1.8"
	V111 Version = "1.11"
)

func (v Version) full() string {
	switch v {
	case V15:
		return "1.5.15"
	case V111:
		return "1.11.24"
	default:
		return "1.8.222"
	}
}

// Resources are what an agent offers. CPUs are shares of a core, Mem and Disk are MiB, Ports is a range such as
// "31000-32000", or several separated by commas.
type Resources struct {
	CPUs  float64
	Mem   float64
	Disk  float64
	GPUs  float64
	Ports string
}

// Attribute is an agent attribute in Mesos's own notation: a value that reads as a number is a scalar, [1-2,5-6]
// are ranges, {a,b} is a set, all else is text.
type Attribute struct {
	Name  string
	Value string
}

// Agent is one configured Mesos agent of the lab.
type Agent struct {
	// ID is the agent's Mesos id; empty means one derived from the hostname.
	ID       string
	Hostname string
	// IP is where ports of tasks on this agent answer; empty means 127.0.0.1.
	IP         string
	Attributes []Attribute
	// Resources; a zero value means 4 cpus, 8192 MiB memory, 102400 MiB disk, ports 31000-32000.
	Resources Resources
	// Region and Zone are the fault domain; empty means none.
	Region, Zone string
	// Env is added to the environment of every task on this agent.
	Env map[string]string
}

// Timing holds every interval; a zero field means Marathon's own default.
type Timing struct {
	Heartbeat         time.Duration // keep-alive of event streams, 10 s
	Offers            time.Duration // how often waiting apps are matched again although nothing changed, 5 s
	ScaleApps         time.Duration // how often instance counts are compared with the definitions, 5 min
	KillRetry         time.Duration // how often an unconfirmed kill is repeated, 30 s
	KillGrace         time.Duration // SIGTERM to SIGKILL when the app says nothing, 3 s
	MinHealthInterval time.Duration // lower bound for health and readiness intervals; 0 means none
	// SecondsUnit is how long one second of an app definition (backoff, health and readiness checks, grace,
	// unreachable strategy) lasts; 0 means a second. Tests shorten it.
	SecondsUnit time.Duration
}

// Options configure a Server.
type Options struct {
	// Dir keeps the state, the sandboxes and the executors' files. It is created. One server at a time may use it.
	Dir string
	// Listen is the address of the Marathon API, for example 127.0.0.1:8080. A port of 0 picks a free one.
	Listen string
	// MesosListen is the address of the Mesos master's API; empty serves both on Listen, where no paths collide.
	MesosListen string
	// Executor is the argv that starts an executor, to which its folder is appended. The program must call
	// ExecutorMain with that folder.
	Executor []string
	Agents   []Agent
	// Emulate is the release line, 1.8 by default.
	Emulate Version
	// User and Password switch on HTTP basic authentication of the Marathon API, /ping included.
	User, Password string
	Timing         Timing
	Log            *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		return o, fmt.Errorf("marathond: Options.Dir is required")
	}
	if len(o.Executor) == 0 {
		return o, fmt.Errorf("marathond: Options.Executor is required")
	}
	if err := o.Emulate.check(); err != nil {
		return o, err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, fmt.Errorf("state folder %s: %w", o.Dir, err)
	}
	o.Dir = dir
	if o.Emulate == "" {
		o.Emulate = V18
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Timing = o.Timing.withDefaults()
	return o, nil
}

func (v Version) check() error {
	switch v {
	case "", V15, V18, V111:
		return nil
	}
	return fmt.Errorf("marathond: cannot emulate Marathon %q, only 1.5, 1.8 and 1.11", v)
}

func (t Timing) withDefaults() Timing {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&t.Heartbeat, 10*time.Second)
	set(&t.Offers, 5*time.Second)
	set(&t.ScaleApps, 5*time.Minute)
	set(&t.KillRetry, 30*time.Second)
	set(&t.KillGrace, 3*time.Second)
	set(&t.SecondsUnit, time.Second)
	return t
}

// seconds turns a number of seconds from an app definition into real time.
func (t Timing) seconds(n float64) time.Duration {
	return time.Duration(n * float64(t.SecondsUnit))
}

// interval is seconds with the lower bound for probes.
func (t Timing) interval(n float64) time.Duration {
	return max(t.seconds(n), t.MinHealthInterval, time.Millisecond)
}

func (r Resources) withDefaults() Resources {
	if r == (Resources{}) {
		return Resources{CPUs: 4, Mem: 8192, Disk: 102400, Ports: "31000-32000"}
	}
	return r
}
