package marathond

import (
	"fmt"
	"slices"
	"time"
)

func (s *Server) condition(agentID string) *agentCondition {
	c := s.m.Agents[agentID]
	if c == nil {
		c = &agentCondition{}
		s.m.Agents[agentID] = c
	}
	return c
}

func (s *Server) agentByName(name string) (*agent, error) {
	for _, a := range s.agents {
		if a.ID == name || a.Hostname == name {
			return a, nil
		}
	}
	return nil, fmt.Errorf("there is no agent with the id or hostname %q", name)
}

// launch gives an instance a task on an agent. The process starts after the state is saved.
func (s *Server) launch(now time.Time, a *app, i *instance, ag *agent, ports []int) {
	t := &mesosTask{
		ID: s.opt.Emulate.taskID(i.ID, i.Incarnation), App: a.id(), Instance: i.ID, Agent: ag.ID, Host: ag.Hostname, IP: ag.IP,
		Ports: ports, CPUs: a.spec.CPUs, Mem: a.spec.Mem, Disk: a.spec.Disk, Version: a.Version,
		Actual: taskStaging, StagedAt: stamp(now), GraceMilli: s.grace(a).Milliseconds(),
	}
	t.Folder = s.taskFolder(t.ID)
	s.m.Tasks[t.ID] = t
	i.TaskID, i.RunSpecVersion = t.ID, a.Version
	s.setCondition(now, i, condProvisioned)
	s.masterSays(now, t, taskStaging, "")
	s.afterSave(func() { s.startTask(t, a, ag) })
}

func (s *Server) grace(a *app) time.Duration {
	if a.spec.KillGrace != nil {
		return s.opt.Timing.seconds(*a.spec.KillGrace)
	}
	return s.opt.Timing.KillGrace
}

// agentSays is what an agent knows of a task. The master hears it at once, or when the agent is back.
func (s *Server) agentSays(now time.Time, t *mesosTask, state, message string) {
	if terminalState(t.Actual) {
		return
	}
	t.Actual, t.Message = state, message
	if s.condition(t.Agent).reachable() {
		s.masterSays(now, t, state, message)
	}
}

// masterSays changes the master's view of a task and tells Marathon.
func (s *Server) masterSays(now time.Time, t *mesosTask, state, message string) {
	t.State, t.Message = state, message
	t.Statuses = append(t.Statuses, taskStatus{State: state, Message: message, Timestamp: now, Healthy: t.Healthy})
	if state == taskRunning && t.StartedAt == "" {
		t.StartedAt = stamp(now)
	}
	if terminalState(state) {
		s.complete(t)
	}
	s.hear(now, t, message)
}

// complete moves a task to the master's bounded list of finished ones.
func (s *Server) complete(t *mesosTask) {
	delete(s.m.Tasks, t.ID)
	s.m.Completed = append(s.m.Completed, t)
	for len(s.m.Completed) > maxCompleted {
		old := s.m.Completed[0]
		s.m.Completed = s.m.Completed[1:]
		s.afterSave(func() { s.removeSandbox(old) })
	}
}

// hear is Marathon's side of a status update.
func (s *Server) hear(now time.Time, t *mesosTask, message string) {
	i := s.m.Instances[t.Instance]
	if i == nil || i.TaskID != t.ID {
		s.hearUnknown(now, t)
		return
	}
	s.publish(now, "status_update_event", s.statusJSON(t, message))
	if terminalState(t.State) {
		s.instanceEnded(now, i, t, message)
		return
	}
	s.setCondition(now, i, conditionOf(t.State))
	if t.State == taskUnreachable {
		s.instanceUnreachable(now, i)
		return
	}
	i.UnreachableSince = time.Time{}
	if i.Goal == goalDecommissioned && t.State != taskKilling && !i.KilledAt.IsZero() && t.State == taskRunning {
		s.askKill(now, t)
	}
}

// hearUnknown ends a task that Marathon does not know any more, as it does when an expunged one comes back.
func (s *Server) hearUnknown(now time.Time, t *mesosTask) {
	if terminalState(t.State) {
		s.publish(now, "unknown_instance_terminated_event", tree{"instanceId": t.Instance, "runSpecId": t.App, "condition": conditionOf(t.State)})
		return
	}
	if t.State != taskUnreachable && t.State != taskKilling {
		s.askKill(now, t)
	}
}

func (s *Server) statusJSON(t *mesosTask, message string) tree {
	return tree{
		"slaveId": t.Agent, "taskId": t.ID, "taskStatus": t.State, "message": message, "appId": t.App, "host": t.Host,
		"ipAddresses": t.addresses(), "ports": t.portsJSON(), "version": t.Version,
	}
}

func (t *mesosTask) addresses() []any {
	return []any{tree{"ipAddress": t.IP, "protocol": "IPv4"}}
}

func (t *mesosTask) portsJSON() []int { return append([]int{}, t.Ports...) }

func conditionOf(state string) string {
	switch state {
	case taskStaging:
		return condProvisioned
	case taskStarting:
		return condStarting
	case taskRunning:
		return condRunning
	case taskKilling:
		return condKilling
	case taskUnreachable:
		return condUnreachable
	case taskFinished:
		return "Finished"
	case taskKilled:
		return "Killed"
	case taskGone, taskGoneByOp:
		return "Gone"
	case taskDropped:
		return "Dropped"
	}
	return "Failed"
}

func (s *Server) instanceUnreachable(now time.Time, i *instance) {
	i.UnreachableSince = now
	if i.Goal == goalDecommissioned {
		s.forget(now, i)
	}
}

// instanceEnded books the end of an instance's task: a wanted one is scheduled again, the same instance with the next
// incarnation since 1.8.
func (s *Server) instanceEnded(now time.Time, i *instance, t *mesosTask, message string) {
	s.announceInstance(now, i, conditionOf(t.State))
	a := s.m.app(i.App)
	s.bookFailure(now, i, t, a, message)
	i.TaskID, i.health, i.readiness = "", nil, nil
	i.KilledAt, i.KillReason = time.Time{}, ""
	switch {
	case a == nil || i.Goal == goalDecommissioned:
		delete(s.m.Instances, i.ID)
		if i.Replace && a != nil {
			s.addInstance(now, a)
		}
	case s.opt.Emulate == V15:
		delete(s.m.Instances, i.ID)
		s.addInstance(now, a)
	default:
		i.Incarnation++
		i.RunSpecVersion = a.Version
		s.setCondition(now, i, condScheduled)
	}
}

func (s *Server) bookFailure(now time.Time, i *instance, t *mesosTask, a *app, message string) {
	if a == nil {
		return
	}
	killedByHealth := i.KillReason != ""
	if killedByHealth {
		message = i.KillReason
	}
	if t.State == taskKilled && !killedByHealth {
		return
	}
	if t.State != taskKilled && !s.stopping {
		s.backOff(now, a)
	}
	if t.State == taskFinished {
		return
	}
	s.m.Failures[a.id()] = &taskFailure{
		AppID: a.id(), Host: t.Host, Message: message, State: t.State, TaskID: t.ID, Timestamp: stamp(now), Version: t.Version, SlaveID: t.Agent,
	}
}

// askKill asks a task's agent to end it. An agent that is cut off does not hear it; it is asked again when it is back.
func (s *Server) askKill(now time.Time, t *mesosTask) {
	t.KillAsked = true
	if !s.condition(t.Agent).reachable() {
		return
	}
	if s.faults.ignoresKill(t.App) {
		return
	}
	if t.Actual != taskKilling {
		s.agentSays(now, t, taskKilling, "")
	}
	delay, grace := s.faults.killDelay(t.App), time.Duration(t.GraceMilli)*time.Millisecond
	s.afterSave(func() { s.signalKill(t, delay, grace) })
}

// partition cuts an agent off: the master loses sight of it, its tasks run on.
func (s *Server) partition(now time.Time, a *agent) {
	s.condition(a.ID).Partitioned = true
	s.lose(now, a, "Agent "+a.ID+" is unreachable")
}

func (s *Server) lose(now time.Time, a *agent, message string) {
	for _, t := range s.tasksOf(a.ID) {
		if t.State != taskUnreachable {
			s.masterSays(now, t, taskUnreachable, message)
		}
	}
}

func (s *Server) tasksOf(agentID string) []*mesosTask {
	var out []*mesosTask
	for _, t := range s.m.Tasks {
		if t.Agent == agentID {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b *mesosTask) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return out
}

// powerOff kills everything on an agent at once; the master only notices its silence.
func (s *Server) powerOff(now time.Time, a *agent) {
	s.condition(a.ID).Off = true
	s.lose(now, a, "Agent "+a.ID+" is unreachable")
	for _, t := range s.tasksOf(a.ID) {
		t.Actual = taskGone
		t.Message = "Executor terminated: the agent was rebooted"
		s.afterSave(func() { s.signalKill(t, 0, 0) })
	}
}

// returnAgent brings an agent back. It reports its tasks as they are by now.
func (s *Server) returnAgent(now time.Time, a *agent) error {
	c := s.condition(a.ID)
	if c.Gone {
		return fmt.Errorf("agent %s was marked gone and cannot come back under this id", a.ID)
	}
	*c = agentCondition{}
	for _, t := range s.tasksOf(a.ID) {
		s.masterSays(now, t, t.Actual, t.Message)
		if i := s.m.Instances[t.Instance]; t.KillAsked && i != nil && i.TaskID == t.ID && !terminalState(t.State) {
			s.askKill(now, t)
		}
	}
	return nil
}

// markGone is the operator's word that an agent will never come back. Its processes, if any, are not touched.
func (s *Server) markGone(now time.Time, a *agent) {
	s.condition(a.ID).Gone = true
	for _, t := range s.tasksOf(a.ID) {
		s.masterSays(now, t, taskGoneByOp, "Agent "+a.ID+" was marked as gone by the operator")
	}
}
