package marathond

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// model is everything that survives a restart.
type model struct {
	FrameworkID string                     `json:"frameworkId"`
	LastVersion string                     `json:"lastVersion"`
	RootVersion string                     `json:"rootVersion"`
	Apps        map[string]*appHistory     `json:"apps"`
	Groups      map[string]bool            `json:"groups"` // groups made explicitly, which may be empty
	Instances   map[string]*instance       `json:"instances"`
	Tasks       map[string]*mesosTask      `json:"tasks"`     // known to an agent as not terminal, or unreachable
	Completed   []*mesosTask               `json:"completed"` // terminal, oldest first, at most maxCompleted
	Deployments []*deployment              `json:"deployments"`
	Agents      map[string]*agentCondition `json:"agents"`
	Failures    map[string]*taskFailure    `json:"failures"`
	Seq         int                        `json:"seq"`
}

const (
	maxCompleted = 200 // a Mesos master keeps 1000 per framework; here every change writes them all
	maxVersions  = 50
)

func newModel() *model {
	return &model{
		Apps: map[string]*appHistory{}, Groups: map[string]bool{}, Instances: map[string]*instance{},
		Tasks: map[string]*mesosTask{}, Agents: map[string]*agentCondition{}, Failures: map[string]*taskFailure{},
	}
}

// appHistory is an app and its stored versions, newest first; the first is current.
type appHistory struct {
	Versions []*app `json:"versions"`
}

func (m *model) app(id string) *app {
	h := m.Apps[id]
	if h == nil {
		return nil
	}
	return h.Versions[0]
}

func (m *model) appIDs() []string { return slices.Sorted(maps.Keys(m.Apps)) }

// goal is what Marathon wants of an instance.
type goal string

const (
	goalRunning        goal = "Running"
	goalDecommissioned goal = "Decommissioned"
)

// Conditions of an instance, as instance_changed_event names them.
const (
	condScheduled   = "Scheduled"
	condProvisioned = "Provisioned"
	condStaging     = "Staging"
	condStarting    = "Starting"
	condRunning     = "Running"
	condKilling     = "Killing"
	condUnreachable = "Unreachable"
	condInactive    = "UnreachableInactive"
)

// instance is Marathon's view of one instance of an app.
type instance struct {
	ID               string    `json:"id"`
	App              string    `json:"app"`
	Seq              int       `json:"seq"` // order of creation
	Incarnation      int       `json:"incarnation"`
	Goal             goal      `json:"goal"`
	Condition        string    `json:"condition"`
	RunSpecVersion   string    `json:"runSpecVersion"`
	TaskID           string    `json:"taskId,omitempty"` // empty while scheduled
	Since            time.Time `json:"since"`            // of the condition
	UnreachableSince time.Time `json:"unreachableSince,omitzero"`
	KillReason       string    `json:"killReason,omitempty"`
	Replace          bool      `json:"replace,omitempty"` // wiped: a new instance takes its place when it has ended
	KilledAt         time.Time `json:"killedAt,omitzero"` // when the last kill was sent

	health    map[int]*checkResult // by index of the health check; lost on a restart, as Marathon's is
	readiness *readinessResult
}

// active instances are wanted and count for the app's size.
func (i *instance) active() bool { return i.Goal == goalRunning && i.Condition != condInactive }

// terminal is what deployments consider gone: nothing runs, or nobody can tell.
func (i *instance) terminal() bool { return i.unreachable() || i.Condition == condScheduled }

func (i *instance) unreachable() bool {
	return i.Condition == condUnreachable || i.Condition == condInactive
}

// instances of an app, oldest first.
func (m *model) instances(app string) []*instance {
	var out []*instance
	for _, i := range m.Instances {
		if i.App == app {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b *instance) int { return cmp.Compare(a.Seq, b.Seq) })
	return out
}

func keep[T any](in []T, f func(T) bool) []T {
	var out []T
	for _, v := range in {
		if f(v) {
			out = append(out, v)
		}
	}
	return out
}

// taskFailure is lastTaskFailure of an app.
type taskFailure struct {
	AppID     string `json:"appId"`
	Host      string `json:"host"`
	Message   string `json:"message"`
	State     string `json:"state"`
	TaskID    string `json:"taskId"`
	Timestamp string `json:"timestamp"`
	Version   string `json:"version"`
	SlaveID   string `json:"slaveId"`
}

// mesosTask is the master's and the agent's view of one launched task.
type mesosTask struct {
	ID         string       `json:"id"`
	App        string       `json:"app"`
	Instance   string       `json:"instance"`
	Agent      string       `json:"agent"`
	Host       string       `json:"host"`
	IP         string       `json:"ip"`
	Ports      []int        `json:"ports"`
	CPUs       float64      `json:"cpus"`
	Mem        float64      `json:"mem"`
	Disk       float64      `json:"disk"`
	Version    string       `json:"version"`
	State      string       `json:"state"`  // as the master knows it
	Actual     string       `json:"actual"` // as it is at the agent; differs during a partition
	Message    string       `json:"message,omitempty"`
	StagedAt   string       `json:"stagedAt"`
	StartedAt  string       `json:"startedAt,omitempty"`
	Healthy    *bool        `json:"healthy,omitempty"` // the health bit of a Mesos-executed check
	KillAsked  bool         `json:"killAsked,omitempty"`
	Statuses   []taskStatus `json:"statuses"`
	Folder     string       `json:"folder"`
	GraceMilli int64        `json:"graceMilli"`
}

type taskStatus struct {
	State     string    `json:"state"`
	Message   string    `json:"message,omitempty"`
	Timestamp time.Time `json:"timestamp"`
	Healthy   *bool     `json:"healthy,omitempty"`
}

// Task states of Mesos.
const (
	taskStaging     = "TASK_STAGING"
	taskStarting    = "TASK_STARTING"
	taskRunning     = "TASK_RUNNING"
	taskKilling     = "TASK_KILLING"
	taskFinished    = "TASK_FINISHED"
	taskFailed      = "TASK_FAILED"
	taskKilled      = "TASK_KILLED"
	taskUnreachable = "TASK_UNREACHABLE"
	taskGone        = "TASK_GONE"
	taskGoneByOp    = "TASK_GONE_BY_OPERATOR"
	taskDropped     = "TASK_DROPPED"
)

func terminalState(s string) bool {
	switch s {
	case taskFinished, taskFailed, taskKilled, taskGone, taskGoneByOp, taskDropped:
		return true
	}
	return false
}

// agentCondition is what a fault switch did to an agent.
type agentCondition struct {
	Partitioned bool `json:"partitioned,omitempty"` // silent: not in /slaves, its tasks unreachable
	Gone        bool `json:"gone,omitempty"`        // marked gone by the operator; final for this agent id
	Off         bool `json:"off,omitempty"`         // powered off: silent, and its tasks are dead
}

func (a *agentCondition) reachable() bool { return !a.Partitioned && !a.Gone && !a.Off }
