package reconcile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/drover-project/drover/state"
)

// Estimates that are used until something was measured.
const (
	guessedRate = 100 << 20 // bytes/s between two nodes
	streamCost  = 100 * time.Millisecond
	roundsPause = 5 * time.Minute // before another round is tried when rounds have stopped shrinking
)

// move brings an app to where the manifest wants it: copy while it runs, catch up until the last increment fits the budget,
// then begin the cutover. An obstacle never keeps the app from being updated where it is.
func (a *appCase) move() (state.Decision, bool) {
	return a.butUpdate(a.moveOn())
}

func (a *appCase) moveOn() (state.Decision, bool) {
	h, _ := a.lead().holder()
	if a.agents[h.node.Hostname] == nil {
		return state.Decision{Notes: []string{"the Mesos master does not know " + string(h.node.Hostname) + " now; the app is not moved for that"}}, false
	}
	to, why := a.place(h.node)
	if to == h.node {
		return state.Decision{}, false
	}
	if m, marked := a.mark(); marked && m.Kind == state.Cancelled {
		return state.Decision{Notes: []string{"its move was cancelled; it stays on " + string(h.node.Hostname) + " until its placement in the manifest changes (or drover resume " + string(a.app.ID) + ")"}}, false
	}
	if to == nil && a.mayFit() {
		return a.wait("%s", why)
	}
	if to == nil {
		return a.stall("%s", why)
	}
	if why := a.hindered(h.node); why != "" {
		return a.stall("%s", why)
	}
	if why := a.lockedAtEither(h.node, to); why != "" {
		return a.wait("%s", why)
	}
	if d, decided := a.each(func(vc *volumeCase) (state.Decision, bool) { return a.copyTo(vc, h.node, to) }); decided {
		return d, true
	}
	return a.beginCutover(h.node, to)
}

// mark returns what a person said about this app's move, if it applies to the placement that the manifest wants now.
func (a *appCase) mark() (state.Mark, bool) {
	m, ok := a.o.Register.Marks[a.app.ID]
	if ok && m.Kind == state.Cancelled && m.Digest != PlacementDigest(a.app) {
		return state.Mark{}, false
	}
	return m, ok
}

// hindered names what is in the way of a move though the target would do.
func (a *appCase) hindered(from *state.Node) string {
	for i := range a.vols {
		if why := a.vols[i].on(from.ID).Unmovable(); why != "" {
			return fmt.Sprintf("volume %s cannot be moved as a whole: %s", a.vols[i].want.Name, why)
		}
		mount := a.vols[i].on(from.ID).Mountpoint
		if id := a.mountingsIn(mount, a.app.ID); id != "" {
			return fmt.Sprintf("app %s has a volume inside %s, which belongs to volume %s of %s: it would lose it in the move; give it a volume of its own, then the move goes on",
				id, mount, a.vols[i].want.Name, a.app.ID)
		}
	}
	if least := a.leastOutage(); least > a.app.Cutover.MaxOutage {
		return fmt.Sprintf("its outage would be %s without a single byte to send, and cutover.maxOutage is %s: raise it", Seconds(least), Seconds(a.app.Cutover.MaxOutage))
	}
	return ""
}

// copyTo brings one volume's copy on the target up to a snapshot of this move.
func (a *appCase) copyTo(vc *volumeCase, from, to *state.Node) (state.Decision, bool) {
	src, dst, epoch := vc.on(from.ID), vc.on(to.ID), a.nextEpoch(from, to)
	pending := pendingRound(src, dst, epoch)
	switch {
	case dst == nil:
		return a.sendTo(vc, from, to, state.Replicate, pending, epoch)
	case dst.Role == state.Retired:
		return a.rejoin(vc, src, dst, to, from)
	case dst.Role != state.Standby:
		return a.stall("volume %s on %s is %s at epoch %s while %s is primary: nothing is touched", vc.want.Name, to.Hostname, dst.Role, dst.Epoch, from.Hostname)
	case dst.IsHalf():
		return a.sendTo(vc, from, to, state.Resume, pending, epoch)
	case dst.Receiving && unsentRound(src, dst, epoch) != "":
		return a.sendTo(vc, from, to, state.CatchUp, pending, epoch)
	case diverged(src, dst):
		return a.setAside(vc, dst, to, "it cannot be brought up to date from "+string(from.Hostname))
	}
	if path, why := misfit(src, dst); path != "" {
		return a.setAsideChild(vc, dst, to, path, why)
	}
	if unsent := unsentRound(src, dst, epoch); unsent != "" || newcomer(src, dst) || roundOf(common(src, dst).Name, epoch) < 1 {
		return a.sendTo(vc, from, to, state.CatchUp, pending, epoch)
	}
	return state.Decision{}, false
}

// rejoin makes an old copy the standby of a move back, if what it has is also on the primary; its snapshots are the base. Tools that
// take snapshots of all there is take some of an old copy too.
func (a *appCase) rejoin(vc *volumeCase, src, dst *state.Copy, to, from *state.Node) (state.Decision, bool) {
	if diverged(src, dst) {
		return a.setAside(vc, dst, to, "it holds data that "+string(from.Hostname)+" does not have")
	}
	base := common(src, dst)
	return a.do(state.Step{Kind: state.Rejoin, Volume: vc.want.Name, UUID: vc.birth.UUID, Node: to.ID, Peer: from.ID,
		PeerAddress: from.Address, Expect: expect(dst), Base: base.GUID, Why: "its newest snapshot is on " + string(from.Hostname) + ": only what changed since is sent"})
}

func (a *appCase) setAside(vc *volumeCase, dst *state.Copy, at *state.Node, why string) (state.Decision, bool) {
	return a.do(state.Step{Kind: state.SetAside, Volume: vc.want.Name, UUID: vc.birth.UUID, Node: at.ID, Expect: expect(dst),
		Dataset: dst.Dataset, Why: why + "; it is renamed, not destroyed"})
}

// diverged reports whether a standby, or an old copy that is to be one, cannot take an increment from its source. Snapshots that
// somebody took on it are no obstacle as long as nothing was written: OpenZFS takes a stream onto any snapshot that it has. Only a
// raw stream wants its base to be the newest.
func diverged(src, dst *state.Copy) bool {
	base := common(src, dst)
	return base == nil || dst.ChangedSince(base.GUID) || src.Encrypted && dst.Newest().GUID != base.GUID
}

func (a *appCase) sendTo(vc *volumeCase, from, to *state.Node, kind state.StepKind, snapshot string, epoch state.Epoch) (state.Decision, bool) {
	src, dst := vc.on(from.ID), vc.on(to.ID)
	s := state.Step{Kind: kind, Volume: vc.want.Name, UUID: vc.birth.UUID, Move: a.moveID(epoch), Node: from.ID, Peer: to.ID,
		PeerAddress: to.Address, Expect: expect(src), Snapshot: snapshot, Bytes: src.Used, Properties: vc.want.Properties, Quota: vc.want.Quota,
		Reclaim: vc.want.Reclaim, Outage: kind == state.LastIncrement}
	if kind != state.LastIncrement {
		s.Keep, s.Sweep = a.needed(vc, src)
	}
	if len(src.Children) > 0 {
		s.Datasets = 1 + len(src.Children)
	}
	switch {
	case dst == nil:
		s.Why = string(to.Hostname) + " has no copy"
	case dst.IsHalf():
		s.Token, _ = dst.HalfReceived()
		s.Bytes, s.Why = max(src.Used-dst.Used, 0), "a stream was cut; it goes on where it was"
	default:
		if base := common(src, dst); base != nil {
			s.Base, s.Bytes, s.Why = base.GUID, delta(src, dst), "changed since "+base.Name
		}
	}
	s.Took = streamTime(s.Bytes, a.rate(from, to))
	return a.do(s)
}

// beginCutover decides whether the app may be stopped now, or what another catch-up round can do about it.
func (a *appCase) beginCutover(from, to *state.Node) (state.Decision, bool) {
	outage, budget := a.predictOutage(from, to), a.app.Cutover.MaxOutage
	if outage > budget {
		return a.anotherRound(from, to, outage)
	}
	if _, marked := a.mark(); marked {
		return a.wait("its move to %s is paused, caught up; go on with: drover resume %s", to.Hostname, a.app.ID)
	}
	if who := a.stillThere(from); who != "" {
		return a.wait("%s on %s used the app's volume even while the app was stopped, and still does: the app stays up, and moves when that process has ended", who, from.Hostname)
	}
	if who := a.inTarget(to); who != "" {
		return a.wait("%s; nobody may have it mounted when it becomes writable: the app stays up, and moves when that process has ended", who)
	}
	if t := a.o.Attempts[a.app.ID]; t.Missed > 0 {
		if left := t.Last.Add(retryAfter(t.Missed)).Sub(a.now); left > 0 {
			d, _ := a.wait("its cutover did not come about, %s so far; it is tried again in %s", plural(t.Missed, "time"), Seconds(left))
			d.After = left
			return d, true
		}
	}
	for i := range a.vols {
		if why := keyless(a.vols[i].on(to.ID), to); why != "" {
			return a.stall("%s; then its move goes on; %s was not stopped", why, a.app.ID)
		}
	}
	if d, locked := a.locked(); locked {
		return d, true
	}
	return a.hold(from, to)
}

// stillThere names a process that kept the last cutover from going on and uses a volume now: another outage would be for nothing.
func (a *appCase) stillThere(from *state.Node) string {
	for i := range a.vols {
		for _, u := range a.vols[i].on(from.ID).Users {
			if slices.ContainsFunc(a.o.Attempts[a.app.ID].Users, func(was state.User) bool { return was.PID == u.PID && was.Command == u.Command }) {
				return process(u)
			}
		}
	}
	return ""
}

func process(u state.User) string { return fmt.Sprintf("process %d (%s)", u.PID, u.Command) }

// inTarget says which process uses a standby that is to be promoted: in its memory may be what the copy held when it was primary before,
// and would overwrite what is newer.
func (a *appCase) inTarget(to *state.Node) string {
	for i := range a.vols {
		if dst := a.vols[i].on(to.ID); len(dst.Users) > 0 {
			return fmt.Sprintf("%s uses the standby of volume %s on %s", process(dst.Users[0]), a.vols[i].want.Name, to.Hostname)
		}
	}
	return ""
}

// retryAfter grows from 10 s to 10 min with the number of cutovers that went back.
func retryAfter(missed int) time.Duration {
	return min(10*time.Second<<min(missed-1, 6), 10*time.Minute)
}

// predictOutage estimates the outage of a cutover begun now.
func (a *appCase) predictOutage(from, to *state.Node) time.Duration {
	total := a.leastOutage()
	for i := range a.vols {
		src, dst := a.vols[i].on(from.ID), a.vols[i].on(to.ID)
		if base := common(src, dst); base != nil {
			total += time.Duration(float64(delta(src, dst)) / a.rate(from, to) * float64(time.Second))
		}
	}
	return total
}

// leastOutage estimates the outage of a cutover with nothing left to send. Several volumes go side by side, but for the release and the
// promotion of the first.
func (a *appCase) leastOutage() time.Duration {
	t := a.timing()
	streams, changes := (len(a.vols)+abreast-1)/abreast, 3
	if len(a.vols) > 1 {
		changes = 5
	}
	return t.Stop + t.Start + time.Duration(streams)*streamCost + time.Duration(changes)*fixedCost
}

// anotherRound catches up once more, unless rounds have stopped shrinking: then the app stays up and a person is told.
func (a *appCase) anotherRound(from, to *state.Node, outage time.Duration) (state.Decision, bool) {
	epoch := a.nextEpoch(from, to)
	vc := a.largestDelta(from, to)
	src := vc.on(from.ID)
	k, last := lastRound(src, epoch)
	var left time.Duration
	if stuck := k >= a.app.Cutover.MaxRounds || k >= 3 && a.notShrinking(src, epoch, k); stuck {
		left = last.Created.Add(roundsPause).Sub(a.now)
	}
	if left > 0 {
		d, _ := a.stall("volume %s changes faster than it can be caught up with: after %s the outage would still be %s of %s; raise cutover.maxOutage, or let the app write less; the app was not stopped",
			vc.want.Name, plural(k, "round"), Seconds(outage), Seconds(a.app.Cutover.MaxOutage))
		d.After = left
		return d, true
	}
	return a.sendTo(vc, from, to, state.CatchUp, roundName(epoch, nextRound(src, vc.on(to.ID), epoch)), epoch)
}

func (a *appCase) largestDelta(from, to *state.Node) *volumeCase {
	best, most := a.lead(), int64(-1)
	for i := range a.vols {
		src := a.vols[i].on(from.ID)
		dst := a.vols[i].on(to.ID)
		if base := common(src, dst); base != nil && delta(src, dst) > most {
			best, most = &a.vols[i], delta(src, dst)
		}
	}
	return best
}

// notShrinking compares the last two rounds of this move: less than a fifth less means that more rounds will not help.
func (a *appCase) notShrinking(src *state.Copy, epoch state.Epoch, k int) bool {
	var last, before int64 = -1, -1
	for _, s := range src.Snapshots {
		switch roundOf(s.Name, epoch) {
		case k:
			last = s.Written
		case k - 1:
			before = s.Written
		}
	}
	return last >= 0 && before >= 0 && last*5 > before*4
}

// lastRound returns the newest round of a move among a copy's snapshots. Others may be taking snapshots too.
func lastRound(c *state.Copy, e state.Epoch) (int, *state.Snapshot) {
	k, last := -1, c.Newest()
	for i := range c.Snapshots {
		if r := roundOf(c.Snapshots[i].Name, e); r > k {
			k, last = r, &c.Snapshots[i]
		}
	}
	return k, last
}

func roundName(e state.Epoch, k int) string { return fmt.Sprintf("drover-%s-%d", e, k) }
func finalName(e state.Epoch) string        { return fmt.Sprintf("drover-%s-final", e) }

// roundOf returns which round of the move to an epoch a snapshot is from, or -1.
func roundOf(name string, e state.Epoch) int {
	k, ok := strings.CutPrefix(name, "drover-"+e.String()+"-")
	if !ok {
		return -1
	}
	n, err := strconv.Atoi(k)
	if err != nil {
		return -1
	}
	return n
}

// unsentRound returns the newest snapshot of this move that the target lacks, or "". One that is older than what the target has is
// not sent any more; it may stay for as long as somebody else holds it.
func unsentRound(src, dst *state.Copy, e state.Epoch) string {
	for i := len(src.Snapshots) - 1; i >= 0; i-- {
		s := src.Snapshots[i]
		if dst != nil && dst.Find(s.GUID) != nil {
			break
		}
		if roundOf(s.Name, e) >= 0 {
			return s.Name
		}
	}
	if _, last := lastRound(src, e); last != nil && roundOf(last.Name, e) >= 0 && childLacks(src, dst, last.Name) {
		return last.Name
	}
	return ""
}

// childLacks reports whether a child of the target lacks its part of a snapshot of the whole source.
func childLacks(src, dst *state.Copy, name string) bool {
	for _, path := range src.Paths()[1:] {
		its := dst.Part(path)
		for _, s := range src.Part(path).Snapshots {
			if s.Name == name && (its == nil || its.Find(s.GUID) == nil) {
				return true
			}
		}
	}
	return false
}

// pendingRound returns the snapshot to send next: one of this move that the target lacks, or the name of a new one. Round 0
// is the full copy.
func pendingRound(src, dst *state.Copy, e state.Epoch) string {
	if unsent := unsentRound(src, dst, e); unsent != "" {
		return unsent
	}
	return roundName(e, nextRound(src, dst, e))
}

// nextRound returns the round after all that were. Somebody may have destroyed the snapshots of some at the source.
func nextRound(src, dst *state.Copy, e state.Epoch) int {
	k, _ := lastRound(src, e)
	if dst == nil {
		return k + 1
	}
	has, _ := lastRound(dst, e)
	return max(k+1, has+1, 1)
}
