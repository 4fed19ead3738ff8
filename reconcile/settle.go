package reconcile

import (
	"cmp"
	"slices"

	"github.com/drover-project/drover/state"
)

// settle resolves a handover that is half-done, before anything else is looked at. The app's first volume leads: what
// became of it decides for the others.
func (a *appCase) settle() (state.Decision, bool) {
	if d, decided := a.oneWriter(); decided {
		return d, true
	}
	h, ok := a.lead().holder()
	if !ok {
		return a.noHolder(a.lead())
	}
	switch h.copy.Role {
	case state.Fenced:
		return a.settleFenced(h)
	case state.Released:
		return a.settleReleased(h)
	default:
		return a.settleFollowers(h)
	}
}

// oneWriter stalls when two copies are writable or may become so without asking each other, or when a forced failover has overruled the one that does.
func (a *appCase) oneWriter() (state.Decision, bool) {
	for i := range a.vols {
		vc := &a.vols[i]
		if ps := vc.deciding(); len(ps) > 1 {
			return a.stall("volume %s has two copies that claim to decide, %s on %s (epoch %s) and %s on %s (epoch %s): nothing is touched; stop the app on the wrong one and set its drover:role to retired",
				vc.want.Name, ps[0].copy.Role, ps[0].node.Hostname, ps[0].copy.Epoch, ps[1].copy.Role, ps[1].node.Hostname, ps[1].copy.Epoch)
		}
		h, ok := vc.holder()
		if f := a.o.Register.Forced[vc.birth.UUID]; ok && h.copy.Epoch.F < f {
			return a.stall("volume %s was failed over by force (F=%d) and only the older copy on %s (epoch %s) is seen: it is not used; bring the newer copy's node back",
				vc.want.Name, f, h.node.Hostname, h.copy.Epoch)
		}
	}
	return state.Decision{}, false
}

// noHolder explains why no copy may decide: somebody is silent, or all copies are old.
func (a *appCase) noHolder(vc *volumeCase) (state.Decision, bool) {
	to := ""
	for _, p := range vc.with(state.Retired) {
		if p.copy.Release != nil {
			to = "; the last one was given to " + a.name(p.copy.Release.To)
		}
	}
	if silent := a.silent(); len(silent) > 0 {
		return a.wait("no copy of volume %s that is seen may be written%s, and %s silent: nothing is done until it answers", vc.want.Name, to, areOrIs(silent))
	}
	return a.stall("no copy of volume %s may be written%s: all nodes answer and have only standby or retired copies; import the pool that has the primary one", vc.want.Name, to)
}

// settleFenced goes on with the cutover if the manifest still wants it, its target is ready and the budget allows; the app
// goes back to where it was otherwise. Nothing was given away yet, so both ways are safe.
func (a *appCase) settleFenced(h placed) (state.Decision, bool) {
	to := a.cutoverTarget(h.node)
	if to == nil || a.overBudget() {
		why := "the cutover is no longer wanted or its target is not ready"
		if to != nil {
			why = "the outage would exceed its budget of " + Seconds(a.app.Cutover.MaxOutage)
		}
		return a.goBack(a.lead(), h, h.copy.Epoch.Next(), nil, why)
	}
	return a.handOver(h.node, to)
}

// settleReleased: only the target may decide now. It is promoted, or it swears off and the source takes the volume back.
func (a *appCase) settleReleased(h placed) (state.Decision, bool) {
	r := h.copy.Release
	if r == nil {
		return a.stall("volume %s on %s is released, but its drover:released property cannot be read: compare it with the copies on the other nodes", a.lead().want.Name, h.node.Hostname)
	}
	to := a.o.Nodes[r.To]
	if to == nil {
		return a.stall("volume %s was released to %s, which has been forgotten: bring that node back; if it is gone for good a forced failover is the way", a.lead().want.Name, r.To)
	}
	if !to.Answered() {
		return a.wait("volume %s was released to %s, which does not answer (%s); %s is down until it does", a.lead().want.Name, to.Hostname, to.Err, a.app.ID)
	}
	refused := to.Refused[a.lead().birth.UUID]
	switch {
	case refused == r.Epoch:
		return a.goBack(a.lead(), h, r.Epoch.Next(), &state.Refusal{Node: to.ID, Epoch: refused}, string(to.Hostname)+" has sworn off epoch "+r.Epoch.String())
	case r.Epoch.Less(refused):
		// That it never takes this epoch any more does not say that it never had it. Its agent knows, and answers for exactly this one.
		return a.swearOff(to, r, "it has sworn off "+refused.String())
	}
	return a.bringOver(h, to)
}

// bringOver releases the followers and promotes the lead, or makes the target swear off if it cannot take every volume.
func (a *appCase) bringOver(h placed, to *state.Node) (state.Decision, bool) {
	r := h.copy.Release
	d, decided := a.each(func(vc *volumeCase) (state.Decision, bool) {
		src := vc.on(h.node.ID)
		why := unpromotable(src, vc.on(to.ID))
		if why != "" {
			return a.swearOff(to, r, "volume "+string(vc.want.Name)+" cannot be promoted on "+string(to.Hostname)+": "+why)
		}
		if src.Role == state.Fenced {
			return a.release(vc, h.node, to, r.Epoch)
		}
		return state.Decision{}, false
	})
	if decided {
		return d, true
	}
	return a.promoteWhenIdle(a.lead(), r, to)
}

// swearOff has the target of a release refuse its epoch for ever, so that the source may take the app's volumes back.
func (a *appCase) swearOff(to *state.Node, r *state.Release, why string) (state.Decision, bool) {
	if c := a.lead().on(to.ID); !refusable(c, r.Epoch) {
		return a.stall("volume %s was released to %s at epoch %s, and its copy there is %s at epoch %s: nothing is touched; compare the two by hand",
			a.lead().want.Name, to.Hostname, r.Epoch, c.Role, c.Epoch)
	}
	return a.do(state.Step{Kind: state.SwearOff, Volume: a.lead().want.Name, UUID: a.lead().birth.UUID, Move: a.moveID(r.Epoch),
		Node: to.ID, Epoch: r.Epoch, Outage: true, Why: why})
}

// promoteWhenIdle promotes a copy that has everything, once no stream arrives in it; the rest of one that was cut is dropped.
func (a *appCase) promoteWhenIdle(vc *volumeCase, r *state.Release, to *state.Node) (state.Decision, bool) {
	switch dst := vc.on(to.ID); {
	case lockedOn(to, vc.want.Name, vc.birth.UUID) != "":
		return a.wait("%s", lockedOn(to, vc.want.Name, vc.birth.UUID))
	case dst.Receiving:
		return a.wait("a stream of volume %s still arrives at %s; it is promoted when that has ended", vc.want.Name, to.Hostname)
	case dst.IsHalf():
		return a.dropHalf(vc, to)
	}
	return a.promote(vc, r, to)
}

// dropHalf drops what is left of a stream that was cut, in a copy that has everything without it.
func (a *appCase) dropHalf(vc *volumeCase, at *state.Node) (state.Decision, bool) {
	dst := vc.on(at.ID)
	token, path := dst.HalfReceived()
	return a.do(state.Step{Kind: state.AbortRecv, Volume: vc.want.Name, UUID: vc.birth.UUID, Node: at.ID, Expect: expect(dst), Token: token, Child: path,
		Outage: true, Why: "it has everything without the rest of a stream that was cut"})
}

// refusable reports whether a target with this copy can swear off an epoch: nothing there can ever have had it.
func refusable(c *state.Copy, e state.Epoch) bool {
	return c == nil || (c.Role == state.Standby || c.Role == state.Retired) && c.Epoch.Less(e)
}

// lastOf returns what a source has given away, or is about to: its last snapshot and the digest of those below it.
func lastOf(src *state.Copy) (state.GUID, string) {
	if src.Role == state.Released && src.Release != nil {
		return src.Release.GUID, src.Release.Below
	}
	return src.Newest().GUID, src.Below()
}

// unpromotable says why a target's copy cannot take over from its source; "" if it can.
func unpromotable(src, dst *state.Copy) string {
	switch {
	case src == nil || src.Newest() == nil:
		return "its source has no snapshot"
	case src.Role != state.Fenced && src.Role != state.Released:
		return "its source is " + string(src.Role)
	case dst == nil:
		return "there is no copy"
	case dst.Role != state.Standby:
		return "the copy is " + string(dst.Role)
	}
	switch last, below := lastOf(src); {
	case dst.Find(last) == nil:
		return "it lacks the last snapshot of its source"
	case touched(dst) != "" || dst.ChangedSince(last):
		return cmp.Or(touched(dst), dst.Dataset) + " was written to"
	case dst.Below() != below:
		return "what is below it is not what is below its source"
	case len(dst.KeysMissing()) > 0:
		return "its key is not loaded"
	case len(dst.Users) > 0:
		return process(dst.Users[0]) + " uses it"
	}
	return ""
}

// settleFollowers brings the other volumes to where the lead is primary.
func (a *appCase) settleFollowers(lead placed) (state.Decision, bool) {
	return a.each(func(vc *volumeCase) (state.Decision, bool) {
		if vc == a.lead() {
			return state.Decision{}, false
		}
		return a.settleFollower(vc, lead)
	})
}

func (a *appCase) settleFollower(vc *volumeCase, lead placed) (state.Decision, bool) {
	h, ok := vc.holder()
	switch {
	case !ok:
		return a.noHolder(vc)
	case h.node == lead.node && h.copy.Role == state.Primary:
		return state.Decision{}, false
	case h.node == lead.node && a.aheadOfLead(h):
		return a.finishHold()
	case h.node == lead.node:
		return a.followBack(vc, h, lead)
	case h.copy.Role == state.Primary:
		return a.stall("volumes %s and %s of %s are on different nodes, %s and %s: they can only move together; move the data of one by hand, or make them two apps",
			a.lead().want.Name, vc.want.Name, a.app.ID, lead.node.Hostname, h.node.Hostname)
	case unpromotable(h.copy, vc.on(lead.node.ID)) != "":
		return a.stall("volume %s of %s did not follow %s to %s: %s; its newest data is on %s, where nothing was deleted",
			vc.want.Name, a.app.ID, a.lead().want.Name, lead.node.Hostname, unpromotable(h.copy, vc.on(lead.node.ID)), h.node.Hostname)
	case h.copy.Role == state.Fenced:
		return a.release(vc, h.node, lead.node, lead.copy.Epoch)
	}
	return a.promoteWhenIdle(vc, h.copy.Release, lead.node)
}

// aheadOfLead reports whether a follower is fenced for a cutover that goes on, and only its lead is not yet: they are fenced side by side.
func (a *appCase) aheadOfLead(h placed) bool {
	to := a.goesOnTo()
	return to != nil && fencedFor(h.copy, a.nextEpoch(h.node, to))
}

// followBack makes a follower writable again beside its lead, which is primary on the same node: from fenced because nothing
// was given away, from released because the lead only went back with its target's refusal.
func (a *appCase) followBack(vc *volumeCase, h, lead placed) (state.Decision, bool) {
	why := string(a.lead().want.Name) + " is primary here"
	if h.copy.Role == state.Fenced {
		return a.goBack(vc, h, state.MaxEpoch(lead.copy.Epoch, h.copy.Epoch.Next()), nil, why)
	}
	if r := h.copy.Release; r == nil || !r.Epoch.Less(lead.copy.Epoch) {
		return a.stall("volume %s of %s is released on %s, where %s is primary at epoch %s, and was not released before it: nothing is touched; compare its copies by hand",
			vc.want.Name, a.app.ID, h.node.Hostname, a.lead().want.Name, lead.copy.Epoch)
	}
	return a.goBack(vc, h, lead.copy.Epoch, nil, why)
}

func (a *appCase) goBack(vc *volumeCase, h placed, epoch state.Epoch, refusal *state.Refusal, why string) (state.Decision, bool) {
	return a.do(state.Step{Kind: state.GoBack, Volume: vc.want.Name, UUID: vc.birth.UUID, Move: a.moveID(epoch), Node: h.node.ID,
		Expect: state.Expect{Role: h.copy.Role, Epoch: h.copy.Epoch}, Epoch: epoch, Refusal: refusal, Outage: true, Why: why})
}

// grown reports whether a volume has a dataset that its target lacks whole: that is sent while the app runs.
func (a *appCase) grown(from, to *state.Node) bool {
	return slices.ContainsFunc(a.vols, func(vc volumeCase) bool { return newcomer(vc.on(from.ID), vc.on(to.ID)) })
}

// goesOnTo returns where a cutover that has stopped the app leads to, if it is still wanted and in time.
func (a *appCase) goesOnTo() *state.Node {
	h, ok := a.lead().holder()
	if !ok || !a.held() || a.overBudget() {
		return nil
	}
	to := a.cutoverTarget(h.node)
	if to == nil || a.grown(h.node, to) {
		return nil
	}
	return to
}

// finishHold goes on with a cutover that has stopped the app but not fenced its volumes yet, if it is still wanted and in
// time. If not, beUp starts the app where its data is.
func (a *appCase) finishHold() (state.Decision, bool) {
	h, _ := a.lead().holder()
	to := a.goesOnTo()
	if to == nil {
		return state.Decision{}, false
	}
	if !a.stopped(h.node) {
		return a.stop(h.node, to)
	}
	return a.handOver(h.node, to)
}
