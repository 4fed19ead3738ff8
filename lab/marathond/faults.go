package marathond

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// HTTPFault makes the Marathon API misbehave for requests that match. Empty matches mean all.
type HTTPFault struct {
	// Method and Path select requests; Path is a prefix.
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"`
	// Times is how many requests are hit; 0 means until cleared.
	Times int `json:"times,omitempty"`
	// Delay passes before anything else happens.
	Delay Duration `json:"delay,omitempty"`
	// Status answers with this code instead of serving; 0 serves (after the delay).
	Status int `json:"status,omitempty"`
	// HTML makes the answer a page, as a proxy in between would send. With Status 0 it is a 200.
	HTML bool `json:"html,omitempty"`
	// Cut serves the request and then closes the connection without an answer.
	Cut bool `json:"cut,omitempty"`
}

// KillFault makes agents slow or deaf to kills.
type KillFault struct {
	// App limits the fault to one app; empty means all.
	App string `json:"app,omitempty"`
	// Ignore lets nothing happen at all: no TASK_KILLING, no signal. A repeated kill works once the fault is cleared.
	Ignore bool `json:"ignore,omitempty"`
	// Delay passes between TASK_KILLING and the first signal.
	Delay Duration `json:"delay,omitempty"`
}

// Duration is a time.Duration that JSON shows as text, such as "1.5s".
type Duration time.Duration

// MarshalText prints the duration as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}

// faults are the switches that are on. They do not survive a restart; what was done to agents does.
type faults struct {
	mu       sync.Mutex
	http     []*HTTPFault
	kill     []KillFault
	election time.Time // until when there is no leader
}

// InjectHTTP adds a fault of the Marathon API.
func (s *Server) InjectHTTP(f HTTPFault) { s.faults.inject(f) }

func (f *faults) inject(h HTTPFault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.http = append(f.http, &h)
}

// InjectKill adds a fault of killing.
func (s *Server) InjectKill(k KillFault) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.kill = append(s.faults.kill, k)
}

// ClearFaults ends all faults of HTTP, killing and event streams. Agents stay as they are. Kills that were ignored
// are sent again.
func (s *Server) ClearFaults() error {
	s.faults.clear()
	s.hub.stall(false)
	return s.update(func(now time.Time) error {
		for _, i := range s.sortedInstances() {
			if t := s.taskOf(i); t != nil && t.KillAsked {
				s.askKill(now, t)
			}
		}
		return nil
	})
}

func (f *faults) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.http, f.kill, f.election = nil, nil, time.Time{}
}

func (f *faults) killFault(app string) KillFault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range f.kill {
		if k.App == "" || k.App == app {
			return k
		}
	}
	return KillFault{}
}

func (f *faults) ignoresKill(app string) bool        { return f.killFault(app).Ignore }
func (f *faults) killDelay(app string) time.Duration { return time.Duration(f.killFault(app).Delay) }

// take gives the fault that hits a request, and uses it up.
func (f *faults) take(r *http.Request) *HTTPFault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n, h := range f.http {
		if h.Method != "" && h.Method != r.Method || !strings.HasPrefix(r.URL.Path, h.Path) {
			continue
		}
		hit := *h
		if h.Times == 1 {
			f.http = append(f.http[:n:n], f.http[n+1:]...)
		} else if h.Times > 1 {
			h.Times--
		}
		return &hit
	}
	return nil
}

func (f *faults) noLeader() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Before(f.election)
}

// ChangeLeader closes all event streams, answers without a leader for a while, and forgets what a new leader does not
// know: health, readiness, backoff and queue statistics.
func (s *Server) ChangeLeader(away time.Duration) error {
	s.faults.mu.Lock()
	s.faults.election = time.Now().Add(away)
	s.faults.mu.Unlock()
	s.hub.drop()
	return s.update(func(time.Time) error {
		s.queue = map[string]*queueEntry{}
		for _, i := range s.m.Instances {
			i.health, i.readiness = nil, nil
		}
		return nil
	})
}

// StallEvents makes the event streams silent, heartbeats included, while they stay open; or ends that.
func (s *Server) StallEvents(on bool) { s.hub.stall(on) }

// DropEvents closes all event streams.
func (s *Server) DropEvents() { s.hub.drop() }

// PartitionAgent cuts an agent, named by id or hostname, off: it leaves /slaves, its tasks become TASK_UNREACHABLE, and
// their processes run on.
func (s *Server) PartitionAgent(name string) error {
	return s.onAgent(name, func(now time.Time, a *agent) error { s.partition(now, a); return nil })
}

// PowerOffAgent kills everything on an agent at once. Like a real master, this one only sees it fall silent; the tasks'
// end is known when it returns.
func (s *Server) PowerOffAgent(name string) error {
	return s.onAgent(name, func(now time.Time, a *agent) error { s.powerOff(now, a); return nil })
}

// ReturnAgent brings an agent back that was cut off or powered off.
func (s *Server) ReturnAgent(name string) error { return s.onAgent(name, s.returnAgent) }

// MarkAgentGone is the operator's word that an agent never comes back: its tasks become TASK_GONE_BY_OPERATOR. Whether
// their processes still run is another matter, and this does not end them.
func (s *Server) MarkAgentGone(name string) error {
	return s.onAgent(name, func(now time.Time, a *agent) error { s.markGone(now, a); return nil })
}

func (s *Server) onAgent(name string, f func(time.Time, *agent) error) error {
	return s.update(func(now time.Time) error {
		a, err := s.agentByName(name)
		if err != nil {
			return err
		}
		return f(now, a)
	})
}

// FaultRequest is the body of POST /lab/faults.
type FaultRequest struct {
	// Fault is one of agent-partition, agent-power-off, agent-return, agent-gone (with Agent), kill (with Kill), http
	// (with HTTP), events-stall, events-resume, events-drop, leader-change (with For).
	Fault string     `json:"fault"`
	Agent string     `json:"agent,omitempty"`
	Kill  *KillFault `json:"kill,omitempty"`
	HTTP  *HTTPFault `json:"http,omitempty"`
	For   Duration   `json:"for,omitempty"`
}

// Inject carries out one fault request.
func (s *Server) Inject(r FaultRequest) error {
	switch r.Fault {
	case "agent-partition":
		return s.PartitionAgent(r.Agent)
	case "agent-power-off":
		return s.PowerOffAgent(r.Agent)
	case "agent-return":
		return s.ReturnAgent(r.Agent)
	case "agent-gone":
		return s.MarkAgentGone(r.Agent)
	case "events-stall", "events-resume":
		s.StallEvents(r.Fault == "events-stall")
		return nil
	case "events-drop":
		s.DropEvents()
		return nil
	case "leader-change":
		return s.ChangeLeader(time.Duration(r.For))
	}
	return s.injectDetailed(r)
}

func (s *Server) injectDetailed(r FaultRequest) error {
	switch {
	case r.Fault == "kill" && r.Kill != nil:
		s.InjectKill(*r.Kill)
	case r.Fault == "http" && r.HTTP != nil:
		s.InjectHTTP(*r.HTTP)
	default:
		return fmt.Errorf("no such fault: %q", r.Fault)
	}
	return nil
}
