package marathond

import (
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// deployment is a plan that is being carried out.
type deployment struct {
	ID      string            `json:"id"`
	Version string            `json:"version"`
	Changes map[string]change `json:"changes"`
	Steps   []deployStep      `json:"steps"`
	Current int               `json:"current"` // index of the step that runs
}

const cancelled = "The upgrade has been cancelled"

// affects tells whether the deployment locks the app.
func (d *deployment) affects(app string) bool {
	_, ok := d.Changes[app]
	return ok
}

func (d *deployment) apps() []string { return slices.Sorted(maps.Keys(d.Changes)) }

// target is what a request wants an app to become; nil removes it.
type target struct {
	def     tree
	restart bool
}

// nextVersion is a fresh stamp; versions strictly increase.
func (s *Server) nextVersion(now time.Time) string {
	v := stamp(now)
	for v <= s.m.LastVersion {
		now = now.Add(time.Millisecond)
		v = stamp(now)
	}
	s.m.LastVersion = v
	return v
}

// deploy accepts the targets and starts carrying them out.
func (s *Server) deploy(now time.Time, targets map[string]target, force bool) (*deployment, error) {
	d, err := s.accept(now, targets, force)
	if err == nil {
		s.begin(now, d)
	}
	return d, err
}

// accept makes the targets the definitions in force. Without force it refuses when a running deployment affects the same
// apps; with force it cancels those.
func (s *Server) accept(now time.Time, targets map[string]target, force bool) (*deployment, error) {
	version := s.nextVersion(now)
	changes, err := s.changesFor(targets, version)
	if err != nil {
		return nil, err
	}
	steps, err := s.stepsFor(changes)
	if err != nil {
		return nil, err
	}
	if err := s.clearLocks(now, changes, force); err != nil {
		return nil, err
	}
	d := &deployment{ID: uuid.NewString(), Version: version, Changes: changes, Steps: steps}
	s.enforce(d)
	return d, nil
}

func (s *Server) changesFor(targets map[string]target, version string) (map[string]change, error) {
	changes := map[string]change{}
	for id, t := range targets {
		c := change{From: s.m.app(id), Restart: t.restart}
		if t.def != nil {
			sp, err := parseSpec(t.def)
			if err != nil {
				return nil, err
			}
			c.To = &app{Def: t.def, Version: version, LastScalingAt: version, LastConfigChangeAt: version, spec: sp}
			if c.scaleOnly() {
				c.To.LastConfigChangeAt = c.From.LastConfigChangeAt
			}
		}
		if c.real() {
			changes[id] = c
		}
	}
	return changes, nil
}

func (s *Server) stepsFor(changes map[string]change) ([]deployStep, error) {
	apps := map[string]*app{}
	for id := range s.m.Apps {
		apps[id] = s.m.app(id)
	}
	for id, c := range changes {
		apps[id] = c.To
		if c.To == nil {
			delete(apps, id)
		}
	}
	depth, err := layers(apps)
	if err != nil {
		return nil, err
	}
	return planSteps(changes, depth), nil
}

// clearLocks refuses or cancels the deployments that hold one of the changed apps.
func (s *Server) clearLocks(now time.Time, changes map[string]change, force bool) error {
	var holders []*deployment
	for _, d := range s.m.Deployments {
		if slices.ContainsFunc(d.apps(), func(id string) bool { _, hit := changes[id]; return hit }) {
			holders = append(holders, d)
		}
	}
	if len(holders) > 0 && !force {
		return lockedError(holders)
	}
	for _, d := range holders {
		s.cancel(now, d)
	}
	return nil
}

// cancel stops a deployment where it is; nothing is rolled back.
func (s *Server) cancel(now time.Time, d *deployment) {
	s.removeDeployment(d)
	s.publish(now, "deployment_failed", tree{"id": d.ID, "plan": d.planJSON(), "reason": cancelled})
}

func (s *Server) removeDeployment(d *deployment) {
	s.m.Deployments = slices.DeleteFunc(s.m.Deployments, func(o *deployment) bool { return o == d })
}

// enforce puts the new definitions in force.
func (s *Server) enforce(d *deployment) {
	if len(d.Changes) > 0 {
		s.m.RootVersion = d.Version
	}
	for id, c := range d.Changes {
		if c.To == nil {
			delete(s.m.Apps, id)
			delete(s.m.Failures, id)
			continue
		}
		h := s.m.Apps[id]
		if h == nil {
			h = &appHistory{}
			s.m.Apps[id] = h
		}
		h.Versions = append([]*app{c.To}, h.Versions...)
		h.Versions = h.Versions[:min(len(h.Versions), maxVersions)]
	}
}

func (s *Server) begin(now time.Time, d *deployment) {
	for _, id := range d.apps() {
		s.publish(now, "group_change_success", tree{"groupId": parentPath(id), "version": d.Version})
	}
	if len(d.Steps) == 0 {
		s.publish(now, "deployment_success", tree{"id": d.ID, "plan": d.planJSON()})
		return
	}
	s.m.Deployments = append(s.m.Deployments, d)
	s.publish(now, "deployment_info", tree{"plan": d.planJSON(), "currentStep": d.stepJSON()})
}

// revert starts the deployment that takes back what d did.
func (s *Server) revert(now time.Time, d *deployment) (*deployment, error) {
	targets := map[string]target{}
	for id, c := range d.Changes {
		t := target{}
		if c.From != nil {
			t.def = c.From.Def
		}
		targets[id] = t
	}
	s.cancel(now, d)
	return s.deploy(now, targets, true)
}

// advance carries every deployment as far as the state allows and tells whether anything moved.
func (s *Server) advance(now time.Time) bool {
	moved := false
	for _, d := range slices.Clone(s.m.Deployments) {
		for s.stepDone(now, d) {
			moved = true
			s.finishStep(now, d)
			if d.Current == len(d.Steps) {
				break
			}
		}
	}
	return moved
}

func (s *Server) stepDone(now time.Time, d *deployment) bool {
	done := true
	for _, a := range d.Steps[d.Current].Actions {
		done = s.act(now, a) && done
	}
	return done
}

func (s *Server) finishStep(now time.Time, d *deployment) {
	s.publish(now, "deployment_step_success", tree{"plan": d.planJSON(), "currentStep": d.stepJSON()})
	d.Current++
	if d.Current < len(d.Steps) {
		s.publish(now, "deployment_info", tree{"plan": d.planJSON(), "currentStep": d.stepJSON()})
		return
	}
	s.removeDeployment(d)
	s.publish(now, "deployment_success", tree{"id": d.ID, "plan": d.planJSON()})
}

// act does what an action needs now and tells whether it is complete.
func (s *Server) act(now time.Time, a *action) bool {
	switch a.Type {
	case stopApplication:
		return s.actStop(now, a.App)
	case scaleApplication:
		return s.actScale(now, s.m.app(a.App))
	case restartApplication:
		return s.actRestart(now, a, s.m.app(a.App))
	}
	return true
}

func (s *Server) actStop(now time.Time, id string) bool {
	for _, i := range s.m.instances(id) {
		s.decommission(now, i)
	}
	if len(s.m.instances(id)) > 0 {
		return false
	}
	s.publish(now, "app_terminated_event", tree{"appId": id})
	s.forgetQueue(id)
	return true
}

func (s *Server) actScale(now time.Time, a *app) bool {
	s.matchCount(now, a)
	all := s.m.instances(a.id())
	ready := keep(all, func(i *instance) bool { return i.active() && s.ready(i, a) })
	dying := keep(all, func(i *instance) bool { return i.Goal == goalDecommissioned && !i.terminal() })
	return len(ready) >= a.spec.Instances && len(dying) == 0
}

// matchCount creates or decommissions instances until as many are wanted as the definition says.
func (s *Server) matchCount(now time.Time, a *app) {
	active := keep(s.m.instances(a.id()), (*instance).active)
	for n := len(active); n < a.spec.Instances; n++ {
		s.addInstance(now, a)
	}
	for _, i := range s.victims(a, active, len(active)-a.spec.Instances) {
		s.decommission(now, i)
	}
	s.upgradeScheduled(a)
}

// upgradeScheduled lets instances that are not placed yet start with the current definition.
func (s *Server) upgradeScheduled(a *app) {
	for _, i := range s.m.instances(a.id()) {
		if i.Condition == condScheduled {
			i.RunSpecVersion = a.Version
		}
	}
}

func (s *Server) actRestart(now time.Time, act *action, a *app) bool {
	s.upgradeScheduled(a)
	n := a.spec.Instances
	fresh, old := s.split(a)
	wanted := keep(old, (*instance).active)
	if act.Restart == nil {
		act.Restart = s.beginRestart(a, fresh, wanted)
	}
	ready := len(keep(fresh, func(i *instance) bool { return s.ready(i, a) }))
	for _, i := range s.restartVictims(a, wanted, len(wanted)-act.Restart.oldAllowed(ready)) {
		s.decommission(now, i)
	}
	_, old = s.split(a)
	oldActive := len(keep(old, func(i *instance) bool { return !i.terminal() }))
	for range act.Restart.startNow(n, len(fresh), oldActive) {
		s.addInstance(now, a)
	}
	for _, i := range s.victims(a, fresh, len(fresh)-n) {
		s.decommission(now, i)
	}
	return ready == n && len(keep(old, func(i *instance) bool { return i.active() || !i.terminal() })) == 0
}

// split gives the wanted instances of the current configuration, and all older ones.
func (s *Server) split(a *app) (fresh, old []*instance) {
	for _, i := range s.m.instances(a.id()) {
		switch {
		case i.RunSpecVersion < a.LastConfigChangeAt:
			old = append(old, i)
		case i.active():
			fresh = append(fresh, i)
		}
	}
	return fresh, old
}

func (s *Server) beginRestart(a *app, fresh, wanted []*instance) *restart {
	all := append(slices.Clone(fresh), wanted...)
	healthy := keep(all, func(i *instance) bool { return s.countsAsHealthy(i, a) })
	r := restartStrategy(a.spec.Upgrade, a.spec.Instances, len(healthy), len(all))
	r.Old = len(wanted)
	s.resetBackoff(a.id())
	return &r
}

// countsAsHealthy is the "considered healthy" of the restart arithmetic: before 1.10 every placed instance.
func (s *Server) countsAsHealthy(i *instance, a *app) bool {
	if i.terminal() {
		return false
	}
	if s.opt.Emulate != V111 || len(a.spec.HealthChecks)+len(a.spec.ReadinessChecks) == 0 {
		return true
	}
	t := s.m.Tasks[i.TaskID]
	return t != nil && t.Healthy != nil && *t.Healthy
}

func (d *deployment) planJSON() tree {
	steps := []any{}
	for _, st := range d.Steps {
		steps = append(steps, st.json())
	}
	return tree{"id": d.ID, "version": d.Version, "steps": steps}
}

func (d *deployment) stepJSON() tree {
	if d.Current >= len(d.Steps) {
		return tree{"actions": []any{}}
	}
	return d.Steps[d.Current].json()
}

func (s deployStep) json() tree {
	actions := []any{}
	for _, a := range s.Actions {
		actions = append(actions, tree{"action": a.Type, "app": a.App})
	}
	return tree{"actions": actions}
}
