package acceptance

import (
	"testing"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

func db() cluster.DB { return cluster.DB{ID: "/db", Volumes: []state.VolumeName{"data"}, Disk: "spinning"} }

// begin starts a cluster with the database on node1.
func begin(t *testing.T, o cluster.Options) (*cluster.Cluster, *cluster.Controller) {
	t.Helper()
	c := cluster.New(t, o)
	c.Write("cluster.yaml", cluster.Rules("1h"))
	c.Write("db.yaml", db().YAML())
	l := c.Lead(nil)
	c.AwaitSettled()
	return c, l
}

func TestMove(t *testing.T) {
	t.Parallel()
	c, l := begin(t, cluster.Options{})
	d := db()
	d.Disk = "ssd"
	c.Write("db.yaml", d.YAML())
	c.AwaitOn("data", "node2")
	t.Log(l.Steps("/db"), l.Move("/db"))
}
