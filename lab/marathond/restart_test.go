package marathond

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pidFile makes a command that leaves its process id in a file, and the file.
func pidFile(t *testing.T) (cmd, file string) {
	file = filepath.Join(t.TempDir(), "pid")
	return "echo $$ >> " + file + "; exec sleep 1000", file
}

// pids that have been written so far.
func pids(t *testing.T, file string) []int {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var out []int
	for line := range strings.FieldsSeq(string(data)) {
		n, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, n)
	}
	return out
}

func lives(pid int) bool { return processStart(pid) != "" }

func (c *cluster) pid(file string) int {
	c.t.Helper()
	c.eventually("the task has written its process id", func() bool { return len(pids(c.t.(*testing.T), file)) > 0 })
	all := pids(c.t.(*testing.T), file)
	return all[len(all)-1]
}

func TestTasksSurviveARestartOfTheServer(t *testing.T) {
	opt := testOptions(t.TempDir())
	cmd, file := pidFile(t)
	first := startServer(t, opt)
	first.must("POST", "/v2/apps", sleeper("/db", tree{"cmd": cmd}))
	first.deployed()
	task, pid := dig(first.tasks("/db"), 0, "id"), first.pid(file)
	first.stop()
	if !lives(pid) {
		t.Fatal("the task ended with the server")
	}
	second := startServer(t, opt)
	t.Cleanup(second.end)
	second.running("/db", 1)
	if got := dig(second.tasks("/db"), 0, "id"); got != task {
		t.Errorf("task %v, want %v", got, task)
	}
	second.must("PUT", "/v2/apps/db", tree{"instances": 0})
	second.deployed()
	if lives(pid) {
		t.Error("the recovered task was not killed")
	}
	if n := len(pids(t, file)); n != 1 {
		t.Errorf("the task was started %d times", n)
	}
}

func TestTaskThatEndedWhileNoServerRanIsReplaced(t *testing.T) {
	opt := testOptions(t.TempDir())
	cmd, file := pidFile(t)
	first := startServer(t, opt)
	first.must("POST", "/v2/apps", sleeper("/db", tree{"cmd": cmd}))
	first.deployed()
	pid := first.pid(file)
	first.stop()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := startServer(t, opt)
	t.Cleanup(second.end)
	second.eventually("a new task runs", func() bool { return len(pids(t, file)) == 2 })
	second.running("/db", 1)
}

func TestAppsStartAgainAfterKillTasks(t *testing.T) {
	opt := testOptions(t.TempDir())
	cmd, file := pidFile(t)
	first := startServer(t, opt)
	first.must("POST", "/v2/apps", sleeper("/db", tree{"cmd": cmd}))
	first.deployed()
	pid := first.pid(file)
	first.end()
	if lives(pid) {
		t.Fatal("the task lives on")
	}
	second := startServer(t, opt)
	t.Cleanup(second.end)
	second.running("/db", 1)
	second.eventually("it has started twice", func() bool { return len(pids(t, file)) == 2 })
}

// serverProcess is a server in a process of its own.
type serverProcess struct {
	cmd *exec.Cmd
	url string
}

func spawnServer(t *testing.T, dir, listen string) *serverProcess {
	t.Helper()
	cmd := exec.Command(os.Args[0], "lab-server", dir, listen)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the server does not start: %v", err)
	}
	return &serverProcess{cmd, strings.TrimSpace(line)}
}

func (p *serverProcess) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.cmd.Process.Wait(); err != nil {
		t.Fatal(err)
	}
}

// A server is killed in the middle of a rolling restart; the next one ends it, and the tasks that ran run on.
func TestDeploymentGoesOnAfterKillNine(t *testing.T) {
	dir := t.TempDir()
	cmd, file := pidFile(t)
	p := spawnServer(t, dir, "127.0.0.1:0")
	status, v, err := call(p.url, "POST", "/v2/apps", sleeper("/db", tree{"cmd": cmd}))
	if err != nil || status != 201 {
		t.Fatalf("%d %v %v", status, v, err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for over := false; !over && time.Now().Before(deadline); {
		_, list, err := call(p.url, "GET", "/v2/deployments", nil)
		if err != nil {
			t.Fatal(err)
		}
		over = len(list.([]any)) == 0 && len(pids(t, file)) == 1
	}
	_, stuck, err := call(p.url, "PUT", "/v2/apps/db", tree{"constraints": [][]string{{"hold", "CLUSTER", "x"}}})
	if err != nil {
		t.Fatal(err)
	}
	p.kill(t)
	old := pids(t, file)[0]
	if !lives(old) {
		t.Fatal("the task ended with the server")
	}
	c := startServer(t, testOptions(dir))
	t.Cleanup(c.end)
	list := c.must("GET", "/v2/deployments", nil)
	if dig(list, 0, "id") != dig(stuck, "deploymentId") {
		t.Fatalf("deployments %v, want %v", list, stuck)
	}
	c.running("/db", 1)
	c.must("PUT", "/v2/apps/db?force=true", tree{"constraints": [][]string{{"disk", "CLUSTER", "ssd"}}})
	c.deployed()
	if lives(old) {
		t.Error("the old task was not replaced")
	}
	if h := c.hosts("/db"); len(h) != 1 || h[0] == "node1" {
		t.Errorf("hosts %v", h)
	}
}

func TestFolderIsUsedByOneServerOnly(t *testing.T) {
	c := start(t)
	opt := testOptions(c.s.opt.Dir)
	if s, err := New(opt); err == nil {
		t.Error("a second server took the same folder", s.Close())
	}
}

func TestPortInUseIsAClearError(t *testing.T) {
	c := start(t)
	opt := testOptions(t.TempDir())
	opt.Listen = strings.TrimPrefix(c.s.URL(), "http://")
	_, err := New(opt)
	if err == nil || !strings.Contains(err.Error(), opt.Listen) || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("error %v", err)
	}
}

// An executor that is killed takes its task's whole process group with it, and the task has failed.
func TestKilledExecutorLeavesNothing(t *testing.T) {
	c := start(t)
	cmd, file := pidFile(t)
	c.must("POST", "/v2/apps", sleeper("/db", tree{"cmd": cmd}))
	c.deployed()
	pid := c.pid(file)
	c.s.children.Range(func(_, v any) bool {
		if err := v.(*exec.Cmd).Process.Kill(); err != nil {
			t.Error(err)
		}
		return true
	})
	c.eventually("the task's process is gone", func() bool { return !lives(pid) })
	c.eventually("the task was replaced", func() bool { return len(pids(t, file)) == 2 })
	c.running("/db", 1)
}

// What a task puts into other process groups and sessions ends with it as well.
func TestKillReachesTheWholeGroup(t *testing.T) {
	c := start(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "pid")
	session := ""
	if _, err := exec.LookPath("setsid"); err == nil {
		session = "setsid " // Linux: even a session of its own does not save a process
	}
	cmd := "echo $$ >> " + file + "; sleep 1001 & echo $! >> " + file + "; " + session + "sh -c 'echo $$ >> " + file + "; exec sleep 1002' & sleep 1003; true"
	c.must("POST", "/v2/apps", sleeper("/db", tree{"cmd": cmd}))
	c.deployed()
	c.eventually("three processes have reported", func() bool { return len(pids(t, file)) == 3 })
	c.must("PUT", "/v2/apps/db", tree{"instances": 0})
	c.deployed()
	for _, pid := range pids(t, file) {
		if lives(pid) {
			t.Errorf("process %d lives", pid)
		}
	}
}

// A recorded process id that now belongs to somebody else is not touched.
func TestStrangersAreNotKilled(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	if err := killRemains("db.instance-x._app.1", statusFile{Pid: cmd.Process.Pid, StartTime: "12345@another-boot"}); err != nil {
		t.Error(err)
	}
	if !lives(cmd.Process.Pid) {
		t.Error("a stranger was killed")
	}
}

func TestKillTasksGivesUpWithItsContext(t *testing.T) {
	c := start(t)
	c.must("POST", "/v2/apps", sleeper("/db", tree{"cmd": `trap "" TERM; while true; do sleep 0.05; done`, "taskKillGracePeriodSeconds": 15}))
	c.deployed()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.s.KillTasks(ctx); err == nil {
		t.Error("no error although a task still runs")
	}
}
