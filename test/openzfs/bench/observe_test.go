//go:build linux

package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/drover-project/drover/state"
)

// BenchmarkObserve measures an agent's whole look at 1,000 volumes with 20 snapshots each, most of them somebody else's.
func BenchmarkObserve(b *testing.B) {
	const snapshots = 20
	volumes := setting(b, "DROVER_BENCH_DATASETS", 1000)
	r := newRig(b, 8<<30)
	n := r.from
	s := r.step(state.CreateVolume, "v0000")
	s.Epoch = state.Epoch{N: 1}
	if _, err := r.Do(b.Context(), n, nil, s); err != nil {
		b.Fatal(err)
	}
	props := ""
	for _, p := range []string{"role=standby", "epoch=0.1", "lead=v", "reclaim=Retain"} {
		props += " -o drover:" + p
	}
	n.Sh(fmt.Sprintf("k=1; while [ $k -lt %d ]; do zfs create -u -o readonly=on -o canmount=noauto -o drover:volume=v$k -o drover:uuid=00000000-0000-4000-8000-$(printf %%012d $k)%s tank/drover/v$k; k=$((k+1)); done", volumes, props))
	n.Sh(fmt.Sprintf("k=0; while [ $k -lt %d ]; do zfs snapshot -r tank/drover@autosnap_$k; k=$((k+1)); done", snapshots))
	var all []time.Duration
	for b.Loop() {
		for range 5 {
			begin := time.Now()
			if got := len(r.Look(n).Copies); got < volumes-1 {
				b.Fatalf("%d copies, want %d", got, volumes)
			}
			all = append(all, time.Since(begin))
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(all).Seconds(), "look-s")
	page(b, fmt.Sprintf("An agent's look at %d volumes with %d snapshots", volumes, volumes*snapshots), "Everything: pool, datasets, copies, their snapshots and holds, who uses them. Five looks.",
		[][]string{{"median", "worst"}, {seconds(median(all)), seconds(worst(all))}})
}
