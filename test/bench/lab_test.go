package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/lab"
	"github.com/drover-project/drover/register"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/state/manifest"
)

// rig is a lab with the to-do database on it and nothing else.
type rig struct {
	b         *testing.B
	dir       string
	manifests string
	endpoint  string // host:port of the database, through the gates
	direct    string // host:port of a database that Drover knows nothing of
	plan      lab.Plan
	reg       *register.Register
}

// newRig builds the programs, starts a lab and waits until the database runs on node1. It ends with the benchmark.
func newRig(b *testing.B) *rig {
	b.Helper()
	r := &rig{b: b, dir: b.TempDir()}
	r.manifests = filepath.Join(r.dir, "manifests")
	third := freeSubnet(b)
	r.endpoint = fmt.Sprintf("127.254.%d.10:27017", third)
	r.direct = fmt.Sprintf("127.254.%d.20:27017", third)
	r.must(os.MkdirAll(r.manifests, 0o755))
	r.write("cluster.yaml", "apiVersion: drover/v1\nkind: Cluster\nmetadata: {name: bench}\nspec: {grace: 24h}\n")
	r.place("spinning")
	l, err := lab.New(b.Context(), lab.Options{Dir: filepath.Join(r.dir, "lab"), Program: r.build(), Manifests: r.manifests,
		AnyPort: true, Log: slog.New(slog.DiscardHandler)})
	r.must(err)
	r.plan = l.Plan()
	r.reg, err = register.Open("file://" + filepath.Join(r.dir, "lab", "register"))
	r.must(err)
	r.run(l)
	r.settled(time.Time{})
	return r
}

func (r *rig) must(err error) {
	r.b.Helper()
	if err != nil {
		r.b.Fatal(err)
	}
}

// freeSubnet finds loopback addresses on which no gate listens.
func freeSubnet(b *testing.B) int {
	for i := range 250 {
		third := 1 + (os.Getpid()+i)%250
		if ln, err := net.Listen("tcp", fmt.Sprintf("127.254.%d.10:27017", third)); err == nil {
			if err := ln.Close(); err != nil {
				b.Fatal(err)
			}
			return third
		}
	}
	b.Skip("this system has no free loopback addresses but 127.0.0.1")
	return 0
}

// build builds the programs as `make build` does and returns the path of drover.
func (r *rig) build() string {
	r.b.Helper()
	bin := filepath.Join(r.dir, "bin")
	r.must(os.MkdirAll(filepath.Join(bin, "lab"), 0o755))
	for to, pkg := range map[string]string{"drover": "cmd/drover", "lab/zfs": "lab/cmd/zfs", "lab/todo": "lab/cmd/todo"} {
		cmd := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(bin, to), "github.com/drover-project/drover/"+pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			r.b.Fatalf("build %s: %v\n%s", pkg, err, out)
		}
	}
	r.must(os.Symlink("zfs", filepath.Join(bin, "lab", "zpool")))
	return filepath.Join(bin, "drover")
}

// run starts the lab and waits until it is ready.
func (r *rig) run(l *lab.Lab) {
	r.b.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- l.Run(ctx, func() { close(ready) }) }()
	r.b.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			r.b.Errorf("lab: %v", err)
		}
		r.must(lab.Remove(filepath.Join(r.dir, "lab"))) // the bare mountpoints refuse their own removal
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		r.b.Fatal(err)
	}
}

// write saves a manifest as most editors do.
func (r *rig) write(name, text string) {
	r.b.Helper()
	tmp := filepath.Join(r.manifests, "."+name+".new")
	r.must(os.WriteFile(tmp, []byte(text), 0o644))
	r.must(os.Rename(tmp, filepath.Join(r.manifests, name)))
}

// place wants the database where the disks are of a kind.
func (r *rig) place(disk string) {
	r.b.Helper()
	host, port, err := net.SplitHostPort(r.endpoint)
	r.must(err)
	r.write("db.yaml", fmt.Sprintf(`apiVersion: drover/v1
kind: App
metadata: {name: /todo/db}
spec:
  volumes: [{name: tododata, containerPath: data, env: TODO_DATA}]
  placement: {constraints: [[disk, CLUSTER, %s], [rack, CLUSTER, a]]}
  cutover: {maxOutage: 20s}
  endpoints: [{name: db, address: %s, port: %s}]
  marathon:
    cmd: exec todo db
    cpus: 0.1
    mem: 128
    portDefinitions: [{name: db, port: 0}]
    healthChecks: [%s]
---
apiVersion: drover/v1
kind: Volume
metadata: {name: tododata}
spec: {reclaim: Retain, properties: {recordsize: 16K}}
`, disk, host, port, healthCheck))
}

const healthCheck = `{"protocol": "MESOS_HTTP", "path": "/healthz", "portIndex": 0, "delaySeconds": 0, "gracePeriodSeconds": 30, "intervalSeconds": 1, "timeoutSeconds": 5, "maxConsecutiveFailures": 3}`

// fill puts a file of so many bytes beside the database, in its volume on node1. They do not compress.
func (r *rig) fill(size int64) {
	r.b.Helper()
	f, err := os.Create(filepath.Join(r.dir, "lab", "nodes", "node1", "volumes", "tododata", "data", "ballast"))
	r.must(err)
	_, err = io.CopyN(f, &noise{state: 1}, size)
	r.must(err)
	r.must(f.Sync())
	r.must(f.Close())
}

// noise is bytes without end that no compression shortens (xorshift64).
type noise struct{ state uint64 }

func (n *noise) Read(p []byte) (int, error) {
	for i := range p {
		if i%8 == 0 {
			n.state ^= n.state << 13
			n.state ^= n.state >> 7
			n.state ^= n.state << 17
		}
		p[i] = byte(n.state >> (8 * (i % 8)))
	}
	return len(p), nil
}

// settled waits until the controller has looked after a moment and found nothing left to do for the manifests as they are now,
// and returns its record of the last move.
func (r *rig) settled(after time.Time) controller.Move {
	r.b.Helper()
	var st controller.Status
	r.await("everything is settled", func() bool {
		b, err := r.reg.Status(r.b.Context())
		if err != nil || json.Unmarshal(b, &st) != nil {
			return false
		}
		return st.Settled && st.At.After(after) && len(st.Apps) == 1 && st.Digest == r.digest()
	}, func() string { return fmt.Sprintf("%+v", st) })
	if len(st.Moves) == 0 {
		return controller.Move{}
	}
	return st.Moves[len(st.Moves)-1]
}

func (r *rig) digest() string {
	r.b.Helper()
	d, err := manifest.Load(r.manifests)
	r.must(err)
	return d.Digest
}

// patience bounds a wait, which fails the benchmark when it is over.
const patience = 2 * time.Minute

func (r *rig) await(what string, ok func() bool, last func() string) {
	r.b.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			r.b.Fatalf("never: %s; last: %s", what, last())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// marathon calls the lab's Marathon.
func (r *rig) marathon(method, path string, body any) []byte {
	r.b.Helper()
	text, err := json.Marshal(body)
	r.must(err)
	req, err := http.NewRequestWithContext(r.b.Context(), method, "http://"+r.plan.Marathon+path, bytes.NewReader(text))
	r.must(err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	r.must(err)
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	r.must(err)
	if resp.StatusCode >= 300 {
		r.b.Fatalf("%s %s: %s: %s", method, path, resp.Status, said)
	}
	return said
}

// restart has Marathon restart an app where it is and waits until no deployment is left.
func (r *rig) restart(app state.AppID) {
	r.b.Helper()
	r.marathon(http.MethodPost, "/v2/apps"+string(app)+"/restart", nil)
	r.deployed()
}

func (r *rig) deployed() {
	r.b.Helper()
	var said []byte
	r.await("Marathon has no deployments", func() bool {
		said = r.marathon(http.MethodGet, "/v2/deployments", nil)
		return string(bytes.TrimSpace(said)) == "[]"
	}, func() string { return string(said) })
}
