package marathond

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"
)

// Reasons for which an offer is refused, in the order in which they are checked.
var rejectReasons = []string{
	"UnfulfilledRole", "UnfulfilledConstraint", "NoCorrespondingReservationFound", "AgentMaintenance", "InsufficientCpus",
	"InsufficientMemory", "InsufficientDisk", "InsufficientGpus", "InsufficientPorts", "DeclinedScarceResources",
}

// agent is a configured agent with its values parsed.
type agent struct {
	Agent
	place place
	ports []portInterval
	total Resources
}

func newAgent(a Agent, n int) (*agent, error) {
	if a.Hostname == "" {
		return nil, fmt.Errorf("agent %d: hostname is required", n)
	}
	if a.ID == "" {
		a.ID = fmt.Sprintf("lab-%s-S0", a.Hostname)
	}
	if a.IP == "" {
		a.IP = "127.0.0.1"
	}
	out := &agent{Agent: a, total: a.Resources.withDefaults()}
	out.place = place{hostname: a.Hostname, region: a.Region, zone: a.Zone}
	var err error
	if out.ports, err = parseRanges(out.total.Ports); err != nil {
		return nil, fmt.Errorf("agent %s: ports: %w", a.Hostname, err)
	}
	for _, at := range a.Attributes {
		v, err := parseValue(at.Value)
		if err != nil {
			return nil, fmt.Errorf("agent %s: attribute %s: %w", a.Hostname, at.Name, err)
		}
		out.place.attributes = append(out.place.attributes, namedValue{at.Name, v})
	}
	return out, nil
}

func newAgents(configured []Agent) ([]*agent, error) {
	var out []*agent
	for n, c := range configured {
		a, err := newAgent(c, n)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(o *agent) bool { return o.ID == a.ID }) {
			return nil, fmt.Errorf("agent %s: the id %s is used twice", a.Hostname, a.ID)
		}
		out = append(out, a)
	}
	return out, nil
}

// offer is what an agent has left.
type offer struct {
	agent *agent
	free  Resources
	taken map[int]bool // ports in use at the agent's address
}

// offers of all agents that can be reached, first configured first.
func (s *Server) offers() []offer {
	var out []offer
	for _, a := range s.agents {
		if s.condition(a.ID).reachable() {
			out = append(out, s.offerOf(a))
		}
	}
	return out
}

func (s *Server) offerOf(a *agent) offer {
	o := offer{agent: a, free: a.total, taken: map[int]bool{}}
	for _, t := range s.m.Tasks {
		if t.Agent == a.ID && !terminalState(t.Actual) {
			o.free.CPUs -= t.CPUs
			o.free.Mem -= t.Mem
			o.free.Disk -= t.Disk
		}
		if t.IP == a.IP && !terminalState(t.Actual) {
			for _, p := range t.Ports {
				o.taken[p] = true
			}
		}
	}
	return o
}

func (s *Server) placeOf(agentID string) place {
	for _, a := range s.agents {
		if a.ID == agentID {
			return a.place
		}
	}
	return place{}
}

// placed are where the instances are that constraints count: of the current configuration, placed and not lost.
func (s *Server) placed(a *app) []place {
	var out []place
	for _, i := range s.m.instances(a.id()) {
		if i.terminal() || i.RunSpecVersion < a.LastConfigChangeAt {
			continue
		}
		if t := s.taskOf(i); t != nil {
			out = append(out, s.placeOf(t.Agent))
		}
	}
	return out
}

// match decides whether an app fits an offer: the ports it would get, or the reason why not.
func (v Version) match(sp *spec, o offer, placed []place, free func(ip string, port int) bool) ([]int, string) {
	if len(sp.Roles) > 0 && !slices.Contains(sp.Roles, "*") {
		return nil, "UnfulfilledRole"
	}
	for _, c := range sp.Constraints {
		if !v.meets(c, o.agent.place, placed, sp.Instances) {
			return nil, "UnfulfilledConstraint"
		}
	}
	const rounding = 1e-9
	switch {
	case sp.CPUs > o.free.CPUs+rounding:
		return nil, "InsufficientCpus"
	case sp.Mem > o.free.Mem+rounding:
		return nil, "InsufficientMemory"
	case sp.Disk > o.free.Disk+rounding:
		return nil, "InsufficientDisk"
	case sp.GPUs > o.free.GPUs:
		return nil, "InsufficientGpus"
	}
	ports, ok := choosePorts(sp.hostPorts(), o, free)
	if !ok {
		return nil, "InsufficientPorts"
	}
	return ports, ""
}

// choosePorts takes the wanted ports, and any free one for 0.
func choosePorts(want []int, o offer, free func(ip string, port int) bool) ([]int, bool) {
	out := make([]int, len(want))
	used := map[int]bool{}
	for i, p := range want {
		if p == 0 {
			continue
		}
		if o.taken[p] || used[p] || !inRanges(o.agent.ports, p) {
			return nil, false
		}
		out[i], used[p] = p, true
	}
	for i, p := range want {
		if p != 0 {
			continue
		}
		got, ok := anyPort(o, used, free)
		if !ok {
			return nil, false
		}
		out[i], used[got] = got, true
	}
	return out, true
}

func anyPort(o offer, used map[int]bool, free func(ip string, port int) bool) (int, bool) {
	for _, r := range o.agent.ports {
		for p := r.begin; p <= r.end; p++ {
			if !o.taken[p] && !used[p] && free(o.agent.IP, p) {
				return p, true
			}
		}
	}
	return 0, false
}

func inRanges(rs []portInterval, p int) bool {
	return slices.ContainsFunc(rs, func(r portInterval) bool { return r.begin <= p && p <= r.end })
}

// portFree asks the system, because others than the lab's tasks use the machine's ports as well.
func portFree(ip string, port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port))) //nolint:noctx // taking a port does not wait
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// schedule places every scheduled instance that fits somewhere and is not held back.
func (s *Server) schedule(now time.Time) {
	for _, id := range s.m.appIDs() {
		for _, i := range s.m.instances(id) {
			if i.Condition == condScheduled && i.Goal == goalRunning && !s.heldBack(now, id) {
				s.placeInstance(now, s.m.app(id), i)
			}
		}
	}
}

func (s *Server) heldBack(now time.Time, id string) bool {
	until := s.queueOf(now, id).backoffUntil
	if s.stopping || now.Before(until) {
		s.wakeBy(until)
		return true
	}
	return false
}

// placeInstance offers every agent to one instance and launches it at the first that fits.
func (s *Server) placeInstance(now time.Time, a *app, i *instance) {
	q := s.queueOf(now, a.id())
	placed := s.placed(a)
	q.beginRound()
	for _, o := range s.offers() {
		ports, reason := s.opt.Emulate.match(a.spec, o, placed, portFree)
		q.record(now, o, reason)
		if reason == "" {
			s.launch(now, a, i, o.agent, ports)
			return
		}
	}
	s.wakeBy(now.Add(s.opt.Timing.Offers))
}
