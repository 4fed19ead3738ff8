package reconcile

import "github.com/drover-project/drover/state"

// Limits returns what the manifests allow the streams of a node, in bytes per second. Nodes that were never seen have no id yet,
// and so no link.
func Limits(d *state.Desired, o *state.Observed, n *state.Node) state.Limits {
	b := d.Cluster.Bandwidth
	l := state.Limits{Node: nodeLimit(b, n.Hostname)}
	for _, link := range b.Links {
		if link.From != n.Hostname {
			continue
		}
		for id, to := range o.Nodes {
			if to.Hostname == link.To {
				put(&l.Links, id, link.Limit)
			}
		}
	}
	for id, app := range d.Apps {
		if app.Bandwidth > 0 {
			put(&l.Apps, id, app.Bandwidth)
		}
	}
	return l
}

func put[K comparable](m *map[K]int64, key K, value int64) {
	if *m == nil {
		*m = map[K]int64{}
	}
	(*m)[key] = value
}

func nodeLimit(b state.Bandwidth, host state.Hostname) int64 {
	if own, ok := b.Nodes[host]; ok {
		return own
	}
	return b.Node
}

// rate returns the bytes/s to count on between two nodes: what was last measured, or a guess, and no more than is allowed.
func (a *appCase) rate(from, to *state.Node) float64 {
	rate := from.Rates[to.ID]
	if rate <= 0 {
		rate = guessedRate
	}
	b := a.d.Cluster.Bandwidth
	limits := []int64{a.app.Bandwidth, nodeLimit(b, from.Hostname), nodeLimit(b, to.Hostname)}
	for _, l := range b.Links {
		if l.From == from.Hostname && l.To == to.Hostname {
			limits = append(limits, l.Limit)
		}
	}
	for _, limit := range limits {
		if limit > 0 {
			rate = min(rate, float64(limit))
		}
	}
	return rate
}
