package reconcile

import (
	"github.com/drover-project/drover/state"
)

// firstEpoch is the epoch of a volume's first copy.
var firstEpoch = state.Epoch{F: 0, N: 1}

// beBorn sees to it that every volume of the app was created, exactly once. A volume that was ever created is never created
// again: if no copy is seen, some node is silent or a person must decide.
func (a *appCase) beBorn() (state.Decision, bool) {
	for i := range a.vols {
		if d, decided := a.bearOne(&a.vols[i]); decided {
			return d, true
		}
	}
	return state.Decision{}, false
}

func (a *appCase) bearOne(vc *volumeCase) (state.Decision, bool) {
	switch {
	case !vc.born && a.registerEmpty():
		return a.wait("the register is empty and %s silent: volume %s could exist there; it is claimed when every node has answered, or when the silent ones are forgotten (drover node forget)",
			areOrIs(a.silent()), vc.want.Name)
	case !vc.born && len(vc.copies) > 0:
		return a.reclaim(vc)
	case !vc.born:
		return a.claim(vc)
	case len(vc.copies) == 0 && vc.birth.Created:
		return a.lost(vc)
	case len(vc.copies) == 0:
		return a.create(vc)
	case !vc.birth.Created:
		return a.do(state.Step{Kind: state.RecordBirth, Volume: vc.want.Name, UUID: vc.birth.UUID, Node: vc.birth.Node,
			Why: "it exists now; it is never created again"})
	}
	return state.Decision{}, false
}

// reclaim restores a birth that the register has lost from the copies that the nodes have.
func (a *appCase) reclaim(vc *volumeCase) (state.Decision, bool) {
	first := vc.copies[0]
	for _, p := range vc.copies {
		if p.copy.UUID != first.copy.UUID {
			return a.stall("volume %s has copies of different births on %s and %s, and the register knows neither; rename the drover:volume property of the one that is not wanted",
				vc.want.Name, first.node.Hostname, p.node.Hostname)
		}
	}
	if h, ok := vc.holder(); ok {
		first = h
	}
	return a.do(state.Step{Kind: state.ClaimVolume, Volume: vc.want.Name, UUID: first.copy.UUID, Node: first.node.ID,
		Why: "a copy exists on " + string(first.node.Hostname) + ", but the register does not know the volume"})
}

func (a *appCase) claim(vc *volumeCase) (state.Decision, bool) {
	node, why := a.birthplace(vc)
	if node == nil {
		return a.stall("%s", why)
	}
	return a.do(state.Step{Kind: state.ClaimVolume, Volume: vc.want.Name, Node: node.ID,
		Why: "volume " + string(vc.want.Name) + " is new"})
}

// registerEmpty reports whether the register knows no volume while a node is silent: it may be new, or it may have lost all.
// Not even what is seen is claimed then, because with the first claim nothing would tell the two apart any more.
func (v *view) registerEmpty() bool {
	return len(v.o.Register.Births) == 0 && len(v.silent()) > 0
}

// birthplace chooses where a volume begins its life: beside the app's other volumes, where the dataset to adopt is, or
// where the constraints and the room are best.
func (a *appCase) birthplace(vc *volumeCase) (*state.Node, string) {
	for i := range a.vols {
		if h, ok := a.vols[i].holder(); ok {
			return h.node, ""
		}
		if a.vols[i].born {
			return a.o.Nodes[a.vols[i].birth.Node], "volume " + string(a.vols[i].want.Name) + " was claimed on a node that has been forgotten"
		}
	}
	if vc.want.Adopt != "" {
		return a.adoptable(vc.want.Adopt)
	}
	return a.place(nil)
}

func (v *view) adoptable(dataset string) (*state.Node, string) {
	var found []*state.Node
	for _, n := range v.nodes() {
		if n.Answered() && contains(n.Datasets, dataset) {
			found = append(found, n)
		}
	}
	switch len(found) {
	case 1:
		return found[0], ""
	case 0:
		return nil, "no node has a dataset " + dataset + " to adopt" + v.silentRemark()
	}
	return nil, "dataset " + dataset + " exists on " + string(found[0].Hostname) + " and " + string(found[1].Hostname) + ": rename the one that is not to be adopted"
}

func (v *view) silentRemark() string {
	if s := v.silent(); len(s) > 0 {
		return " (" + areOrIs(s) + " silent)"
	}
	return ""
}

func (a *appCase) create(vc *volumeCase) (state.Decision, bool) {
	n := a.o.Nodes[vc.birth.Node]
	if n == nil || !n.Answered() {
		return a.wait("volume %s is to be created on %s, which does not answer", vc.want.Name, a.name(vc.birth.Node))
	}
	if old := a.copies[vc.want.Name]; len(old) > 0 {
		return a.stall("volume %s was claimed anew on %s, and %s has a copy of an older birth: nothing is created in its place; to use the old copy run: drover volume forget %s; else rename its drover:volume property",
			vc.want.Name, n.Hostname, old[0].node.Hostname, vc.want.Name)
	}
	s := state.Step{Kind: state.CreateVolume, Volume: vc.want.Name, UUID: vc.birth.UUID, Node: n.ID, Epoch: firstEpoch,
		Dataset: n.Root + "/" + string(vc.want.Name), Properties: vc.want.Properties, Quota: vc.want.Quota, Reclaim: vc.want.Reclaim,
		Why: "volume " + string(vc.want.Name) + " is new"}
	if vc.want.Adopt != "" {
		if !contains(n.Datasets, vc.want.Adopt) {
			return a.stall("volume %s was to begin as %s on %s, which is gone: bring the dataset back, or run: drover volume forget %s", vc.want.Name, vc.want.Adopt, n.Hostname, vc.want.Name)
		}
		s.Kind, s.Dataset = state.AdoptVolume, vc.want.Adopt
		s.Why = "the manifest names " + vc.want.Adopt + " as the volume's first copy"
		return a.do(s)
	}
	if contains(n.Datasets, s.Dataset) {
		return a.stall("dataset %s on %s is in the way of volume %s and is not a copy of it: rename it, or name it under spec.adopt", s.Dataset, n.Hostname, vc.want.Name)
	}
	return a.do(s)
}

func (a *appCase) lost(vc *volumeCase) (state.Decision, bool) {
	if silent := a.silent(); len(silent) > 0 {
		return a.wait("no copy of volume %s is seen and %s silent: it is there, or nowhere; nothing is created in its place",
			vc.want.Name, areOrIs(silent))
	}
	return a.stall("volume %s was created on %s and no node has a copy of it: import the pool that holds it, or, if the data is gone for good, run: drover volume forget %s",
		vc.want.Name, a.name(vc.birth.Node), vc.want.Name)
}
