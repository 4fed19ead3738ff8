package bench

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/drover-project/drover/controller"
)

// BenchmarkOutage measures how long a client that never stops writing gets no write acknowledged: in a move from node to node and
// back (from the last on the one to the first on the other), in a plain restart in place through the same gate, and in a plain
// restart of a database that Drover knows nothing of, on a fixed port and without a gate. The parts are the controller's own account of the moves.
// One iteration is a restart of each kind, a move there and a move back; take ten or more:
//
//	go test -run '^$' -bench Outage -benchtime 10x -timeout 30m ./test/bench
func BenchmarkOutage(b *testing.B) {
	for _, mib := range []int64{1, 64, 512} {
		b.Run(fmt.Sprintf("%dMiB", mib), func(b *testing.B) {
			r := newRig(b)
			r.fill(mib << 20)
			r.deployBare()
			m := measurement{r: r, gated: r.writeTo(r.endpoint, "gated"), bare: r.writeTo(r.direct, "bare")}
			for b.Loop() {
				m.once("ssd", "node1", "node2")
				m.once("spinning", "node2", "node1")
			}
			b.ReportMetric(0, "ns/op")
			m.report()
		})
	}
}

// deployBare has Marathon run a database that Drover has nothing to do with, where a plain restart finds it again: its port is fixed.
func (r *rig) deployBare() {
	r.b.Helper()
	data := filepath.Join(r.dir, "bare")
	r.must(os.MkdirAll(data, 0o755))
	host, port, err := net.SplitHostPort(r.direct)
	r.must(err)
	r.marathon(http.MethodPut, "/v2/apps/bare/db", map[string]any{
		"cmd": "PORT0=" + port + " exec todo db", "cpus": 0.1, "mem": 128, "instances": 1,
		"env":             map[string]string{"TODO_DATA": data, "TODO_BIND": host},
		"upgradeStrategy": map[string]int{"minimumHealthCapacity": 0, "maximumOverCapacity": 0},
	})
	r.deployed()
}

// measurement is what was measured so far, in milliseconds.
type measurement struct {
	r           *rig
	gated, bare *writer

	move, restart, restartBare, over []float64
	parts                            map[string][]float64
}

// once measures a restart of each kind, and then a move.
func (m *measurement) once(disk, from, to string) {
	b := m.r.b
	bare := longestGap(m.bare.during(func() { m.r.restart("/bare/db") }))
	restart := longestGap(m.gated.during(func() { begun := time.Now(); m.r.restart("/todo/db"); m.r.settled(begun) }))
	var mv controller.Move
	move := outage(m.gated.during(func() { begun := time.Now(); m.r.place(disk); mv = m.r.settled(begun) }), from, to)
	if move == 0 || mv.Back {
		b.Fatalf("the writer did not see one move from %s to %s; the controller says %+v", from, to, mv)
	}
	m.restartBare = append(m.restartBare, millis(bare))
	m.restart = append(m.restart, millis(restart))
	m.move = append(m.move, millis(move))
	m.over = append(m.over, millis(move-restart))
	if m.parts == nil {
		m.parts = map[string][]float64{}
	}
	for name, took := range mv.Parts {
		m.parts[name] = append(m.parts[name], millis(took))
	}
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (m *measurement) report() {
	b := m.r.b
	b.ReportMetric(median(m.move), "move-ms")
	b.ReportMetric(slices.Max(m.move), "move-worst-ms")
	b.ReportMetric(median(m.restart), "restart-ms")
	b.ReportMetric(slices.Max(m.restart), "restart-worst-ms")
	b.ReportMetric(median(m.restartBare), "bare-ms")
	b.ReportMetric(median(m.over), "over-restart-ms")
	b.ReportMetric(median(m.move)-median(m.restartBare), "over-bare-ms")
	for part, unit := range map[string]string{"stop": "stop-ms", "last delta": "delta-ms", "promote": "promote-ms", "start": "start-ms"} {
		if len(m.parts[part]) > 0 {
			b.ReportMetric(median(m.parts[part]), unit)
		}
	}
}

func median(xs []float64) float64 {
	s := slices.Sorted(slices.Values(xs))
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}
