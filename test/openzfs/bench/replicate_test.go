//go:build linux

package bench

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/test/openzfs"
)

// setting is a number that the environment may say otherwise.
func setting(b *testing.B, name string, otherwise int) int {
	b.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// way is one way to bring a dataset to another node.
type way struct {
	name string
	run  func(dataset string) error
	runs []taken
}

// BenchmarkReplicate brings a volume to another node: by Drover over mutual TLS, by a plain pipe on one node (no network at all), by
// the same through netcat, and by syncoid over ssh, as Debian's sanoid does it by default and without its compression.
func BenchmarkReplicate(b *testing.B) {
	for _, data := range []struct{ name, compression, fill string }{
		{"random", "lz4", "cat /dev/urandom"},
		{"compressible", "off", "yes 'what is written here is written again and again, as a log file would have it, with 0123456789'"},
	} {
		b.Run(data.name, func(b *testing.B) {
			mib, rounds := setting(b, "DROVER_BENCH_MIB", 1024), setting(b, "DROVER_BENCH_ROUNDS", 3)
			r := newRig(b, int64(mib)*5<<20+4<<30, "vol")
			r.withTools()
			r.volume("vol", data.compression)
			r.from.Sh(fmt.Sprintf("%s | head -c %d >/mnt/drover/vol/data/f; zpool sync", data.fill, mib<<20))
			ways := r.ways()
			for b.Loop() {
				for k := range rounds {
					for i := range ways {
						w := &ways[(i+k)%len(ways)]
						w.runs = append(w.runs, r.measure(func() error { return w.run("tank/drover/vol") }))
						r.forget("tank/drover/vol")
						r.forget("tank/other")
					}
				}
			}
			r.report(b, ways, fmt.Sprintf("Replicate %d MiB, %s", mib, data.name), mib)
		})
	}
}

func (r *rig) ways() []way {
	sh := func(n *openzfs.Node, script string) error { return n.Try(r.Context(), script).Err }
	syncoid := func(options string) func(string) error {
		return func(dataset string) error {
			return sh(r.from, "chroot /tools /usr/sbin/syncoid --quiet --no-privilege-elevation "+options+" "+dataset+" root@"+r.to.IP+":tank/other")
		}
	}
	return []way{
		{name: "Drover, mutual TLS", run: func(string) error { return r.replicate("vol") }},
		{name: "`zfs send \\| zfs receive` on one node", run: func(dataset string) error {
			return sh(r.from, "zfs snapshot "+dataset+"@p && zfs send -Lce "+dataset+"@p | zfs receive -s -u tank/other && zfs destroy -r tank/other")
		}},
		{name: "the same through netcat", run: func(dataset string) error {
			listening, err := r.to.Begin("chroot /tools /bin/nc.openbsd -l -N 9000 </dev/null | zfs receive -s -u tank/other")
			if err != nil {
				return err
			}
			r.to.Sh("until grep -q ':2328 .* 0A ' /proc/net/tcp; do sleep 0.01; done") // it listens on port 9000
			serr := sh(r.from, "zfs snapshot "+dataset+"@p && zfs send -Lce "+dataset+"@p | chroot /tools /bin/nc.openbsd -N "+r.to.IP+" 9000")
			return errors.Join(serr, listening.Wait(r.Context()).Err)
		}},
		{name: "syncoid over ssh", run: syncoid("")},
		{name: "syncoid over ssh, `--compress=none`", run: syncoid("--compress=none --sendoptions='L c e'")},
	}
}

func (r *rig) report(b *testing.B, ways []way, title string, mib int) {
	b.Helper()
	table := [][]string{{"way", "median", "best", "worst", "MiB/s", "CPU s/GiB, sender", "receiver", "of the plain pipe"}}
	pipe := middle(ways[1])
	for _, w := range ways {
		m := middle(w)
		per := float64(mib) / 1024
		best, worst := span(w)
		table = append(table, []string{w.name, seconds(m.wall), seconds(best), seconds(worst), fmt.Sprintf("%.0f", float64(mib)/m.wall.Seconds()),
			fmt.Sprintf("%.1f", m.src.Seconds()/per), fmt.Sprintf("%.1f", m.dst.Seconds()/per), fmt.Sprintf("%.0f %%", 100*pipe.wall.Seconds()/m.wall.Seconds())})
		b.ReportMetric(float64(mib)/m.wall.Seconds(), unit(w.name)+"-MiB/s")
	}
	b.ReportMetric(0, "ns/op")
	page(b, title, fmt.Sprintf("%d runs of each, in turns. Processor time is the host's, of the whole node.", len(ways[0].runs)), table)
}

func middle(w way) taken {
	var wall, src, dst []time.Duration
	for _, t := range w.runs {
		wall, src, dst = append(wall, t.wall), append(src, t.src), append(dst, t.dst)
	}
	return taken{median(wall), median(src), median(dst)}
}

func span(w way) (best, worst time.Duration) {
	best = w.runs[0].wall
	for _, t := range w.runs {
		best, worst = min(best, t.wall), max(worst, t.wall)
	}
	return best, worst
}

// unit makes a name a metric's.
func unit(name string) string {
	out := []rune{}
	for _, c := range name {
		switch {
		case c == ' ' || c == ',':
			out = append(out, '_')
		case c != '`' && c != '\\' && c != '|' && c != '=':
			out = append(out, c)
		}
	}
	return string(out)
}

// BenchmarkManyVolumes brings 100 volumes of 10 MiB to another node: Drover's agents as many at once as a controller would ask
// for, syncoid as it does a tree.
func BenchmarkManyVolumes(b *testing.B) {
	const mib, atOnce = 10, 16
	count := setting(b, "DROVER_BENCH_VOLUMES", 100)
	var names []state.VolumeName
	for k := range count {
		names = append(names, state.VolumeName(fmt.Sprintf("v%02d", k)))
	}
	r := newRig(b, 12<<30, names...)
	r.withTools()
	for _, name := range names {
		r.volume(name, "lz4")
		r.from.Sh(fmt.Sprintf("head -c %d /dev/urandom >/mnt/drover/%s/data/f", mib<<20, name))
	}
	r.from.Sh("zpool sync")
	drover := r.measure(func() error {
		var g errgroup.Group
		g.SetLimit(atOnce)
		for _, name := range names {
			g.Go(func() error { return r.replicate(name) })
		}
		return g.Wait()
	})
	for _, name := range names {
		r.forget("tank/drover/" + string(name))
	}
	r.to.ZFS("create", "-o", "mountpoint=none", "tank/other")
	syncoid := r.measure(func() error {
		return r.from.Try(r.Context(), "chroot /tools /usr/sbin/syncoid --quiet --recursive --skip-parent --no-privilege-elevation tank/drover root@"+r.to.IP+":tank/other").Err
	})
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(drover.wall.Seconds(), "drover-s")
	b.ReportMetric(syncoid.wall.Seconds(), "syncoid-s")
	page(b, fmt.Sprintf("%d volumes of %d MiB", count, mib), fmt.Sprintf("Drover's agents %d at once, as a controller asks; `syncoid --recursive` one after the other, as it does.", atOnce),
		[][]string{{"way", "time", "CPU s, sender", "receiver"},
			{"Drover, mutual TLS", seconds(drover.wall), seconds(drover.src), seconds(drover.dst)},
			{"syncoid over ssh", seconds(syncoid.wall), seconds(syncoid.src), seconds(syncoid.dst)}})
}
