package marathond

import (
	"fmt"
	"math"
	"time"
)

// queueEntry is what the launch queue remembers of an app. It is lost on a restart, as Marathon's is.
type queueEntry struct {
	since        time.Time
	key          string // app's lastConfigChangeAt that the backoff belongs to
	delay        time.Duration
	backoffUntil time.Time
	lastFailure  time.Time
	processed    int
	unused       int
	lastUnusedAt time.Time
	lastRound    map[string]int // reason -> offers, of the last round
	total        map[string]int
	roundSize    int
	lastOffers   []unusedOffer
}

type unusedOffer struct {
	offer  offer
	reason string
	at     time.Time
}

func (s *Server) queueOf(now time.Time, id string) *queueEntry {
	q := s.queue[id]
	if q == nil {
		q = &queueEntry{since: now, total: map[string]int{}, lastRound: map[string]int{}}
		s.queue[id] = q
	}
	if a := s.m.app(id); a != nil && q.key != a.LastConfigChangeAt {
		q.key, q.delay, q.backoffUntil = a.LastConfigChangeAt, 0, time.Time{}
	}
	return q
}

func (s *Server) forgetQueue(id string) { delete(s.queue, id) }

func (q *queueEntry) beginRound() {
	q.lastRound, q.roundSize, q.lastOffers = map[string]int{}, 0, nil
}

func (q *queueEntry) record(now time.Time, o offer, reason string) {
	q.processed++
	q.roundSize++
	if reason == "" {
		return
	}
	q.unused++
	q.lastUnusedAt = now
	q.lastRound[reason]++
	q.total[reason]++
	q.lastOffers = append(q.lastOffers, unusedOffer{o, reason, now})
}

// backOff raises the launch delay after a failure. A delay without failures for longer than the maximum starts anew.
func (s *Server) backOff(now time.Time, a *app) {
	q := s.queueOf(now, a.id())
	limit := s.opt.Timing.seconds(a.spec.MaxLaunchDelay)
	first := s.opt.Timing.seconds(a.spec.BackoffSeconds)
	if q.delay == 0 || now.Sub(q.lastFailure) > limit+q.delay {
		q.delay = first
	} else {
		q.delay = time.Duration(float64(q.delay) * a.spec.BackoffFactor)
	}
	q.delay = min(q.delay, limit)
	q.lastFailure = now
	q.backoffUntil = now.Add(q.delay)
}

func (s *Server) resetBackoff(id string) {
	if q := s.queue[id]; q != nil {
		q.delay, q.backoffUntil = 0, time.Time{}
	}
}

// queueJSON lists the apps that still have instances to launch.
func (s *Server) queueJSON(now time.Time, withOffers bool) []any {
	out := []any{}
	for _, id := range s.m.appIDs() {
		waiting := keep(s.m.instances(id), func(i *instance) bool { return i.Condition == condScheduled })
		if len(waiting) > 0 {
			out = append(out, s.queueItem(now, s.m.app(id), waiting, withOffers))
		}
	}
	return out
}

func (s *Server) queueItem(now time.Time, a *app, waiting []*instance, withOffers bool) tree {
	q := s.queueOf(now, a.id())
	left := max(0, q.backoffUntil.Sub(now))
	item := tree{
		"count": len(waiting),
		"delay": tree{"timeLeftSeconds": int(math.Ceil(left.Seconds())), "overdue": left == 0},
		"since": stamp(waiting[0].Since), "app": a.fullJSON(),
		"processedOffersSummary": q.summary(),
	}
	if s.opt.Emulate == V111 {
		item["role"] = a.spec.Role
	}
	if withOffers {
		item["lastUnusedOffers"] = q.unusedJSON()
	}
	return item
}

func (q *queueEntry) summary() tree {
	out := tree{
		"processedOffersCount": q.processed, "unusedOffersCount": q.unused,
		"rejectSummaryLastOffers":    funnel(q.lastRound, q.roundSize),
		"rejectSummaryLaunchAttempt": funnel(q.total, q.processed),
	}
	if !q.lastUnusedAt.IsZero() {
		out["lastUnusedOfferAt"] = stamp(q.lastUnusedAt)
	}
	return out
}

// funnel lists all reasons in order: an offer is declined by its first reason and not processed by those below.
func funnel(declined map[string]int, processed int) []any {
	out := []any{}
	for _, r := range rejectReasons {
		out = append(out, tree{"reason": r, "declined": declined[r], "processed": processed})
		processed -= declined[r]
	}
	return out
}

func (q *queueEntry) unusedJSON() []any {
	out := []any{}
	for n, u := range q.lastOffers {
		out = append(out, tree{"offer": u.offer.json(fmt.Sprintf("lab-O%d", q.processed-len(q.lastOffers)+n)), "reason": []string{u.reason}, "timestamp": stamp(u.at)})
	}
	return out
}

func (o offer) json(id string) tree {
	attrs := []any{}
	for _, a := range o.agent.place.attributes {
		attrs = append(attrs, a.value.offerJSON(a.name))
	}
	scalar := func(name string, v float64) tree {
		return tree{"name": name, "role": "*", "scalar": v}
	}
	ports := value{kind: rangesAttribute, ranges: o.agent.ports}.offerJSON("ports")
	ports["role"] = "*"
	return tree{"id": id, "agentId": o.agent.ID, "hostname": o.agent.Hostname, "attributes": attrs, "resources": []any{
		scalar("cpus", o.free.CPUs), scalar("mem", o.free.Mem), scalar("disk", o.free.Disk), scalar("gpus", o.free.GPUs), ports}}
}
