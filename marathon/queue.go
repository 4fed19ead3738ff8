package marathon

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/drover-project/drover/state"
)

type queueJSON struct {
	Count count
	Delay struct {
		TimeLeftSeconds float64
		Overdue         bool
	}
	App                    *struct{ ID state.AppID }
	Pod                    *struct{ ID string }
	ProcessedOffersSummary struct {
		RejectSummaryLastOffers []struct {
			Reason   string
			Declined count
		}
	}
}

// decodeQueue reads {"queue": [...]}; pods in it are not ours to see.
func decodeQueue(b []byte) ([]state.QueueEntry, error) {
	var j struct{ Queue *[]queueJSON }
	if err := json.Unmarshal(b, &j); err != nil {
		return nil, err
	}
	if j.Queue == nil {
		return nil, errMissing("queue")
	}
	var entries []state.QueueEntry
	for _, q := range *j.Queue {
		if q.App == nil && q.Pod == nil {
			return nil, errors.New("a queue entry for neither an app nor a pod")
		}
		if q.App != nil {
			entries = append(entries, q.entry())
		}
	}
	return entries, nil
}

// entry takes the reasons from the last offer of each agent. Each offer counts under its first failing reason only, so the
// figures add up to the offers.
func (q queueJSON) entry() state.QueueEntry {
	e := state.QueueEntry{App: q.App.ID, Count: int(q.Count)}
	if !q.Delay.Overdue {
		e.Delay = time.Duration(q.Delay.TimeLeftSeconds * float64(time.Second))
	}
	for _, r := range q.ProcessedOffersSummary.RejectSummaryLastOffers {
		if r.Declined <= 0 {
			continue
		}
		if e.Refused == nil {
			e.Refused = map[string]int{}
		}
		e.Refused[r.Reason] += int(r.Declined)
	}
	return e
}
