package manifest

import "time"

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
	s.grace = d.duration("spec.grace", c.Spec.Grace, 0, defaultGrace)
}
