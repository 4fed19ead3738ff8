package reconcile

import "github.com/drover-project/drover/state"

// Limits returns what the manifests allow the streams of a node, in bytes per second. Nodes that were never seen have no id yet,
// and so no link.
func Limits(d *state.Desired, o *state.Observed, n *state.Node) state.Limits {
	l := ofNode(d, o, n)
	for id, app := range d.Apps {
		if app.Bandwidth > 0 {
			put(&l.Apps, id, app.Bandwidth)
		}
	}
	return l
}

// ofNode returns the limits of a node's streams, whatever their app.
func ofNode(d *state.Desired, o *state.Observed, n *state.Node) state.Limits {
	l := state.Limits{Node: nodeLimit(d, n)}
	for _, link := range d.Cluster.Bandwidth.Links {
		if link.From != n.Hostname {
			continue
		}
		for id, to := range o.Nodes {
			if to.Hostname == link.To {
				put(&l.Links, id, link.Limit)
			}
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

func nodeLimit(d *state.Desired, n *state.Node) int64 {
	if own, ok := d.Cluster.Bandwidth.Nodes[n.Hostname]; ok {
		return own
	}
	return d.Cluster.Bandwidth.Node
}

// rate returns the bytes/s to count on between two nodes: what was last measured, or a guess, and no more than is allowed.
func (a *appCase) rate(from, to *state.Node) float64 {
	rate := from.Rates[to.ID]
	if rate <= 0 {
		rate = guessedRate
	}
	sends := ofNode(a.d, a.o, from)
	sends.Apps = map[state.AppID]int64{a.app.ID: a.app.Bandwidth}
	for _, limit := range []int64{sends.Of(a.app.ID, to.ID), nodeLimit(a.d, to)} {
		if limit > 0 {
			rate = min(rate, float64(limit))
		}
	}
	return rate
}
