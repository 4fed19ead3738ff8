package manifest

import "cmp"

// What holds where the manifests are silent.
const (
	defaultInstances  = 1
	defaultMaxOutage  = "30s"
	defaultMaxRounds  = 10
	defaultGrace      = "24h"
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
	d.duration("spec.grace", cmp.Or(c.Spec.Grace, defaultGrace), 0)
	s.grace = string(c.Spec.Grace)
}
