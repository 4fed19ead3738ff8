package marathond

import (
	"cmp"
	"slices"
	"time"
)

// addInstance makes a scheduled instance: wanted, not placed yet.
func (s *Server) addInstance(now time.Time, a *app) {
	s.m.Seq++
	i := &instance{
		ID: s.opt.Emulate.newInstanceID(a.id()), App: a.id(), Seq: s.m.Seq, Incarnation: 1,
		Goal: goalRunning, RunSpecVersion: a.Version,
	}
	s.m.Instances[i.ID] = i
	s.setCondition(now, i, condScheduled)
}

// setCondition changes a condition and announces it.
func (s *Server) setCondition(now time.Time, i *instance, condition string) {
	if i.Condition == condition {
		return
	}
	i.Condition, i.Since = condition, now
	s.announceInstance(now, i, condition)
}

func (s *Server) announceInstance(now time.Time, i *instance, condition string) {
	fields := tree{"instanceId": i.ID, "condition": condition, "runSpecId": i.App, "runSpecVersion": i.RunSpecVersion, "agentId": nil, "host": nil}
	if t := s.taskOf(i); t != nil {
		fields["agentId"], fields["host"] = t.Agent, t.Host
	}
	s.publish(now, "instance_changed_event", fields)
}

func (s *Server) taskOf(i *instance) *mesosTask {
	if i.TaskID == "" {
		return nil
	}
	return s.m.Tasks[i.TaskID]
}

// decommission makes an instance unwanted and ends it.
func (s *Server) decommission(now time.Time, i *instance) {
	if i.Goal == goalDecommissioned && !i.terminal() {
		return
	}
	i.Goal = goalDecommissioned
	s.endInstance(now, i)
}

// endInstance ends what runs of an instance. One that is not placed, or that nobody can reach, is forgotten at once.
func (s *Server) endInstance(now time.Time, i *instance) {
	if i.terminal() {
		s.forget(now, i)
		return
	}
	if t := s.taskOf(i); t != nil {
		i.KilledAt = now
		s.askKill(now, t)
	}
}

// forget drops an instance; a wanted one is replaced. Its task, if it lives somewhere, becomes unknown to Marathon.
func (s *Server) forget(now time.Time, i *instance) {
	delete(s.m.Instances, i.ID)
	if a := s.m.app(i.App); a != nil && i.Goal == goalRunning {
		s.addInstance(now, a)
	}
}

// ready tells whether an instance counts as up: running, and healthy and ready if the app has checks.
func (s *Server) ready(i *instance, a *app) bool {
	if i.Condition != condRunning {
		return false
	}
	if len(a.spec.HealthChecks) > 0 && !i.healthy(len(a.spec.HealthChecks)) {
		return false
	}
	return len(a.spec.ReadinessChecks) == 0 || i.readiness != nil && i.readiness.Ready
}

// healthy means that every check has a result and is alive.
func (i *instance) healthy(checks int) bool {
	for n := range checks {
		if r := i.health[n]; r == nil || !r.Alive {
			return false
		}
	}
	return true
}

// unhealthy means that a check is not alive.
func (i *instance) unhealthy() bool {
	for _, r := range i.health {
		if !r.Alive {
			return true
		}
	}
	return false
}

// victims picks n instances to end when scaling down: those not placed, unreachable or starting first, then the groups
// of a GROUP_BY that have too many, then by killSelection.
func (s *Server) victims(a *app, from []*instance, n int) []*instance {
	if n <= 0 {
		return nil
	}
	left := slices.Clone(from)
	var out []*instance
	for range min(n, len(left)) {
		v := s.nextVictim(a, left)
		out = append(out, v)
		left = slices.DeleteFunc(left, func(i *instance) bool { return i == v })
	}
	return out
}

func (s *Server) nextVictim(a *app, left []*instance) *instance {
	size := s.groupSize(a, left)
	return slices.MinFunc(left, func(x, y *instance) int {
		if c := cmp.Compare(killRank(x), killRank(y)); c != 0 {
			return c
		}
		if c := cmp.Compare(size(y), size(x)); c != 0 {
			return c
		}
		return byAge(a.spec.KillSelection, x, y)
	})
}

// restartVictims picks the old instances a restart ends: unhealthy ones first.
func (s *Server) restartVictims(a *app, from []*instance, n int) []*instance {
	if n <= 0 {
		return nil
	}
	sorted := slices.Clone(from)
	slices.SortStableFunc(sorted, func(x, y *instance) int {
		if c := cmp.Compare(killRank(x), killRank(y)); c != 0 {
			return c
		}
		if x.unhealthy() != y.unhealthy() {
			return map[bool]int{true: -1, false: 1}[x.unhealthy()]
		}
		return byAge(a.spec.KillSelection, x, y)
	})
	return sorted[:min(n, len(sorted))]
}

func killRank(i *instance) int {
	switch i.Condition {
	case condScheduled:
		return 0
	case condUnreachable, condInactive:
		return 1
	case condProvisioned, condStaging, condStarting:
		return 2
	}
	return 3
}

func byAge(selection string, x, y *instance) int {
	if selection == "OLDEST_FIRST" {
		return cmp.Compare(x.Seq, y.Seq)
	}
	return cmp.Compare(y.Seq, x.Seq)
}

// groupSize counts how many instances share an instance's group of the app's first GROUP_BY; without one all are equal.
func (s *Server) groupSize(a *app, all []*instance) func(*instance) int {
	idx := slices.IndexFunc(a.spec.Constraints, func(c []string) bool { return c[1] == "GROUP_BY" })
	if idx < 0 {
		return func(*instance) int { return 0 }
	}
	field := a.spec.Constraints[idx][0]
	group := func(i *instance) string {
		t := s.taskOf(i)
		if t == nil {
			return ""
		}
		got, _ := s.placeOf(t.Agent).field(field, s.opt.Emulate)
		return got
	}
	count := map[string]int{}
	for _, i := range all {
		count[group(i)]++
	}
	return func(i *instance) int { return count[group(i)] }
}

// lookAtInstances does what time alone brings: unreachable ones become inactive or are expunged, and unconfirmed kills
// are repeated.
func (s *Server) lookAtInstances(now time.Time) {
	for _, i := range s.sortedInstances() {
		a := s.m.app(i.App)
		switch {
		case i.unreachable() && a != nil && !a.spec.Unreachable.Disabled:
			s.ageUnreachable(now, i, a)
		case !i.KilledAt.IsZero() && !i.terminal():
			s.repeatKill(now, i)
		}
	}
}

func (s *Server) sortedInstances() []*instance {
	var out []*instance
	for _, i := range s.m.Instances {
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b *instance) int { return cmp.Compare(a.Seq, b.Seq) })
	return out
}

func (s *Server) ageUnreachable(now time.Time, i *instance, a *app) {
	expunge := i.UnreachableSince.Add(s.opt.Timing.seconds(a.spec.Unreachable.ExpungeAfter))
	inactive := i.UnreachableSince.Add(s.opt.Timing.seconds(a.spec.Unreachable.InactiveAfter))
	if !now.Before(expunge) {
		replaced := i.Condition == condInactive
		delete(s.m.Instances, i.ID)
		if !replaced && i.Goal == goalRunning {
			s.addInstance(now, a)
		}
		return
	}
	s.wakeBy(expunge)
	if i.Condition == condInactive {
		return
	}
	if now.Before(inactive) {
		s.wakeBy(inactive)
		return
	}
	s.setCondition(now, i, condInactive)
	if i.Goal == goalRunning {
		s.addInstance(now, a)
	}
}

func (s *Server) repeatKill(now time.Time, i *instance) {
	next := i.KilledAt.Add(s.opt.Timing.KillRetry)
	if now.Before(next) {
		s.wakeBy(next)
		return
	}
	if t := s.taskOf(i); t != nil {
		i.KilledAt = now
		s.askKill(now, t)
		s.wakeBy(now.Add(s.opt.Timing.KillRetry))
	}
}

// scaleCheck compares counts with the definitions for apps that no deployment holds, and ends what belongs to no app.
func (s *Server) scaleCheck(now time.Time) {
	for _, id := range s.m.appIDs() {
		if !s.underDeployment(id) {
			s.matchCount(now, s.m.app(id))
		}
	}
	for _, i := range s.sortedInstances() {
		if s.m.app(i.App) == nil && !s.underDeployment(i.App) {
			s.decommission(now, i)
		}
	}
}

func (s *Server) underDeployment(id string) bool {
	return slices.ContainsFunc(s.m.Deployments, func(d *deployment) bool { return d.affects(id) })
}
