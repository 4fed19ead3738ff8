//go:build linux

package bench

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/drover-project/drover/controller"
)

// BenchmarkWindow moves an app to and fro, and reports how long its cutovers took without its own stop and start: fence, last
// increment, release, promotion.
func BenchmarkWindow(b *testing.B) {
	r := newRig(b, 2<<30, "data")
	moved := make(chan controller.Move, 1)
	var once sync.Once
	ready := make(chan struct{})
	r.Write("cluster.yaml", "apiVersion: drover/v1\nkind: Cluster\nmetadata: {name: bench}\nspec: {grace: 1h}\n")
	r.Write("app.yaml", app(r.from.Name))
	r.Lead(func(e controller.Event) {
		if e.Kind == controller.EventDone && e.Step.Kind == "verify ready" {
			once.Do(func() { close(ready) })
		}
		if e.Kind == controller.EventMoved {
			moved <- *e.Move
		}
	})
	<-ready
	r.from.Sh("head -c 8000000 /dev/urandom >/mnt/drover/data/data/f")
	moves := setting(b, "DROVER_BENCH_MOVES", 50)
	var windows, outages []time.Duration
	parts := map[string][]time.Duration{}
	for k := 0; k < moves; {
		to := r.Nodes[(k+1)%2]
		r.Write("app.yaml", app(to.Name))
		m := <-moved
		if m.Back {
			b.Logf("%s went back after %v", m.ID, m.Outage)
			continue
		}
		k++
		outages = append(outages, m.Outage)
		windows = append(windows, m.Outage-m.Parts["stop"]-m.Parts["start"])
		for name, took := range m.Parts {
			parts[name] = append(parts[name], took)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(median(windows).Milliseconds()), "window-ms")
	row := func(name string, all []time.Duration) []string {
		return []string{name, millis(median(all)), millis(worst(all))}
	}
	page(b, "Cutover", fmt.Sprintf("%d moves of a small volume to and fro, whole cluster: controller, agents, tasks. In these nodes each zfs command takes some 100 ms, most of it the start of a process.", moves),
		[][]string{{"", "median", "worst"}, row("the window: fence, last increment, release, promote", windows), row("of it the last increment", parts["last delta"]),
			row("stop of the app", parts["stop"]), row("start of the app", parts["start"]), row("whole outage", outages)})
}

func worst(all []time.Duration) time.Duration {
	most := all[0]
	for _, d := range all {
		most = max(most, d)
	}
	return most
}

func app(node string) string {
	return fmt.Sprintf(`apiVersion: drover/v1
kind: App
metadata: {name: /bench}
spec:
  volumes: [{name: data, containerPath: data}]
  placement: {constraints: [[hostname, CLUSTER, %s]]}
  cutover: {maxOutage: 60s}
  marathon: {cmd: "exec sleep 1000000", cpus: 0.1, mem: 32}
---
apiVersion: drover/v1
kind: Volume
metadata: {name: data}
`, node)
}
