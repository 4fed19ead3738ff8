package manifest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/drover-project/drover/state"
)

// What holds where the manifests are silent.
const (
	defaultInstances  = 1
	defaultMaxOutage  = 30 * time.Second
	defaultMaxRounds  = 10
	defaultGrace      = 24 * time.Hour
	defaultPruneLimit = 5
)

func (s *set) checkCluster(d *document) {
	var c Cluster
	d.decode(&c)
	s.cluster.Name = c.Metadata.Name
	s.cluster.Prune = c.Spec.Prune
	if n := c.Spec.PruneLimit; n != nil {
		s.cluster.PruneLimit = *n
		if *n < 1 {
			d.problem("spec.pruneLimit", "is %d: want 1 or more (prune: false removes nothing)", *n)
		}
	}
	s.cluster.Bandwidth = d.bandwidth(c.Spec.Bandwidth)
	s.grace = d.duration("spec.grace", c.Spec.Grace, 0, defaultGrace)
}

func (d *document) bandwidth(b Bandwidth) state.Bandwidth {
	out := state.Bandwidth{Node: d.rate("spec.bandwidth.node", b.Node, true)}
	for _, host := range slices.Sorted(maps.Keys(b.Nodes)) {
		if out.Nodes == nil {
			out.Nodes = map[state.Hostname]int64{}
		}
		out.Nodes[state.Hostname(host)] = d.rate("spec.bandwidth.nodes."+host, b.Nodes[host], true)
	}
	links := map[[2]string]bool{}
	for i, l := range b.Links {
		at := fmt.Sprintf("spec.bandwidth.links[%d]", i)
		ends := [2]string{l.From, l.To}
		switch {
		case l.From == "" || l.To == "": // said already
		case l.From == l.To:
			d.problem(at, "leads from %q to itself: want two nodes", l.From)
		case links[ends]:
			d.problem(at, "is from %q to %q, as one before it: want one limit for each link", l.From, l.To)
		}
		links[ends] = true
		out.Links = append(out.Links, state.LinkBandwidth{From: state.Hostname(l.From), To: state.Hostname(l.To), Limit: d.rate(at+".limit", l.Limit, false)})
	}
	return out
}

// leastRate is what a limit below is surely a forgotten unit.
const leastRate = 64 << 10

// rate reads bytes per second. 0 is no limit, where that may be said.
func (d *document) rate(field string, text Quantity, orNone bool) int64 {
	if text == "" {
		return 0 // if it must be there, that was said already
	}
	n, err := bytes64(string(text))
	switch {
	case err != nil:
		d.problem(field, "%v", err)
	case n == 0 && !orNone:
		d.problem(field, "is 0: leave the limit out to have none")
	case n > 0 && n < leastRate:
		d.problem(field, "is %q, which is %d bytes per second: was a unit meant, such as %sMi?", text, n, text)
	}
	return n
}
