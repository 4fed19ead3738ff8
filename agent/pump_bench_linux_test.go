package agent

import (
	"context"
	"crypto/rand"
	"crypto/tls"
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
	"runtime/debug"
	"slices"
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

// envAs makes this test's program a zfs that costs nothing: it sends so many bytes, or receives. envStall has it wait for so long before it
// receives, as a pool does while it writes a transaction group.
const (
	envAs    = "DROVER_TEST_ZFS_AS"
	envStall = "DROVER_TEST_ZFS_STALL"
)

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
	stall, err := time.ParseDuration(os.Getenv(envStall))
	if err != nil {
		return err
	}
	time.Sleep(stall)
	buf := make([]byte, 1<<20)
	for {
		if _, err := os.Stdin.Read(buf); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

const pumpSize = 1 << 30

// BenchmarkPump is the whole way of a stream, with a producer and a consumer that cost nothing. Beside it, in turns, are what it is made of:
// TLS alone, and a plain pipe between the same two commands. Its figures are medians of all rounds (-benchtime 5x), and those in % medians of
// what compares two ways of one round, since the machine is shared.
//
// The way has two pipes and one connection. %ofparts is what these cost of the processors as a part of what the agents cost: 100 would be
// agents that do nothing but encrypt and copy.
func BenchmarkPump(b *testing.B) {
	p := newPumpBench(b, stream.DefaultRing, 0)
	var pipe, alone, agents, ofPipe, ofAlone, ofParts []float64
	var cpu [3][]float64
	var peak int64
	for b.Loop() {
		piped, tls, pumped := costOf(p.pipe), costOf(p.tlsAlone), costOf(p.pump)
		pipe, alone, agents = append(pipe, piped.rate()), append(alone, tls.rate()), append(agents, pumped.rate())
		ofPipe, ofAlone = append(ofPipe, 100*pumped.rate()/piped.rate()), append(ofAlone, 100*pumped.rate()/tls.rate())
		ofParts = append(ofParts, 100*(2*piped.cpu()+tls.cpu())/pumped.cpu())
		for i, c := range []cost{piped, tls, pumped} {
			cpu[i] = append(cpu[i], c.cpu())
		}
		peak = max(peak, pumped.peak)
	}
	for name, of := range map[string][]float64{
		"pipe-GiB/s": pipe, "tls-GiB/s": alone, "agents-GiB/s": agents, "%ofpipe": ofPipe, "%oftls": ofAlone, "%ofparts": ofParts,
		"pipe-cpu-s/GiB": cpu[0], "tls-cpu-s/GiB": cpu[1], "agents-cpu-s/GiB": cpu[2],
	} {
		b.ReportMetric(median(of), name)
	}
	b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
}

func median(of []float64) float64 {
	slices.Sort(of)
	return (of[(len(of)-1)/2] + of[len(of)/2]) / 2
}

// BenchmarkPumpStall is a stream whose pool stops reading for seconds, with the largest ring. The figure to look at is peak-MiB, that of a
// process that is both agents.
func BenchmarkPumpStall(b *testing.B) {
	p := newPumpBench(b, stream.MaxRing, 3*time.Second)
	var peak int64
	for b.Loop() {
		peak = max(peak, costOf(p.pump).peak)
	}
	b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
}

// cost is what a stream of pumpSize has cost.
type cost struct {
	took time.Duration
	used time.Duration // of all processors, the two ends' commands included
	peak int64         // bytes of this process
}

func costOf(f func()) cost {
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // the peak from now on; elsewhere there is none
	used, began := processors(), time.Now()
	f()
	return cost{took: time.Since(began), used: processors() - used, peak: peakMemory()}
}

const pumpGiB = float64(pumpSize) / (1 << 30)

func (c cost) rate() float64 { return pumpGiB / c.took.Seconds() }
func (c cost) cpu() float64  { return c.used.Seconds() / pumpGiB }

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
	*bench
	b      *testing.B
	zfs    *zfs.ZFS
	dir    string
	addr   string
	source *Agent
}

func newPumpBench(b *testing.B, ring int, stall time.Duration) *pumpBench {
	dir := b.TempDir()
	script := fmt.Sprintf("#!/bin/sh\n%s=%d %s=%v exec '%s' \"$@\"\n", envAs, pumpSize, envStall, stall, os.Args[0])
	if err := os.WriteFile(filepath.Join(dir, "zfs"), []byte(script), 0o755); err != nil {
		b.Fatal(err)
	}
	p := &pumpBench{bench: newBench(b), b: b, zfs: zfs.New(zfs.Options{Path: dir}), dir: dir}
	p.source = &Agent{limits: newLimits(), streams: newStreamDialer(p.tls(certs.Agent))}
	p.serve(ring)
	return p
}

// server is the configuration of a target.
func (p *pumpBench) server() *tls.Config {
	config, err := certs.ServerConfig(p.certificate(certs.Agent, "target"))
	if err != nil {
		p.b.Fatal(err)
	}
	return config
}

// serve takes streams as an agent does, but for what it asks zfs about the copy.
func (p *pumpBench) serve(ring int) {
	ln, err := listen("127.0.0.1:0")
	if err != nil {
		p.b.Fatal(err)
	}
	target := &Agent{limits: newLimits(), o: Options{Ring: ring}, log: slog.New(slog.DiscardHandler), server: p.server(), ln: ln}
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

// tlsAlone writes chunks to a connection as crypto/tls makes it, which is read at its other end by this process too.
func (p *pumpBench) tlsAlone() {
	ln, err := tls.Listen("tcp", "127.0.0.1:0", p.server())
	if err != nil {
		p.b.Fatal(err)
	}
	defer ln.Close()
	arrived := make(chan error, 1)
	go func() { arrived <- drainOne(ln) }()
	conn, err := tls.Dial("tcp", ln.Addr().String(), p.source.streams.config)
	if err != nil {
		p.b.Fatal(err)
	}
	chunk := make([]byte, stream.ChunkSize)
	for range pumpSize / len(chunk) {
		if _, err := conn.Write(chunk); err != nil {
			p.b.Fatal(err)
		}
	}
	if err := errors.Join(conn.Close(), <-arrived); err != nil {
		p.b.Fatal(err)
	}
}

func drainOne(ln net.Listener) error {
	conn, err := ln.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{conn}, make([]byte, 1<<20))
	if err == nil && n != pumpSize {
		err = fmt.Errorf("%d bytes arrived", n)
	}
	return err
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
