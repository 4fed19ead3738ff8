package reconcile

import (
	"fmt"
	"slices"
	"time"

	"github.com/drover-project/drover/state"
)

// This file is the handover table as the agents hold it, written from the design and not from the rules: what a node refuses,
// judged by its own copy, its own refusals and the evidence that the step carries. Only where the table lets an agent
// ask another one afresh (rejoin, delete) is the other's copy looked at.

// agentRefuses says why a step's agent would refuse it in o; "" if it would do it. A step that was done already is done again
// without harm; that counts as refused here, because no rule should ask for it.
func agentRefuses(o *state.Observed, s state.Step) string {
	n := o.Nodes[s.Node]
	if n == nil {
		return "no such node"
	}
	c, refused := copyOf(n, s.UUID), n.Refused[s.UUID]
	if row, ok := handover[s.Kind]; ok {
		if c == nil || !slices.Contains(row.from, c.Role) {
			return fmt.Sprintf("%s starts from %v, not from %s", s.Kind, row.from, roleOf(c))
		}
		if s.Expect != expect(c) && s.Kind != state.Fence {
			return fmt.Sprintf("expects %v, is %v", s.Expect, expect(c))
		}
		return row.refuses(o, s, c, refused)
	}
	switch s.Kind {
	case state.SwearOff: // with a later refusal it answers for this one epoch, and records nothing
		return unless(refused != s.Epoch && (c == nil || (c.Role == state.Standby || c.Role == state.Retired) && c.Epoch.Less(s.Epoch)), "cannot swear that off")
	case state.CreateVolume:
		return unless(c == nil && !contains(n.Datasets, s.Dataset), "something is there")
	case state.AdoptVolume:
		return unless(c == nil && contains(n.Datasets, s.Dataset), "nothing to adopt")
	default:
		return "no agent does " + string(s.Kind)
	}
}

type tableRow struct {
	from    []state.Role
	refuses func(o *state.Observed, s state.Step, c *state.Copy, refused state.Epoch) string
}

var handover = map[state.StepKind]tableRow{
	state.Fence: {[]state.Role{state.Primary, state.Fenced}, func(_ *state.Observed, s state.Step, c *state.Copy, _ state.Epoch) string {
		again := c.Role == state.Fenced // only to take the snapshot that a crash has prevented
		return unless(s.Expect == state.Expect{Role: state.Primary, Epoch: c.Epoch} && !hasSnapshot(c, s.Snapshot) && (!again || c.Readonly), "the pair differs, or the snapshot is from before")
	}},
	state.ReleaseVolume: {[]state.Role{state.Fenced}, func(o *state.Observed, s state.Step, c *state.Copy, _ state.Epoch) string {
		switch lead := leadOf(o, s); {
		case c.Newest() == nil || c.Newest().GUID != s.Release.GUID || c.Written != 0:
			return "its newest snapshot is another, or it was written to"
		case !c.Epoch.Less(s.Epoch) || s.Release.Epoch != s.Epoch || s.Release.To == s.Node:
			return "the epoch is not above its own"
		case s.Lead != s.Volume && (lead == nil || lead.Release == nil || lead.Release.To != s.Peer || lead.Release.Epoch != s.Epoch):
			return "its lead is not released there"
		}
		return ""
	}},
	state.Promote: {[]state.Role{state.Standby}, func(o *state.Observed, s state.Step, c *state.Copy, refused state.Epoch) string {
		switch lead := leadOf(o, s); {
		case s.Release == nil || s.Release.To != s.Node || s.Release.Epoch != s.Epoch:
			return "carries no release to this node"
		case c.ChangedSince(s.Release.GUID):
			return "it lacks the last snapshot, or was written to since"
		case !state.MaxEpoch(c.Epoch, refused).Less(s.Epoch):
			return "the epoch is not above its own and the refused"
		case c.Receiving || c.ResumeToken != "" || c.Mounted:
			return "receiving or mounted"
		case s.Lead != s.Volume && (lead == nil || lead.Role != state.Primary || lead.Epoch != s.Epoch):
			return "its lead is not primary here"
		}
		return ""
	}},
	state.Retire: {[]state.Role{state.Released}, func(_ *state.Observed, s state.Step, c *state.Copy, _ state.Epoch) string {
		return unless(s.Taken != nil && c.Release != nil && s.Taken.Node == c.Release.To && !s.Taken.Epoch.Less(c.Release.Epoch), "no proof that its target took over")
	}},
	state.GoBack: {[]state.Role{state.Fenced, state.Released}, refusesBack},
	state.Rejoin: {[]state.Role{state.Retired}, func(o *state.Observed, s state.Step, c *state.Copy, _ state.Epoch) string {
		primary := copyOf(o.Nodes[s.Peer], s.UUID)
		return unless(primary != nil && primary.Role == state.Primary && c.Epoch.Less(primary.Epoch) && had(primary, s.Base) &&
			!c.ChangedSince(s.Base), "the primary does not have all that it has")
	}},
	state.DeleteOld: {[]state.Role{state.Retired}, func(o *state.Observed, s state.Step, c *state.Copy, _ state.Epoch) string {
		if c.GraceServed < s.Grace {
			return "the grace is not served"
		}
		return notSuperseded(o, s, c)
	}},
	state.KeepBase: {[]state.Role{state.Primary}, func(_ *state.Observed, s state.Step, c *state.Copy, _ state.Epoch) string {
		return unless(len(s.Keep) > 0 && !slices.ContainsFunc(s.Keep, func(g state.GUID) bool { return c.Find(g) == nil }), "it lacks a snapshot")
	}},
	state.SaveGrace: {[]state.Role{state.Retired}, always},
	state.SetAside:  {[]state.Role{state.Standby, state.Retired}, always},
	state.AbortRecv: {[]state.Role{state.Standby}, func(_ *state.Observed, _ state.Step, c *state.Copy, _ state.Epoch) string {
		return unless(c.ResumeToken != "", "no token")
	}},
	state.MountVolume: {[]state.Role{state.Primary}, func(_ *state.Observed, _ state.Step, c *state.Copy, _ state.Epoch) string {
		return unless(!c.Mounted, "mounted")
	}},
	state.SetProperties: {[]state.Role{state.Primary}, always},
	state.Replicate:     {[]state.Role{state.Primary}, refusesStream},
	state.Resume:        {[]state.Role{state.Primary}, refusesStream},
	state.CatchUp:       {[]state.Role{state.Primary}, refusesStream},
	state.LastIncrement: {[]state.Role{state.Fenced}, func(o *state.Observed, s state.Step, c *state.Copy, refused state.Epoch) string {
		if c.Newest() == nil || c.Newest().Name != s.Snapshot {
			return "not its newest snapshot"
		}
		return refusesStream(o, s, c, refused)
	}},
}

func always(*state.Observed, state.Step, *state.Copy, state.Epoch) string { return "" }

func refusesBack(o *state.Observed, s state.Step, c *state.Copy, _ state.Epoch) string {
	lead, follows := leadOf(o, s), s.Lead != s.Volume
	leadHere := lead != nil && lead.Role == state.Primary
	if c.Role == state.Fenced {
		return unless(!follows && s.Epoch == c.Epoch.Next() || follows && leadHere && c.Epoch.Less(s.Epoch), "fenced: goes back to the next epoch, a follower beside its lead")
	}
	switch r := c.Release; {
	case r == nil:
		return "to whom it was released is not known"
	case !r.Epoch.Less(s.Epoch):
		return "the epoch is not above the released one"
	case follows && leadHere && lead.Epoch == s.Epoch && r.Epoch.Less(lead.Epoch):
		return ""
	}
	return unless(s.Refusal != nil && s.Refusal.Node == c.Release.To && !s.Refusal.Epoch.Less(c.Release.Epoch), "its target has not sworn it off")
}

// refusesStream judges a stream at both ends: the sender by its pair, the receiver by its role.
func refusesStream(o *state.Observed, s state.Step, src *state.Copy, _ state.Epoch) string {
	to := o.Nodes[s.Peer]
	dst := copyOf(to, s.UUID)
	switch {
	case dst == nil && contains(to.Datasets, to.Root+"/"+string(s.Volume)):
		return "a dataset is in the way"
	case dst == nil:
		return ""
	case dst.Role != state.Standby || src.Epoch.Less(dst.Epoch):
		return "the target is no standby of an earlier epoch"
	case s.Base != 0 && (dst.Find(s.Base) == nil || !had(src, s.Base)):
		return "the base is not on both sides"
	case s.Base != 0 && writtenSince(dst, s.Base):
		return "the target has been modified since the base"
	}
	return ""
}

func notSuperseded(o *state.Observed, s state.Step, c *state.Copy) string {
	primary := copyOf(o.Nodes[s.Peer], s.UUID)
	return unless(primary != nil && primary.Role == state.Primary && c.Epoch.Less(primary.Epoch) && c.Newest() != nil &&
		primary.Find(c.Newest().GUID) != nil && c.Written == 0, "the primary does not have all that it has")
}

// untrue says what of a step's evidence is not so in o: the agent cannot know, the rules must.
func untrue(d *state.Desired, o *state.Observed, s state.Step) string {
	for _, id := range []state.NodeID{s.Node, s.Peer} {
		if n := o.Nodes[id]; id != "" && reachable(s.Kind) && (n == nil || !n.Answered()) {
			return string(id) + " is silent"
		}
	}
	switch s.Kind {
	case state.Promote:
		src := copyOf(o.Nodes[s.Peer], s.UUID)
		return unless(src != nil && src.Role == state.Released && src.Release != nil && *src.Release == *s.Release, "the source has not released it so")
	case state.ReleaseVolume:
		dst := copyOf(o.Nodes[s.Peer], s.UUID)
		return unless(dst != nil && dst.Role == state.Standby && dst.Find(s.Release.GUID) != nil &&
			state.MaxEpoch(dst.Epoch, o.Nodes[s.Peer].Refused[s.UUID]).Less(s.Epoch), "the target could not be promoted so")
	case state.GoBack:
		return unless(s.Refusal == nil || o.Nodes[s.Refusal.Node].Refused[s.UUID] == s.Refusal.Epoch, "nobody has refused that")
	case state.Retire:
		c := copyOf(o.Nodes[s.Taken.Node], s.UUID)
		return unless(c != nil && c.Epoch == s.Taken.Epoch, "nobody has taken it")
	case state.DeleteOld:
		return unless(s.Grace >= d.Apps[s.App].Grace, "less than the app's grace")
	case state.CreateVolume, state.AdoptVolume:
		b, born := o.Register.Births[s.Volume]
		return unless(born && !b.Created && b.UUID == s.UUID && b.Node == s.Node && len(copiesOf(o, s.Volume)) == 0, "it was born before, or elsewhere")
	case state.StartApp, state.DeployApp:
		return misplaced(d, o, s)
	default:
		return ""
	}
}

// misplaced says why an app with volumes must not be started where a step starts it.
func misplaced(d *state.Desired, o *state.Observed, s state.Step) string {
	for _, m := range d.Apps[s.App].Volumes {
		i := slices.IndexFunc(o.Nodes[s.Node].Copies, func(c state.Copy) bool { return c.Volume == m.Volume && c.Role == state.Primary && c.Mounted })
		if i < 0 {
			return "volume " + string(m.Volume) + " is not writable there"
		}
	}
	live := deployed(s)
	pins := len(d.Apps[s.App].Volumes) > 0
	return unless(!pins || len(live.Constraints) == 1 && live.Constraints[0] == state.Constraint{Field: "hostname", Op: "CLUSTER", Value: string(o.Nodes[s.Node].Hostname)},
		"it is not pinned there")
}

func unless(ok bool, why string) string {
	if ok {
		return ""
	}
	return why
}

func copyOf(n *state.Node, uuid state.UUID) *state.Copy {
	for i := range n.Copies {
		if n.Copies[i].UUID == uuid {
			return &n.Copies[i]
		}
	}
	return nil
}

func copiesOf(o *state.Observed, v state.VolumeName) []state.Copy {
	var out []state.Copy
	for _, n := range o.Nodes {
		for _, c := range n.Copies {
			if c.Volume == v && n.Answered() {
				out = append(out, c)
			}
		}
	}
	return out
}

func leadOf(o *state.Observed, s state.Step) *state.Copy {
	for i, c := range o.Nodes[s.Node].Copies {
		if c.Volume == s.Lead {
			return &o.Nodes[s.Node].Copies[i]
		}
	}
	return nil
}

func hasSnapshot(c *state.Copy, name string) bool {
	return slices.ContainsFunc(c.Snapshots, func(s state.Snapshot) bool { return s.Name == name })
}

// had reports whether a copy has a snapshot, or a bookmark of it.
func had(c *state.Copy, g state.GUID) bool {
	return c.Find(g) != nil || slices.ContainsFunc(c.Bookmarks, func(s state.Snapshot) bool { return s.GUID == g })
}

func roleOf(c *state.Copy) state.Role {
	if c == nil {
		return "no copy"
	}
	return c.Role
}

// primaries counts the writable copies of each volume.
func primaries(o *state.Observed) map[state.UUID]int {
	out := map[state.UUID]int{}
	for _, n := range o.Nodes {
		for _, c := range n.Copies {
			if c.Role == state.Primary {
				out[c.UUID]++
			}
		}
	}
	return out
}

// reachable reports whether a step's effect is an agent's.
func reachable(k state.StepKind) bool {
	_, row := handover[k]
	return row || k == state.SwearOff || k == state.CreateVolume || k == state.AdoptVolume
}

const hour = time.Hour

// writtenSince reports whether a copy has data that came after one of its snapshots.
func writtenSince(c *state.Copy, base state.GUID) bool {
	after := c.Snapshots[slices.IndexFunc(c.Snapshots, func(s state.Snapshot) bool { return s.GUID == base })+1:]
	return c.Written > 0 || slices.ContainsFunc(after, func(s state.Snapshot) bool { return s.Written > 0 })
}
