package reconcile

import (
	"slices"
	"strings"
	"time"

	"github.com/drover-project/drover/state"
)

// holdField is the attribute that no agent has: a constraint on it keeps an app from starting anywhere, whoever scales it.
const holdField = "drover-hold"

// held reports whether Marathon holds the app with the constraint that no agent satisfies. How many instances somebody has
// scaled it to meanwhile does not matter: none of them starts.
func (a *appCase) held() bool {
	return a.live != nil && len(a.live.Constraints) > 0 && a.live.Constraints[0].Field == holdField
}

// stopped reports whether the app is down for certain: Marathon holds it, lists no task that may run, and the node itself
// sees nobody in its volumes. Marathon's word alone proves nothing.
func (a *appCase) stopped(at *state.Node) bool {
	if !a.held() {
		return false
	}
	for _, t := range a.live.Tasks {
		if t.State != state.TaskUnreachable {
			return false
		}
	}
	for i := range a.vols {
		if c := a.vols[i].on(at.ID); c == nil || len(c.Users) > 0 {
			return false
		}
	}
	return true
}

// overBudget reports whether going on would exceed the agreed outage once the way back is counted in. It binds until the
// release.
func (a *appCase) overBudget() bool {
	down, known := a.o.DownFor[a.app.ID]
	if !known && a.live != nil {
		down = a.now.Sub(a.live.Version)
	}
	return down > a.app.Cutover.MaxOutage-a.timing().Start
}

// cutoverTarget returns the node that a cutover from a source leads to: wanted by the manifest, not paused or cancelled, and
// holding a standby for every volume on which an increment fits. Nil if there is none.
func (a *appCase) cutoverTarget(from *state.Node) *state.Node {
	if _, marked := a.mark(); marked {
		return nil
	}
	to, _ := a.place(from)
	if to == nil || to == from {
		return nil
	}
	for i := range a.vols {
		src, dst := a.vols[i].on(from.ID), a.vols[i].on(to.ID)
		if src == nil || src.Role != state.Primary && src.Role != state.Fenced {
			return nil
		}
		if dst == nil || dst.Role != state.Standby || diverged(src, dst) || len(dst.KeysMissing()) > 0 || len(dst.Users) > 0 || src.Unmovable() != "" {
			return nil
		}
		if path, _ := misfit(src, dst); path != "" {
			return nil
		}
	}
	return to
}

// hold makes the gates keep new connections waiting, then stops the app.
func (a *appCase) hold(at *state.Node, to *state.Node) (state.Decision, bool) {
	routes := a.routes(at, false)
	nodes := a.gatesThatDiffer(routes)
	if len(routes) == 0 || len(nodes) == 0 {
		return a.stop(at, to)
	}
	return a.do(state.Step{Kind: state.HoldConnections, Move: a.moveID(a.nextEpoch(at, to)), Nodes: nodes, Routes: routes,
		Why: "new connections wait for at most " + Seconds(a.app.Cutover.MaxOutage)})
}

// stop takes the app down in one change: no instances, and a constraint that keeps anybody's scale-up from starting it.
func (a *appCase) stop(at *state.Node, to *state.Node) (state.Decision, bool) {
	move := a.moveID(a.nextEpoch(at, to))
	def := definition(a.app, nil)
	def.hold(move)
	return a.do(state.Step{Kind: state.StopApp, Volume: a.lead().want.Name, UUID: a.lead().birth.UUID, Move: move, Node: at.ID,
		Definition: def.json(), Force: a.ownLock(), Outage: true, Took: a.timing().Stop,
		Why: "the last increment fits the budget"})
}

// handOver takes the stopped app's volumes from a source to a target: fence all, send the rest, release the lead. What comes
// after the release is settleReleased's.
func (a *appCase) handOver(from, to *state.Node) (state.Decision, bool) {
	epoch := a.nextEpoch(from, to)
	if d, decided := a.each(func(vc *volumeCase) (state.Decision, bool) {
		if fencedFor(vc.on(from.ID), epoch) {
			return state.Decision{}, false
		}
		return a.fence(vc, from, to, epoch)
	}); decided {
		return d, true
	}
	if d, decided := a.each(func(vc *volumeCase) (state.Decision, bool) { return a.sendLast(vc, from, to, epoch) }); decided {
		return d, true
	}
	return a.release(a.lead(), from, to, epoch)
}

// sendLast brings the target of a fenced volume up to its last snapshot.
func (a *appCase) sendLast(vc *volumeCase, from, to *state.Node, epoch state.Epoch) (state.Decision, bool) {
	src, dst := vc.on(from.ID), vc.on(to.ID)
	if where := touched(src); where != "" {
		lead := placed{from, a.lead().on(from.ID)}
		return a.goBack(a.lead(), lead, lead.copy.Epoch.Next(), nil, where+" was written to after its last snapshot")
	}
	switch {
	case behind(src, dst):
		return a.sendTo(vc, from, to, state.LastIncrement, src.Newest().Name, epoch)
	case !dst.Complete(src):
		lead := placed{from, a.lead().on(from.ID)}
		return a.goBack(a.lead(), lead, lead.copy.Epoch.Next(), nil, "somebody took a snapshot of volume "+string(vc.want.Name)+" on "+string(to.Hostname)+" meanwhile")
	}
	if dst.IsHalf() {
		return a.dropHalf(vc, to)
	}
	return state.Decision{}, false
}

// fence names the target and the base too: while the source fences, it opens the connection of the last increment.
func (a *appCase) fence(vc *volumeCase, from, to *state.Node, epoch state.Epoch) (state.Decision, bool) {
	src := vc.on(from.ID)
	s := state.Step{Kind: state.Fence, Volume: vc.want.Name, UUID: vc.birth.UUID, Move: a.moveID(epoch), Node: from.ID, Peer: to.ID,
		PeerAddress: to.Address, Expect: state.Expect{Role: state.Primary, Epoch: src.Epoch}, Snapshot: finalName(epoch), Outage: true, Took: fixedCost,
		Why: "no write may come after the last snapshot"}
	if dst := vc.on(to.ID); dst != nil {
		if base := common(src, dst); base != nil {
			s.Base = base.GUID
		}
	}
	return a.do(s)
}

// fencedFor reports whether a copy is fenced with its last snapshot taken. A crash can come between the two; the fence is then
// done again.
func fencedFor(c *state.Copy, epoch state.Epoch) bool {
	return c.Role == state.Fenced && slices.ContainsFunc(c.Snapshots, func(s state.Snapshot) bool { return s.Name == finalName(epoch) })
}

func (a *appCase) release(vc *volumeCase, from, to *state.Node, epoch state.Epoch) (state.Decision, bool) {
	src := vc.on(from.ID)
	return a.do(state.Step{Kind: state.ReleaseVolume, Volume: vc.want.Name, UUID: vc.birth.UUID, Move: a.moveID(epoch), Node: from.ID,
		Peer: to.ID, Expect: expect(src), Epoch: epoch, Outage: true, Took: fixedCost,
		Release: &state.Release{From: from.ID, To: to.ID, Epoch: epoch, GUID: src.Newest().GUID, Below: src.Below()},
		Why:     string(to.Hostname) + " has everything up to " + src.Newest().Name})
}

func (a *appCase) promote(vc *volumeCase, r *state.Release, to *state.Node) (state.Decision, bool) {
	return a.do(state.Step{Kind: state.Promote, Volume: vc.want.Name, UUID: vc.birth.UUID, Move: a.moveID(r.Epoch), Node: to.ID, Peer: r.From,
		Expect: expect(vc.on(to.ID)), Epoch: r.Epoch, Release: r, Outage: true, Took: fixedCost,
		Why: "released by " + a.name(r.From)})
}

// retire marks the copies that were given away as old. It comes after the start, which does not wait for it.
func (a *appCase) retire() (state.Decision, bool) {
	return a.each(func(vc *volumeCase) (state.Decision, bool) {
		for _, p := range vc.with(state.Released) {
			if taken := takenOver(vc, p.copy.Release); taken != nil {
				return a.do(state.Step{Kind: state.Retire, Volume: vc.want.Name, UUID: vc.birth.UUID, Move: a.moveID(p.copy.Release.Epoch), Node: p.node.ID,
					Peer: taken.Node, Expect: expect(p.copy), Taken: taken, Why: a.name(taken.Node) + " has taken over"})
			}
		}
		return state.Decision{}, false
	})
}

// takenOver returns the fact that the target of a release took over, if its copy still shows it.
func takenOver(vc *volumeCase, r *state.Release) *state.Taken {
	if r == nil {
		return nil
	}
	if c := vc.on(r.To); c != nil && !c.Epoch.Less(r.Epoch) {
		return &state.Taken{Node: r.To, Epoch: c.Epoch}
	}
	return nil
}

func expect(c *state.Copy) state.Expect { return state.Expect{Role: c.Role, Epoch: c.Epoch} }

// nextEpoch is the epoch that a move from one node to another leads to: one more than any that source or target has seen,
// for any volume of the app.
func (a *appCase) nextEpoch(from, to *state.Node) state.Epoch {
	var top state.Epoch
	for i := range a.vols {
		top = state.MaxEpoch(top, to.Refused[a.vols[i].birth.UUID])
		for _, id := range []state.NodeID{from.ID, to.ID} {
			if c := a.vols[i].on(id); c != nil {
				top = state.MaxEpoch(top, c.Epoch)
			}
		}
	}
	return top.Next()
}

// moveID names the move of this app that leads to an epoch.
func (a *appCase) moveID(e state.Epoch) state.MoveID {
	safe := strings.ReplaceAll(strings.Trim(string(a.app.ID), "/"), "/", "_")
	return state.MoveID(safe + "-" + e.String())
}

// fixedCost is what a step that is one change of one dataset takes on a disk that is not busy: an estimate.
const fixedCost = 30 * time.Millisecond

// timing returns what stopping and starting this app took before, or a guess.
func (a *appCase) timing() state.Timing {
	t, ok := a.o.Past[a.app.ID]
	if !ok {
		return state.Timing{Stop: 300 * time.Millisecond, Start: 800 * time.Millisecond}
	}
	return t
}
