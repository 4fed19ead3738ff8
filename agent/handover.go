package agent

import (
	"fmt"
	"strings"

	"github.com/drover-project/drover/state"
)

// This file is the handover table: who may become what, decided from a fresh copy, the request and what the node knows. It is
// pure. Each row returns the one change to make, or nil if its effect is there already, or why it is refused.
//
// Two rules make it safe whatever is delayed, doubled or reordered. A row needs its exact (role, epoch) pair, and no copy
// ever has a deciding pair twice. And what a row rests on beside the pair is a durable fact that stays true: a release until
// its target takes or refuses it, a refusal for ever, a promotion for ever.

// change is what one row writes, all of it in one `zfs set`.
type change struct {
	role     state.Role
	epoch    state.Epoch
	readonly bool
	release  *state.Release // nil writes "none"
	back     *state.Release // the release that going back has undone: the evidence of the followers; nil leaves it as it is
}

// facts is what a node knows beside the copy itself.
type facts struct {
	node     state.NodeID
	refused  state.Epoch    // highest epoch of this volume that the node has sworn never to take
	taken    state.Epoch    // highest epoch of a copy that was here once and is gone or set aside
	lead     *state.Copy    // this node's copy of the app's leading volume; nil if there is none, or this volume leads
	leadBack *state.Release // the release that the lead here has gone back from
	mounts   []string       // where the dataset is mounted, in any namespace
	users    []state.User   // who uses it
}

// follows reports whether the step's volume is not the app's leading one.
func follows(s state.Step) bool { return s.Lead != "" && s.Lead != s.Volume }

// expected compares the fresh pair with the one that the step expects, which must be one that the row starts from.
func expected(c *state.Copy, s state.Step, from ...state.Role) *Error {
	if !oneOf(s.Expect.Role, from) {
		return errorf(CodeBadRequest, "the step starts from role %s, but was sent for role %q", roles(from), s.Expect.Role)
	}
	if c == nil {
		return errorf(CodeUnexpected, "there is no copy of it; expected (%s, %s)", s.Expect.Role, s.Expect.Epoch)
	}
	if c.UUID != s.UUID {
		return errorf(CodeUnexpected, "%s holds another volume of that name (uuid %s, asked for %s)", c.Dataset, c.UUID, s.UUID).about(c)
	}
	if c.Role != s.Expect.Role || c.Epoch != s.Expect.Epoch {
		return errorf(CodeUnexpected, "it is (%s, %s), not (%s, %s); look again", c.Role, c.Epoch, s.Expect.Role, s.Expect.Epoch).about(c)
	}
	return nil
}

func oneOf(r state.Role, rs []state.Role) bool {
	for _, x := range rs {
		if x == r {
			return true
		}
	}
	return false
}

func roles(rs []state.Role) string {
	var words []string
	for _, r := range rs {
		words = append(words, string(r))
	}
	return strings.Join(words, " or ")
}

// already reports whether c is of the step's volume and has this pair.
func already(c *state.Copy, s state.Step, r state.Role, e state.Epoch) bool {
	return c != nil && c.UUID == s.UUID && c.Role == r && c.Epoch == e
}

// unchanged refuses if c holds anything beyond the snapshot guid. The caller has synced the pool before it read c.
func unchanged(c *state.Copy, guid state.GUID) *Error {
	newest := c.Newest()
	switch {
	case guid == 0:
		return errorf(CodeBadRequest, "the step names no snapshot")
	case newest == nil:
		return errorf(CodeRefused, "it has no snapshot").about(c)
	case newest.GUID != guid:
		return errorf(CodeRefused, "its newest snapshot is %s (guid %s), not guid %s", newest.Name, newest.GUID, guid).about(c)
	case c.Written != 0:
		return errorf(CodeRefused, "%d bytes were written since its snapshot %s", c.Written, newest.Name).about(c)
	}
	return nil
}

// holdsJust refuses if c holds anything beyond the snapshot guid. Snapshots that somebody took since, while nothing was written, are nothing.
// The caller has synced the pool before it read c.
func holdsJust(c *state.Copy, guid state.GUID) *Error {
	switch {
	case guid == 0:
		return errorf(CodeBadRequest, "the step names no snapshot")
	case c.Find(guid) == nil:
		return errorf(CodeRefused, "it has no snapshot with guid %s", guid).about(c)
	case c.ChangedSince(guid):
		return errorf(CodeRefused, "it was written to since its snapshot %s", c.Find(guid).Name).about(c)
	}
	return nil
}

// unchangedBelow refuses if a child holds anything beyond what a release says.
func unchangedBelow(c *state.Copy, below string) *Error {
	for i := range c.Children {
		d := &c.Children[i]
		switch {
		case d.Newest() == nil:
			return errorf(CodeRefused, "%s/%s has no snapshot", c.Dataset, d.Path).about(c)
		case d.Written != 0:
			return errorf(CodeRefused, "%d bytes were written to %s/%s since its snapshot %s", d.Written, c.Dataset, d.Path, d.Newest().Name).about(c)
		}
	}
	if c.Below() != below {
		return errorf(CodeRefused, "the datasets below %s and their newest snapshots are not those of the release", c.Dataset).about(c)
	}
	return nil
}

// inherits refuses while a child does not follow the copy's readonly.
func inherits(c *state.Copy) *Error {
	for _, d := range c.Children {
		if d.Properties["readonly"] == "off" || c.Readonly && !d.Readonly {
			return errorf(CodeRefused, "%s/%s has a readonly=off of its own and can be written to: zfs inherit readonly %s/%s", c.Dataset, d.Path, c.Dataset, d.Path).about(c)
		}
	}
	return nil
}

// fence: (primary,e) -> (fenced,e), readonly. Nobody may use it, and its last snapshot must not have been taken before. A
// step that expects (fenced,e) finishes a fence that was cut short before its snapshot.
func fence(c *state.Copy, s state.Step, f facts) (*change, *Error) {
	begun := oneOf(s.Expect.Role, []state.Role{state.Primary, state.Fenced})
	if begun && already(c, s, state.Fenced, s.Expect.Epoch) && c.Readonly {
		return nil, nil
	}
	if err := expected(c, s, state.Primary); err != nil {
		return nil, err
	}
	if err := unused(c, f); err != nil {
		return nil, err
	}
	if named(c, s.Snapshot) != nil {
		return nil, errorf(CodeRefused, "snapshot %s is there already, from before the fence", s.Snapshot).about(c)
	}
	if why := c.Unmovable(); why != "" {
		return nil, errorf(CodeRefused, "%s", why).about(c)
	}
	if err := inherits(c); err != nil {
		return nil, err
	}
	return &change{role: state.Fenced, epoch: c.Epoch, readonly: true}, nil
}

// release: (fenced,e) -> (released,e) to the step's peer at the step's epoch. From then on only the peer may decide.
func release(c *state.Copy, s state.Step, f facts) (*change, *Error) {
	if s.Release == nil || s.Peer == "" || s.Epoch.IsZero() {
		return nil, errorf(CodeBadRequest, "a release names its target, epoch and snapshot")
	}
	to := state.Release{From: f.node, To: s.Peer, Epoch: s.Epoch, GUID: s.Release.GUID, Below: s.Release.Below}
	if s.Expect.Role == state.Fenced && already(c, s, state.Released, s.Expect.Epoch) && givenTo(c, to) {
		return nil, nil
	}
	if err := expected(c, s, state.Fenced); err != nil {
		return nil, err
	}
	if err := unchanged(c, to.GUID); err != nil {
		return nil, err
	}
	if err := unchangedBelow(c, to.Below); err != nil {
		return nil, err
	}
	if err := inherits(c); err != nil {
		return nil, err
	}
	switch {
	case to.To == f.node:
		return nil, errorf(CodeRefused, "it cannot be released to the node that has it")
	case !c.Epoch.Less(to.Epoch):
		return nil, errorf(CodeRefused, "epoch %s is not above its own, %s", to.Epoch, c.Epoch).about(c)
	case !c.Readonly:
		return nil, errorf(CodeRefused, "it is fenced, but readonly was switched off by hand; go back instead").about(c)
	case follows(s) && !leadGivenTo(f.lead, to):
		return nil, errorf(CodeRefused, "it follows volume %s, which is not released to node %s at %s here", s.Lead, to.To, to.Epoch).about(c)
	}
	return &change{role: state.Released, epoch: c.Epoch, readonly: true, release: &to}, nil
}

// givenTo reports whether c records exactly this release. From is this node either way.
func givenTo(c *state.Copy, r state.Release) bool {
	return c.Release != nil && c.Release.To == r.To && c.Release.Epoch == r.Epoch && c.Release.GUID == r.GUID && c.Release.Below == r.Below
}

// leadGivenTo reports whether the lead was given to the same node at the same epoch; its snapshot is another one.
func leadGivenTo(lead *state.Copy, r state.Release) bool {
	return lead != nil && lead.Release != nil && (lead.Role == state.Released || lead.Role == state.Retired) &&
		lead.Release.To == r.To && lead.Release.Epoch == r.Epoch
}

// promote: (standby,any) -> (primary,n), writable: the commit point of a move.
func promote(c *state.Copy, s state.Step, f facts) (*change, *Error) {
	if s.Release == nil {
		return nil, errorf(CodeBadRequest, "a promotion carries the source's release")
	}
	if s.Expect.Role == state.Standby && already(c, s, state.Primary, s.Epoch) {
		return nil, nil
	}
	if err := expected(c, s, state.Standby); err != nil {
		return nil, err
	}
	switch {
	case s.Release.To != f.node || s.Release.From == f.node:
		return nil, errorf(CodeRefused, "it was released to node %s; this is node %s", s.Release.To, f.node).about(c)
	case s.Release.Epoch != s.Epoch:
		return nil, errorf(CodeRefused, "it was released at epoch %s, not %s", s.Release.Epoch, s.Epoch).about(c)
	case !state.MaxEpoch(c.Epoch, f.refused, f.taken).Less(s.Epoch):
		return nil, errorf(CodeRefused, "epoch %s is not above what it has been (%s, %s) and has sworn off (%s)", s.Epoch, c.Epoch, f.taken, f.refused).about(c)
	case c.Receiving || c.IsHalf():
		return nil, errorf(CodeBusy, "it is still receiving").about(c)
	case follows(s) && (f.lead == nil || f.lead.Role != state.Primary || f.lead.Epoch != s.Epoch):
		return nil, errorf(CodeRefused, "it follows volume %s, which is not primary at %s here", s.Lead, s.Epoch).about(c)
	case len(c.KeysMissing()) > 0:
		return nil, errorf(CodeRefused, "the key of %s is not loaded: zfs load-key -r %s", strings.Join(c.KeysMissing(), ", "), c.Dataset).about(c)
	}
	if err := holdsJust(c, s.Release.GUID); err != nil {
		return nil, err
	}
	if err := unchangedBelow(c, s.Release.Below); err != nil {
		return nil, err
	}
	if err := unused(c, f); err != nil {
		return nil, err
	}
	if err := unmounted(c, f); err != nil {
		return nil, err
	}
	return &change{role: state.Primary, epoch: s.Epoch}, nil
}

// swearOff says whether the node may refuse the step's epoch for ever: only if no copy of the volume here can have had it.
// It returns the epoch to record, or the zero Epoch if one as high is recorded already. c is nil if there is no copy.
//
// Success says two things: this node never had exactly this epoch, and never will. That one as high is recorded says only
// the second: a node that was primary at 2 may swear off 4 later, and that is no leave to go back from a release at 2.
func swearOff(c *state.Copy, s state.Step, f facts) (state.Epoch, *Error) {
	switch {
	case s.Epoch.IsZero():
		return state.Epoch{}, errorf(CodeBadRequest, "the step names no epoch")
	case !f.taken.Less(s.Epoch):
		return state.Epoch{}, errorf(CodeUnexpected, "a copy here had epoch %s once, it cannot refuse %s now", f.taken, s.Epoch).about(c)
	case c != nil && (c.Role != state.Standby && c.Role != state.Retired || !c.Epoch.Less(s.Epoch)):
		return state.Epoch{}, errorf(CodeUnexpected, "it is (%s, %s) and cannot refuse %s any more", c.Role, c.Epoch, s.Epoch).about(c)
	case !f.refused.Less(s.Epoch):
		return state.Epoch{}, nil
	}
	return s.Epoch, nil
}

// retire: (released,e) -> (retired,e), once its target is primary.
func retire(c *state.Copy, s state.Step) (*change, *Error) {
	if s.Taken == nil {
		return nil, errorf(CodeBadRequest, "retiring carries the fact that the target is primary")
	}
	if s.Expect.Role == state.Released && already(c, s, state.Retired, s.Expect.Epoch) {
		return nil, nil
	}
	if err := expected(c, s, state.Released); err != nil {
		return nil, err
	}
	if c.Release == nil || s.Taken.Node != c.Release.To || s.Taken.Epoch.Less(c.Release.Epoch) {
		return nil, errorf(CodeRefused, "it was released to %s; that node %s is primary at %s proves nothing", words(c.Release), s.Taken.Node, s.Taken.Epoch).about(c)
	}
	return &change{role: state.Retired, epoch: c.Epoch, readonly: true, release: c.Release}, nil
}

func words(r *state.Release) string {
	if r == nil {
		return "nobody"
	}
	return fmt.Sprintf("node %s at %s", r.To, r.Epoch)
}

// goBack makes the source writable again: from fenced on its own word, from released only with the target's refusal. Whoever uses
// it may go on: nobody has written anywhere else since the fence, so that nothing which he has in memory is older than what is
// there. An app that is down must not wait for him beyond its budget.
func goBack(c *state.Copy, s state.Step, f facts) (*change, *Error) {
	from := oneOf(s.Expect.Role, []state.Role{state.Fenced, state.Released})
	if from && already(c, s, state.Primary, s.Epoch) {
		return nil, nil
	}
	if err := expected(c, s, state.Fenced, state.Released); err != nil {
		return nil, err
	}
	evidence := backFromFenced
	if c.Role == state.Released {
		evidence = backFromReleased
	}
	if err := evidence(c, s, f); err != nil {
		return nil, err
	}
	ch := &change{role: state.Primary, epoch: s.Epoch}
	if c.Role == state.Released {
		ch.back = c.Release
	}
	return ch, nil
}

// backFromFenced: nothing was given away yet. The lead goes back to exactly the next epoch; a follower goes where the lead is.
func backFromFenced(c *state.Copy, s state.Step, f facts) *Error {
	switch {
	case !follows(s) && s.Epoch != c.Epoch.Next():
		return errorf(CodeRefused, "the way back from (fenced, %s) is to %s, not %s", c.Epoch, c.Epoch.Next(), s.Epoch).about(c)
	case follows(s) && (f.lead == nil || f.lead.Role != state.Primary):
		return errorf(CodeRefused, "it follows volume %s, which is not primary here", s.Lead).about(c)
	case s.Epoch.F != c.Epoch.F || !c.Epoch.Less(s.Epoch):
		return errorf(CodeRefused, "epoch %s does not follow %s", s.Epoch, c.Epoch).about(c)
	}
	return nil
}

// backFromReleased needs the target's durable word on exactly the released epoch: that it never had it and never takes it. A
// word on a higher one does not say the first. For a follower the lead's word is as good: its
// promotion at the target needs the lead primary there at exactly the epoch that the target has refused.
func backFromReleased(c *state.Copy, s state.Step, f facts) *Error {
	given := c.Release
	if given == nil {
		return errorf(CodeRefused, "it is released, but to whom cannot be read").about(c)
	}
	refused := s.Refusal != nil && s.Refusal.Node == given.To && s.Refusal.Epoch == given.Epoch
	leadWentBack := follows(s) && f.leadBack != nil && f.leadBack.To == given.To && f.leadBack.Epoch == given.Epoch
	switch {
	case !refused && !leadWentBack:
		return errorf(CodeRefused, "it was released to %s, and that node has not sworn it off", words(given)).about(c)
	case follows(s) && (f.lead == nil || f.lead.Role != state.Primary || f.lead.Epoch != s.Epoch):
		return errorf(CodeRefused, "it follows volume %s, which is not primary at %s here", s.Lead, s.Epoch).about(c)
	case s.Epoch.F != given.Epoch.F || !given.Epoch.Less(s.Epoch):
		return errorf(CodeRefused, "epoch %s does not follow the released %s", s.Epoch, given.Epoch).about(c)
	}
	return nil
}

// rejoin: (retired,e) -> (standby,e). peer is the primary's copy, asked afresh. Snapshots of others may have come after the base: a
// copy that nothing was written to since is what the primary had then.
func rejoin(c *state.Copy, s state.Step, peer *state.Copy) (*change, *Error) {
	if s.Expect.Role == state.Retired && already(c, s, state.Standby, s.Expect.Epoch) {
		return nil, nil
	}
	if err := expected(c, s, state.Retired); err != nil {
		return nil, err
	}
	if err := supersededBy(c, s, peer); err != nil {
		return nil, err
	}
	switch {
	case s.Base == 0:
		return nil, errorf(CodeBadRequest, "the step names no snapshot")
	case c.ChangedSince(s.Base):
		return nil, errorf(CodeRefused, "it has more than its snapshot with guid %s, or no such snapshot", s.Base).about(c)
	case !peer.Had(s.Base):
		return nil, errorf(CodeRefused, "its snapshot with guid %s is not on the primary at node %s, nor a bookmark of it", s.Base, s.Peer).about(c)
	}
	return &change{role: state.Standby, epoch: c.Epoch, readonly: true}, nil
}

// superseded refuses unless peer is the volume's primary at a higher epoch and holds c's newest snapshot.
func superseded(c *state.Copy, s state.Step, peer *state.Copy) *Error {
	if err := supersededBy(c, s, peer); err != nil {
		return err
	}
	newest := c.Newest()
	switch {
	case newest == nil:
		return errorf(CodeRefused, "it has no snapshot that the primary could have").about(c)
	case peer.Find(newest.GUID) == nil:
		return errorf(CodeRefused, "its newest snapshot %s is not on the primary at node %s", newest.Name, s.Peer).about(c)
	}
	return nil
}

// supersededBy refuses unless peer is the volume's primary at a higher epoch.
func supersededBy(c *state.Copy, s state.Step, peer *state.Copy) *Error {
	switch {
	case peer == nil || peer.UUID != c.UUID:
		return errorf(CodeRefused, "node %s has no copy of it", s.Peer).about(c)
	case peer.Role != state.Primary || !c.Epoch.Less(peer.Epoch):
		return errorf(CodeRefused, "the copy on node %s is (%s, %s), not primary above %s", s.Peer, peer.Role, peer.Epoch, c.Epoch).about(c)
	}
	return nil
}

// supersededBelow refuses unless the primary holds the newest snapshot of each child, and nothing was written since.
func supersededBelow(c *state.Copy, s state.Step, peer *state.Copy) *Error {
	for _, path := range c.Paths()[1:] {
		d, its := c.Part(path), peer.Part(path)
		newest := d.Newest()
		switch {
		case c.Child(path).Device || its == nil:
			return errorf(CodeRefused, "%s is not on the primary at node %s: rename it away, or destroy it by hand", d.Dataset, s.Peer).about(c)
		case newest == nil || its.Find(newest.GUID) == nil:
			return errorf(CodeRefused, "the newest snapshot of %s is not on the primary at node %s", d.Dataset, s.Peer).about(c)
		case d.Written != 0:
			return errorf(CodeRefused, "%d bytes were written to %s since its snapshot %s, which the primary does not have", d.Written, d.Dataset, newest.Name).about(c)
		}
	}
	return nil
}

// deletable refuses unless the retired copy c holds nothing that the primary, asked afresh, does not have, and nobody uses it.
func deletable(c *state.Copy, s state.Step, f facts, peer *state.Copy) *Error {
	if err := expected(c, s, state.Retired); err != nil {
		return err
	}
	if err := superseded(c, s, peer); err != nil {
		return err
	}
	if err := supersededBelow(c, s, peer); err != nil {
		return err
	}
	switch {
	case c.GraceServed < s.Grace:
		return errorf(CodeRefused, "its grace is %s, of which %s are served", s.Grace, c.GraceServed).about(c)
	case c.Written != 0:
		return errorf(CodeRefused, "%d bytes were written since its snapshot %s, which the primary does not have", c.Written, c.Newest().Name).about(c)
	case c.Receiving || c.IsHalf():
		return errorf(CodeRefused, "it holds a half-received stream").about(c)
	}
	if err := unused(c, f); err != nil {
		return err
	}
	return unmountable(c, f)
}

// unused refuses while processes use the dataset.
func unused(c *state.Copy, f facts) *Error {
	if len(f.users) == 0 {
		return nil
	}
	return errorf(CodeBusy, "it is used by %s; stop them", people(f.users)).about(c)
}

// unmounted refuses while the dataset is mounted in any namespace.
func unmounted(c *state.Copy, f facts) *Error {
	for _, p := range c.Parts() {
		if p.Mounted {
			return errorf(CodeBusy, "it is mounted at %s; unmount it", p.Mountpoint).about(c)
		}
	}
	return unmountable(c, f)
}

// unmountable refuses while a namespace other than the agent's has it mounted.
func unmountable(c *state.Copy, f facts) *Error {
	if len(f.mounts) == 0 {
		return nil
	}
	return errorf(CodeBusy, "it is mounted elsewhere: %s; end these processes", strings.Join(f.mounts, ", ")).about(c)
}

// people names at most three processes.
func people(users []state.User) string {
	var names []string
	for i, u := range users {
		if i == 3 {
			names = append(names, fmt.Sprintf("%d more", len(users)-i))
			break
		}
		names = append(names, fmt.Sprintf("pid %d %s (%s)", u.PID, u.Command, u.How))
	}
	return strings.Join(names, ", ")
}

// named returns the copy's snapshot of that name, or nil.
func named(c *state.Copy, name string) *state.Snapshot {
	for i := range c.Snapshots {
		if c.Snapshots[i].Name == name {
			return &c.Snapshots[i]
		}
	}
	return nil
}
