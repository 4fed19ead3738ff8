package agent

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drover-project/drover/agent/stream"
	"github.com/drover-project/drover/certs"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// envAs makes this test's program a zfs that costs nothing: it sends so many bytes, or receives.
const envAs = "DROVER_TEST_ZFS_AS"

func TestMain(m *testing.M) {
	as := os.Getenv(envAs)
	if as == "" {
		os.Exit(m.Run())
	}
	err := produce
	if len(os.Args) > 1 && os.Args[1] == "receive" {
		err = consume
	}
	if err := err(as); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const benchGUID = state.GUID(4711)

// record is a zfs stream's first or last record.
func record(kind uint32) []byte {
	b := make([]byte, stream.HeadSize)
	binary.LittleEndian.PutUint32(b, kind)
	if kind == 0 {
		binary.LittleEndian.PutUint64(b[8:], 0x2F5bacbac)
		binary.LittleEndian.PutUint64(b[16:], 1)
	}
	binary.LittleEndian.PutUint64(b[40:], uint64(benchGUID))
	return b
}

// produce writes a stream of the given size with as few system calls as a pipe allows.
func produce(size string) error {
	left, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	chunk := make([]byte, 1<<20)
	rand.Read(chunk) // it never fails
	if _, err := os.Stdout.Write(record(0)); err != nil {
		return err
	}
	for ; left > 0; left -= len(chunk) {
		if _, err := os.Stdout.Write(chunk[:min(left, len(chunk))]); err != nil {
			return err
		}
	}
	_, err = os.Stdout.Write(record(5))
	return err
}

func consume(string) error {
	buf := make([]byte, 1<<20)
	for {
		if _, err := os.Stdin.Read(buf); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

const pumpSize = 2 << 30

// BenchmarkPump is the whole way of a stream, with a producer and a consumer that cost nothing, beside a plain pipe between
// the same two. Its figures are of one run, since the machine is shared: the agents' rate as a part of the pipe's.
func BenchmarkPump(b *testing.B) {
	p := newPumpBench(b)
	var piped, pumped cost
	for b.Loop() {
		piped.add(p.pipe)
		pumped.add(p.pump)
	}
	b.ReportMetric(piped.rate(), "pipe-GiB/s")
	b.ReportMetric(pumped.rate(), "agents-GiB/s")
	b.ReportMetric(100*pumped.rate()/piped.rate(), "%ofpipe")
	b.ReportMetric(piped.cpu(), "pipe-cpu-s/GiB")
	b.ReportMetric(pumped.cpu(), "agents-cpu-s/GiB")
	b.ReportMetric(float64(pumped.peak)/(1<<20), "peak-MiB")
}

// cost is what streams of pumpSize have cost so far.
type cost struct {
	n    int
	took time.Duration
	used time.Duration // of all processors, the two ends' commands included
	peak int64         // bytes of this process
}

func (c *cost) add(f func()) {
	runtime.GC()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // the peak from now on; elsewhere there is none
	used, began := processors(), time.Now()
	f()
	c.n, c.took, c.used = c.n+1, c.took+time.Since(began), c.used+processors()-used
	c.peak = max(c.peak, peakMemory())
}

func (c *cost) gib() float64  { return float64(c.n) * pumpSize / (1 << 30) }
func (c *cost) rate() float64 { return c.gib() / c.took.Seconds() }
func (c *cost) cpu() float64  { return c.used.Seconds() / c.gib() }

func processors() time.Duration {
	var sum int64
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			sum += u.Utime.Nano() + u.Stime.Nano()
		}
	}
	return time.Duration(sum)
}

// peakMemory is VmHWM, in bytes; 0 where there is no /proc.
func peakMemory() int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	var kib int64
	if _, err := fmt.Sscanf(rest, "%d", &kib); err != nil {
		return 0
	}
	return kib << 10
}

// pumpBench is a source and a target whose zfs costs nothing.
type pumpBench struct {
	b      *testing.B
	zfs    *zfs.ZFS
	dir    string
	addr   string
	source *Agent
}

func newPumpBench(b *testing.B) *pumpBench {
	dir := b.TempDir()
	script := fmt.Sprintf("#!/bin/sh\n%s=%d exec '%s' \"$@\"\n", envAs, pumpSize, os.Args[0])
	if err := os.WriteFile(filepath.Join(dir, "zfs"), []byte(script), 0o755); err != nil {
		b.Fatal(err)
	}
	p := &pumpBench{b: b, zfs: zfs.New(zfs.Options{Path: dir}), dir: dir}
	bench := newBench(b)
	p.source = &Agent{limits: newLimits(), streams: newStreamDialer(bench.tls(certs.Agent))}
	p.serve(bench)
	return p
}

// serve takes streams as an agent does, but for what it asks zfs about the copy.
func (p *pumpBench) serve(bench *bench) {
	config, err := certs.ServerConfig(bench.certificate(certs.Agent, "target"))
	if err != nil {
		p.b.Fatal(err)
	}
	ln, err := listen("127.0.0.1:0")
	if err != nil {
		p.b.Fatal(err)
	}
	target := &Agent{limits: newLimits(), o: Options{Ring: stream.DefaultRing}, log: slog.New(slog.DiscardHandler), server: config, ln: ln}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &receiver{a: target, z: p.zfs, c: &state.Copy{}}
		if err := decode(r.Body, &v.q); err != nil {
			target.refuse(w, r, err)
			return
		}
		v.takeOver(context.WithoutCancel(r.Context()), w, func(ctx context.Context, in *stream.Reader, conn net.Conn) error {
			return v.take(ctx, zfs.ReceiveRequest{Dataset: "tank/v"}, in, conn)
		})
	}))
	srv.Listener.Close() // it has taken one of its own
	srv.Listener = target.listener()
	srv.Start()
	p.b.Cleanup(srv.Close)
	p.addr = ln.Addr().String()
}

func (p *pumpBench) pump() {
	alone := &part{transfer: &transfer{visit: visit{a: p.source, z: p.zfs, s: state.Step{PeerAddress: p.addr}}}, account: newAccount(state.Step{}, "")}
	if _, err := alone.pump(p.b.Context(), zfs.SendRequest{Snapshot: "tank/v@s"}, receiveRequest{To: benchGUID}); err != nil {
		p.b.Fatal(err)
	}
}

func (p *pumpBench) pipe() {
	from, into := exec.Command(filepath.Join(p.dir, "zfs"), "send"), exec.Command(filepath.Join(p.dir, "zfs"), "receive")
	r, w, err := os.Pipe()
	if err != nil {
		p.b.Fatal(err)
	}
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 1<<20); err != nil {
		p.b.Fatal(err)
	}
	from.Stdout, into.Stdin = w, r
	for _, cmd := range []*exec.Cmd{from, into} {
		if err := cmd.Start(); err != nil {
			p.b.Fatal(err)
		}
	}
	if err := errors.Join(r.Close(), w.Close(), into.Wait(), from.Wait()); err != nil {
		p.b.Fatal(err)
	}
}
