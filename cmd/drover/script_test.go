package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this binary the program too, so that scripts run it as people do.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"drover": func() { os.Exit(run()) }})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			manifests, err := filepath.Abs(filepath.Join("..", "..", "manifests"))
			e.Setenv("MANIFESTS", manifests)
			return err
		},
		Condition: func(cond string) (bool, error) {
			if cond == "loopback" { // Linux has all of 127.0.0.0/8 without being told
				return runtime.GOOS == "linux", nil
			}
			return false, fmt.Errorf("unknown condition %s", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"build":     build,
			"waitfor":   waitFor,
			"manifests": copyManifests,
			"edit":      edit,
			"signal":    signalPart,
			"scale":     scale,
		},
	})
}

// build puts drover and the lab's tools, as `make build` makes them, into the PATH. A lab starts hundreds of processes; with the
// race detector in each, a move would take minutes. Whole clusters are run with it in one process elsewhere.
func build(ts *testscript.TestScript, _ bool, _ []string) {
	bin := filepath.Join(ts.Getenv("TMPDIR"), "bin")
	tools := filepath.Join(bin, "lab")
	ts.Check(os.MkdirAll(tools, 0o755))
	for _, b := range []struct{ into, pkg string }{{bin, "cmd/drover"}, {tools, "lab/cmd/zfs"}, {tools, "lab/cmd/todo"}} {
		cmd := exec.Command("go", "build", "-trimpath", "-o", b.into+"/", module+b.pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			ts.Fatalf("build %s: %v\n%s", b.pkg, err, out)
		}
	}
	ts.Check(os.Symlink("zfs", filepath.Join(tools, "zpool")))
	ts.Setenv("PATH", bin+string(filepath.ListSeparator)+ts.Getenv("PATH"))
}

const module = "github.com/drover-project/drover/"

// waitFor runs a command again and again until what it prints matches: waitfor REGEXP COMMAND...
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: waitfor REGEXP COMMAND...")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var out string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		err := ts.Exec(args[1], args[2:]...)
		if out = ts.ReadFile("stdout") + ts.ReadFile("stderr"); want.MatchString(out) {
			return
		}
		ts.Logf("%v", err)
		time.Sleep(200 * time.Millisecond) // between two looks at a condition: each is a process
	}
	ts.Fatalf("%s never printed %q; last:\n%s", strings.Join(args[1:], " "), args[0], out)
}

// copyManifests copies the project's manifests with addresses that no other lab uses: manifests FOLDER
func copyManifests(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	files, err := filepath.Glob(filepath.Join(ts.Getenv("MANIFESTS"), "*.yaml"))
	ts.Check(err)
	if len(files) == 0 {
		ts.Fatalf("no manifests in %q", ts.Getenv("MANIFESTS"))
	}
	net := freeSubnet(ts)
	for _, f := range files {
		b, err := os.ReadFile(f)
		ts.Check(err)
		b = bytes.ReplaceAll(b, []byte("127.255.0."), []byte(net))
		ts.Check(os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o644))
	}
	ts.Setenv("WEB", net+"11:8080")
}

// freeSubnet finds addresses on which nobody listens.
func freeSubnet(ts *testscript.TestScript) string {
	for i := range 250 {
		prefix := fmt.Sprintf("127.254.%d.", 1+(os.Getpid()+i)%250)
		ln, err := net.Listen("tcp", prefix+"11:8080")
		if err == nil {
			ts.Check(ln.Close())
			return prefix
		}
	}
	ts.Fatalf("no free loopback address")
	return ""
}

// edit replaces text in a file, which must hold it: edit FILE OLD NEW
func edit(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	after := strings.Replace(string(b), args[1], args[2], 1)
	if after == string(b) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(path, []byte(after), 0o644))
}

// signalPart sends a signal to the process that a file names: signal KILL|STOP|CONT FILE
func signalPart(ts *testscript.TestScript, _ bool, args []string) {
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[1])))
	ts.Check(err)
	s, ok := map[string]syscall.Signal{"KILL": syscall.SIGKILL, "STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT}[args[0]]
	if !ok {
		ts.Fatalf("unknown signal %s", args[0])
	}
	ts.Check(syscall.Kill(pid, s))
}

// scale has Marathon run so many controllers: scale LAB N
func scale(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	url := "http://" + labAddress(ts, args[0]) + "/v2/apps/drover/controller?force=true"
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(`{"instances":`+args[1]+`}`))
	ts.Check(err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	ts.Check(resp.Body.Close())
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("Marathon answered %s", resp.Status)
	}
}

var marathonAddress = regexp.MustCompile(`"Marathon": "([^"]+)"`)

func labAddress(ts *testscript.TestScript, dir string) string {
	m := marathonAddress.FindStringSubmatch(ts.ReadFile(filepath.Join(dir, "lab.json")))
	if m == nil {
		ts.Fatalf("%s is no lab", dir)
	}
	return m[1]
}
