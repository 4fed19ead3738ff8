package reconcile

import (
	"time"

	"github.com/drover-project/drover/state"
)

// graceSaves is how much of the grace may be lost when a controller dies: the longest time between two saves.
const graceSaves = 30 * time.Second

// clearOld deletes old copies once the app has been seen ready for its whole grace. The agent that deletes asks the primary
// itself, afresh; this only decides when.
func (a *appCase) clearOld() (state.Decision, bool) {
	primary, _ := a.lead().holder()
	_, ready := a.readyTask(primary.node.Hostname)
	var notes []string
	for i := range a.vols {
		vc := &a.vols[i]
		h, _ := vc.holder()
		for _, p := range vc.with(state.Retired) {
			if d, decided := a.clearOne(vc, p, h, ready); decided || d.After > 0 {
				return d, decided
			}
			notes = append(notes, "the old copy of "+string(vc.want.Name)+" on "+string(p.node.Hostname)+" is kept: "+whyKept(p.copy, h.copy))
		}
	}
	return state.Decision{Notes: notes}, false
}

// keepBases sees to it that the primary has bookmarks of what its old copies rest on, so that going back stays an increment should
// somebody destroy the snapshot there. A bookmark is a spare: once the grace has begun to be saved none is missed.
func (a *appCase) keepBases() (state.Decision, bool) {
	return a.each(func(vc *volumeCase) (state.Decision, bool) {
		h, _ := vc.holder()
		var bases []state.GUID
		for _, p := range vc.with(state.Retired) {
			if p.copy.GraceServed == 0 {
				bases = append(bases, unmarked(h.copy, p.copy)...)
			}
		}
		if len(bases) == 0 {
			return state.Decision{}, false
		}
		return a.do(state.Step{Kind: state.KeepBase, Volume: vc.want.Name, UUID: vc.birth.UUID, Node: h.node.ID, Expect: expect(h.copy), Keep: bases,
			Why: "going back begins there"})
	})
}

// unmarked returns the snapshots of a primary on which another copy rests and of which it has no bookmark.
func unmarked(primary, other *state.Copy) []state.GUID {
	var bases []state.GUID
	for _, path := range primary.Paths() {
		part, its := primary.Part(path), other.Part(path)
		if its == nil {
			continue
		}
		if base := common(part, its); base != nil && !part.Marked(base.GUID) {
			bases = append(bases, base.GUID)
		}
	}
	return bases
}

// superseded reports whether the primary has all that an old copy has.
func superseded(old, primary *state.Copy) bool {
	for _, path := range old.Paths() {
		part, its := old.Part(path), primary.Part(path)
		newest := part.Newest()
		if newest == nil || its == nil || its.Find(newest.GUID) == nil || part.Written != 0 {
			return false
		}
	}
	return old.Epoch.Less(primary.Epoch)
}

func whyKept(old, primary *state.Copy) string {
	if !superseded(old, primary) {
		return "it holds what the primary does not have; look what that is, and destroy it by hand"
	}
	return "the app must be seen ready first"
}

func (a *appCase) clearOne(vc *volumeCase, old, primary placed, ready bool) (state.Decision, bool) {
	if !ready || !superseded(old.copy, primary.copy) {
		return state.Decision{}, false
	}
	saved, unsaved := old.copy.GraceServed, a.o.ReadyFor[a.app.ID]
	s := state.Step{Volume: vc.want.Name, UUID: vc.birth.UUID, Node: old.node.ID, Peer: primary.node.ID, PeerAddress: primary.node.Address,
		Expect: expect(old.copy), Dataset: old.copy.Dataset}
	switch {
	case saved >= a.app.Grace:
		s.Kind, s.Grace, s.Why = state.DeleteOld, a.app.Grace, "the app was ready on "+string(primary.node.Hostname)+" for "+Seconds(a.app.Grace)
		return a.do(s)
	case saved+unsaved >= a.app.Grace || unsaved >= graceSaves:
		s.Kind, s.Grace, s.Why = state.SaveGrace, min(saved+unsaved, a.app.Grace), "ready time survives a crash once it is saved"
		return a.do(s)
	}
	left := a.app.Grace - saved - unsaved
	return state.Decision{After: min(left, graceSaves), Notes: []string{
		"the old copy of " + string(vc.want.Name) + " on " + string(old.node.Hostname) + " is deleted after " + Seconds(left) + " more of being ready; going back is cheap until then"}}, false
}
