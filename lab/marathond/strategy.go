package marathond

import "math"

// restart is what a RestartApplication decided when it began.
type restart struct {
	MaxCapacity int `json:"maxCapacity"`
	KillNow     int `json:"killNow"`
	Old         int `json:"old"` // old instances wanted at the beginning
}

// restartStrategy is Marathon's arithmetic for non-resident apps: n is the target, healthy the wanted instances, old and
// new, that are considered healthy, current all wanted instances.
func restartStrategy(u upgradeStrategy, n, healthy, current int) restart {
	minHealthy := int(math.Ceil(float64(n) * u.MinimumHealth))
	capacity := int(math.Floor(float64(n) * (1 + u.MaximumOverload)))
	kill := max(0, healthy-minHealthy)
	if minHealthy == capacity && capacity <= healthy {
		capacity++
	}
	return restart{MaxCapacity: capacity, KillNow: max(kill, current-n)}
}

// startNow is how many new instances may be added; oldActive are old ones that are not terminal, whether wanted or not.
func (r restart) startNow(n, started, oldActive int) int {
	return max(0, min(n-started, r.MaxCapacity-oldActive-started))
}

// oldAllowed is how many old instances may still be wanted when ready new ones have come up.
func (r restart) oldAllowed(ready int) int { return max(0, r.Old-r.KillNow-ready) }
