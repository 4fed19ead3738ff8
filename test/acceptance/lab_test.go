package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/lab"
	"github.com/drover-project/drover/lab/zfsim"
)

// A usual port that somebody has is named, with the way out, and the way out works.
func TestLabPortInUse(t *testing.T) {
	t.Parallel()
	if ln, err := net.Listen("tcp", "127.0.0.1:15050"); err == nil { // else somebody has it already, which will do
		defer ln.Close()
	}
	tools := zfsim.Build(t)
	o := lab.Options{Dir: filepath.Join(t.TempDir(), "lab"), Program: os.Args[0], Tools: withTodo(t, tools), Manifests: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
	_, err := lab.New(t.Context(), o)
	if err == nil {
		t.Fatal("the lab starts though a port is taken")
	}
	if !regexp.MustCompile(`port \d+ is taken by another program .*: stop that.*, or start the lab with --any-port`).MatchString(err.Error()) {
		t.Errorf("it says %q", err)
	}
	o.AnyPort = true
	if _, err := lab.New(t.Context(), o); err != nil {
		t.Errorf("with any port: %v", err)
	}
}

// withTodo is a folder with the stand-in and something called todo.
func withTodo(t *testing.T, tools string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range []string{"zfs", "zpool"} {
		if err := os.Symlink(filepath.Join(tools, "zfs"), filepath.Join(dir, f)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "todo"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// realLab is a lab of real processes.
type realLab struct {
	*testing.T
	dir, program, tools string
	lab                 *lab.Lab
}

// startLab builds the programs and starts a lab with the to-do database.
func startLab(t *testing.T) *realLab {
	t.Helper()
	dir := t.TempDir()
	l := &realLab{T: t, dir: filepath.Join(dir, "lab"), program: filepath.Join(dir, "drover"), tools: filepath.Join(dir, "tools")}
	for out, pkg := range map[string]string{l.program: "cmd/drover", filepath.Join(l.tools, "zfs"): "lab/cmd/zfs", filepath.Join(l.tools, "todo"): "lab/cmd/todo"} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", out, "github.com/drover-project/drover/"+pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v: %s", pkg, err, text)
		}
	}
	l.must(os.Symlink("zfs", filepath.Join(l.tools, "zpool")))
	l.must(os.MkdirAll(l.manifests(), 0o755))
	l.edit("spinning")
	var err error
	l.lab, err = lab.New(t.Context(), lab.Options{Dir: l.dir, Program: l.program, Tools: l.tools, Manifests: l.manifests(), AnyPort: true, Log: slog.New(slog.DiscardHandler)})
	l.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.lab.Run(ctx, func() {}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("lab: %v", err)
		}
		if err := lab.Remove(l.dir); err != nil {
			t.Errorf("remove the lab: %v", err)
		}
	})
	return l
}

func (l *realLab) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *realLab) manifests() string { return filepath.Join(filepath.Dir(l.dir), "manifests") }

// edit writes the manifest of the database for a disk.
func (l *realLab) edit(disk string) {
	l.Helper()
	b, err := os.ReadFile("../../manifests/todo-db.yaml")
	l.must(err)
	b = bytes.Replace(b, []byte("CLUSTER, spinning"), []byte("CLUSTER, "+disk), 1)
	b = bytes.Replace(b, []byte("maxOutage: 5s"), []byte("maxOutage: 2m"), 1)
	b = regexp.MustCompile(`127\.255\.0\.`).ReplaceAll(b, fmt.Appendf(nil, "127.254.%d.", os.Getpid()%250))
	l.must(os.WriteFile(filepath.Join(l.manifests(), "db.yaml"), b, 0o644))
}

// status is what `drover status -o json` knows, from the register; zero if there is none yet.
func (l *realLab) status() (st controller.Status) {
	l.Helper()
	cfg, err := controller.ReadConfig(l.lab.ConfigFile())
	l.must(err)
	cl, err := cfg.Open(slog.New(slog.DiscardHandler))
	l.must(err)
	b, err := cl.Register.Status(l.Context())
	if err == nil {
		l.must(json.Unmarshal(b, &st))
	}
	return st
}

func (l *realLab) await(what string, ok func(controller.Status) bool) {
	l.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !ok(l.status()) {
		if time.Now().After(deadline) {
			l.Fatalf("never: %s; status %+v", what, l.status())
		}
		<-time.After(50 * time.Millisecond)
	}
}

// kill kills a process with SIGKILL.
func (l *realLab) kill(pid int) {
	l.Helper()
	l.must(syscall.Kill(pid, syscall.SIGKILL))
}

var process = regexp.MustCompile(`process (\d+)`)

// The controller, and then each agent, is killed with SIGKILL while an app moves; Marathon and the lab start them again, and the
// move comes through with all that was acknowledged.
func TestLabSurvivesKills(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds and runs the real programs")
	}
	t.Parallel()
	l := startLab(t)
	l.await("the database is up", func(st controller.Status) bool { return st.Settled && len(st.Apps) == 1 })
	endpoint := fmt.Sprintf("http://127.254.%d.10:27017", os.Getpid()%250)
	ledger := filepath.Join(l.dir, "ledger")
	l.todo("load", "-url", endpoint, "-ledger", ledger, "-count", "200")
	l.edit("ssd")
	l.await("a step of the move runs", func(st controller.Status) bool { return len(st.Moves) > 0 })
	leader := l.status()
	pid, err := strconv.Atoi(process.FindStringSubmatch(leader.Leader)[1])
	l.must(err)
	l.kill(pid)
	for _, part := range []string{"node1", "node2"} {
		b, err := os.ReadFile(filepath.Join(l.dir, "logs", part+".pid"))
		l.must(err)
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		l.must(err)
		l.kill(pid)
	}
	l.await("it has moved", func(st controller.Status) bool { return st.Settled && st.Term > leader.Term && l.on("node2") })
	l.todo("check", "-url", endpoint, "-ledger", ledger)
}

// on tells whether the data is primary on a node, by zfs on that node.
func (l *realLab) on(node string) bool {
	l.Helper()
	cmd := exec.CommandContext(l.Context(), filepath.Join(l.tools, "zfs"), "get", "-H", "-o", "value", "drover:role", "tank/drover/tododata")
	cmd.Env = append(os.Environ(), zfsim.EnvDir+"="+filepath.Join(l.dir, "nodes", node, "zfs"))
	out, err := cmd.Output()
	return err == nil && strings.TrimSpace(string(out)) == "primary"
}

func (l *realLab) todo(args ...string) {
	l.Helper()
	out, err := exec.CommandContext(l.Context(), filepath.Join(l.tools, "todo"), args...).CombinedOutput()
	if err != nil {
		l.Fatalf("todo %s: %v: %s", args[0], err, out)
	}
}
