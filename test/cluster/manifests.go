package cluster

import (
	"fmt"
	"os"
	"strings"

	"github.com/drover-project/drover/reconcile"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/state/manifest"
)

// DB describes an app that is this package's small database, and its volumes.
type DB struct {
	ID        state.AppID
	Volumes   []state.VolumeName // the first one has the data; none for an app that keeps nothing
	Disk      string             // constraint on the attribute disk; "" for none
	Budget    string             // cutover.maxOutage; "" for 60s
	Grace     string             // "" for the cluster's
	Endpoint  string             // address of an endpoint on port 7000; "" for none
	Instances int                // for an app without volumes
	Spec      string             // more lines of spec, indented by two
	Marathon  string             // more lines of spec.marathon, indented by four
	Volume    string             // more lines of each volume's spec, indented by two
}

// YAML returns the app's and its volumes' documents.
func (d DB) YAML() string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: drover/v1\nkind: App\nmetadata: {name: %s}\nspec:\n", d.ID)
	if len(d.Volumes) > 0 {
		fmt.Fprintf(&b, "  cutover: {maxOutage: %s}\n  volumes:\n", or(d.Budget, "60s"))
	}
	for i, v := range d.Volumes {
		fmt.Fprintf(&b, "  - {name: %s, containerPath: vol%d, env: %s%d}\n", v, i, envVolume, i)
	}
	if d.Disk != "" {
		fmt.Fprintf(&b, "  placement: {constraints: [[disk, CLUSTER, %s]]}\n", d.Disk)
	}
	if d.Grace != "" {
		fmt.Fprintf(&b, "  grace: %s\n", d.Grace)
	}
	if d.Endpoint != "" {
		fmt.Fprintf(&b, "  endpoints: [{name: db, address: %s, port: 7000}]\n", d.Endpoint)
	}
	if d.Instances > 0 {
		fmt.Fprintf(&b, "  instances: %d\n", d.Instances)
	}
	b.WriteString(d.Spec)
	b.WriteString(d.marathon())
	for _, v := range d.Volumes {
		fmt.Fprintf(&b, "---\napiVersion: drover/v1\nkind: Volume\nmetadata: {name: %s}\nspec:\n  reclaim: Retain\n%s", v, d.Volume)
	}
	return b.String()
}

func (d DB) marathon() string {
	return fmt.Sprintf(`  marathon:
    cmd: exec '%s' %s
    cpus: 0.1
    mem: 32
    portDefinitions: [{name: db, port: 0}]
    healthChecks:
    - {protocol: MESOS_HTTP, path: /, portIndex: 0, delaySeconds: 0, gracePeriodSeconds: 600, intervalSeconds: 1, timeoutSeconds: 60, maxConsecutiveFailures: 10}
%s`, os.Args[0], roleDB, d.Marathon)
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// Rules is a Cluster document with a grace.
func Rules(grace string, more ...string) string {
	return fmt.Sprintf("apiVersion: drover/v1\nkind: Cluster\nmetadata: {name: test}\nspec:\n  grace: %s\n%s", grace, strings.Join(more, ""))
}

// digest is that of the manifests in the folder.
func (c *Cluster) digest() string {
	c.t.Helper()
	d, err := manifest.Load(c.Manifests)
	c.must(err)
	return d.Digest
}

// PlacementDigest is that of an app in the manifests, as a cancelled move is marked with.
func (c *Cluster) PlacementDigest(id state.AppID) string {
	c.t.Helper()
	d, err := manifest.Load(c.Manifests)
	c.must(err)
	return reconcile.PlacementDigest(d.Apps[id])
}
