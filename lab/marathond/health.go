package marathond

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// checkResult is what is known of one health check of one instance.
type checkResult struct {
	Alive               bool
	ConsecutiveFailures int
	FirstSuccess        time.Time
	LastSuccess         time.Time
	LastFailure         time.Time
	LastFailureCause    string
}

// readinessResult is the last answer of a readiness check.
type readinessResult struct {
	Name   string
	Ready  bool
	Status int
	Type   string
	Body   string
}

// byMesos tells checks that the executor runs from those that Marathon runs.
func (h healthCheck) byMesos() bool {
	return h.Protocol == "COMMAND" || strings.HasPrefix(h.Protocol, "MESOS_")
}

// wantedProbes are the checks that should be running now.
func (s *Server) wantedProbes() map[string]func(context.Context) {
	wanted := map[string]func(context.Context){}
	for _, i := range s.m.Instances {
		a, t := s.m.app(i.App), s.taskOf(i)
		if a == nil || t == nil || i.Condition != condRunning {
			continue
		}
		for n, h := range a.spec.HealthChecks {
			wanted[fmt.Sprintf("%s health %d", t.ID, n)] = s.healthProbe(i, *t, n, h)
		}
		for _, c := range a.spec.ReadinessChecks {
			if s.underDeployment(i.App) && (i.readiness == nil || !i.readiness.Ready) {
				wanted[t.ID+" readiness"] = s.readinessProbe(i.ID, *t, c, a.spec)
			}
		}
	}
	return wanted
}

func (s *Server) healthProbe(i *instance, t mesosTask, n int, h healthCheck) func(context.Context) {
	id, delay := i.ID, time.Duration(0)
	if h.byMesos() {
		delay = s.opt.Timing.interval(h.Delay)
	}
	return func(ctx context.Context) {
		repeat(ctx, delay, s.opt.Timing.interval(h.Interval), func() bool {
			probeCtx, cancel := context.WithTimeout(ctx, max(s.opt.Timing.interval(h.Timeout), 50*time.Millisecond))
			defer cancel()
			err := probeHealth(probeCtx, &t, h)
			if ctx.Err() == nil {
				s.bookProbe(func(now time.Time) { s.bookHealth(now, id, t.ID, n, h, err) })
			}
			return true
		})
	}
}

func (s *Server) readinessProbe(id string, t mesosTask, c readinessCheck, sp *spec) func(context.Context) {
	index, _ := sp.portByName(c.PortName)
	return func(ctx context.Context) {
		repeat(ctx, 0, s.opt.Timing.interval(c.Interval), func() bool {
			probeCtx, cancel := context.WithTimeout(ctx, max(s.opt.Timing.interval(c.Timeout), 50*time.Millisecond))
			defer cancel()
			r := probeReadiness(probeCtx, &t, index, c)
			if ctx.Err() == nil {
				s.bookProbe(func(time.Time) {
					if i := s.m.Instances[id]; i != nil && i.TaskID == t.ID {
						i.readiness = r
					}
				})
			}
			return !r.Ready
		})
	}
}

// repeat calls f after the delay and then at every interval, until f or the context says stop.
func repeat(ctx context.Context, delay, interval time.Duration, f func() bool) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if !f() {
			return
		}
		timer.Reset(interval)
	}
}

func (s *Server) bookProbe(f func(now time.Time)) {
	err := s.update(func(now time.Time) error { f(now); return nil })
	if err != nil {
		s.log.Error("book check", "err", err)
	}
}

// bookHealth books one result. Failures during the grace period do not count before the first success.
func (s *Server) bookHealth(now time.Time, id, taskID string, n int, h healthCheck, failure error) {
	i := s.m.Instances[id]
	if i == nil || i.TaskID != taskID || i.Condition != condRunning {
		return
	}
	t, old := s.m.Tasks[taskID], i.health[n]
	if failure != nil && (old == nil || old.FirstSuccess.IsZero()) && s.inGrace(now, t, h) {
		return
	}
	r := old.next(now, failure)
	if i.health == nil {
		i.health = map[int]*checkResult{}
	}
	i.health[n] = r
	if failure != nil {
		s.publish(now, "failed_health_check_event", tree{"appId": i.App, "taskId": i.ID, "healthCheck": s.healthJSON(i.App, n)})
	}
	if old == nil || old.Alive != r.Alive {
		s.healthChanged(now, i, t, h, r)
	}
	if h.MaxFailures > 0 && r.ConsecutiveFailures >= h.MaxFailures && i.KillReason == "" {
		s.killUnhealthy(now, i, t, r)
	}
}

func (s *Server) inGrace(now time.Time, t *mesosTask, h healthCheck) bool {
	started, err := parseStamp(t.StartedAt)
	return err == nil && now.Before(started.Add(s.opt.Timing.seconds(h.Grace)))
}

// next is the result after one more probe.
func (r *checkResult) next(now time.Time, failure error) *checkResult {
	out := checkResult{}
	if r != nil {
		out = *r
	}
	if failure != nil {
		out.Alive = false
		out.ConsecutiveFailures++
		out.LastFailure, out.LastFailureCause = now, failure.Error()
		return &out
	}
	out.Alive, out.ConsecutiveFailures, out.LastSuccess = true, 0, now
	if out.FirstSuccess.IsZero() {
		out.FirstSuccess = now
	}
	return &out
}

func (s *Server) healthChanged(now time.Time, i *instance, t *mesosTask, h healthCheck, r *checkResult) {
	if h.byMesos() {
		t.Healthy = &r.Alive
		s.masterSays(now, t, taskRunning, "")
	}
	s.publish(now, "health_status_changed_event", tree{"appId": i.App, "instanceId": i.ID, "version": i.RunSpecVersion, "alive": r.Alive})
	s.publish(now, "instance_health_changed_event", tree{"instanceId": i.ID, "runSpecId": i.App, "healthy": r.Alive, "runSpecVersion": i.RunSpecVersion})
}

func (s *Server) killUnhealthy(now time.Time, i *instance, t *mesosTask, r *checkResult) {
	i.KillReason = "Task was killed since health check failed. Reason: " + r.LastFailureCause
	s.publish(now, "unhealthy_instance_kill_event", tree{
		"appId": i.App, "taskId": t.ID, "instanceId": i.ID, "version": i.RunSpecVersion, "reason": r.LastFailureCause, "host": t.Host, "slaveId": t.Agent})
	s.endInstance(now, i)
}

func (s *Server) healthJSON(app string, n int) any {
	a := s.m.app(app)
	if a == nil {
		return nil
	}
	checks := trees(a.Def["healthChecks"])
	if n >= len(checks) {
		return nil
	}
	return checks[n]
}

// healthResultsJSON is healthCheckResults of a task.
func (i *instance) healthResultsJSON() []any {
	out := []any{}
	var order []int
	for n := range i.health {
		order = append(order, n)
	}
	slices.Sort(order)
	for _, n := range order {
		r := i.health[n]
		o := tree{"alive": r.Alive, "consecutiveFailures": r.ConsecutiveFailures, "instanceId": i.ID}
		setStamp(o, "firstSuccess", r.FirstSuccess)
		setStamp(o, "lastSuccess", r.LastSuccess)
		setStamp(o, "lastFailure", r.LastFailure)
		if r.LastFailureCause != "" {
			o["lastFailureCause"] = r.LastFailureCause
		}
		out = append(out, o)
	}
	return out
}

func setStamp(o tree, name string, t time.Time) {
	if !t.IsZero() {
		o[name] = stamp(t)
	}
}
