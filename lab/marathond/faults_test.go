package marathond

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func (c *cluster) fault(f FaultRequest) {
	c.t.Helper()
	if status, v := c.call("POST", "/lab/faults", f); status != 204 {
		c.t.Fatalf("fault %v: %d %v", f, status, v)
	}
}

func (c *cluster) slaves() int {
	_, v := c.call("GET", "/slaves", nil)
	return len(dig(v, "slaves").([]any))
}

// stateOf looks a task up in one of the master's lists.
func (c *cluster) stateOf(list string, task any) any {
	_, v := c.call("GET", "/state", nil)
	tasks, _ := dig(v, "frameworks", 0, list).([]any)
	for _, t := range tasks {
		if dig(t, "id") == task {
			return dig(t, "state")
		}
	}
	return nil
}

var pinned = tree{"constraints": [][]string{{"hostname", "CLUSTER", "node1"}}, "unreachableStrategy": "disabled"}

func TestPartitionAndReturn(t *testing.T) {
	c := start(t)
	cmd, file := pidFile(t)
	c.must("POST", "/v2/apps", sleeper("/db", tree{"cmd": cmd, "constraints": pinned["constraints"], "unreachableStrategy": "disabled"}))
	c.deployed()
	task, pid := dig(c.tasks("/db"), 0, "id"), c.pid(file)
	c.fault(FaultRequest{Fault: "agent-partition", Agent: "node1"})
	if n := c.slaves(); n != 2 {
		t.Errorf("%d agents", n)
	}
	if st := dig(c.tasks("/db"), 0, "state"); st != "TASK_UNREACHABLE" {
		t.Errorf("state %v", st)
	}
	if st := c.stateOf("unreachable_tasks", task); st != "TASK_UNREACHABLE" {
		t.Errorf("master: %v", st)
	}
	if !lives(pid) {
		t.Error("the process of an unreachable task runs on")
	}
	c.fault(FaultRequest{Fault: "agent-return", Agent: "node1"})
	c.running("/db", 1)
	if got := dig(c.tasks("/db"), 0, "id"); got != task || c.slaves() != 3 {
		t.Errorf("task %v, want %v; %d agents", got, task, c.slaves())
	}
}

// Scaling to zero counts an unreachable task as ended although it runs; it is killed when its agent is back.
func TestScaleToZeroDuringPartition(t *testing.T) {
	c := start(t)
	cmd, file := pidFile(t)
	c.must("POST", "/v2/apps", sleeper("/db", tree{"cmd": cmd, "constraints": pinned["constraints"], "unreachableStrategy": "disabled"}))
	c.deployed()
	task, pid := dig(c.tasks("/db"), 0, "id"), c.pid(file)
	c.fault(FaultRequest{Fault: "agent-partition", Agent: "S1"})
	c.must("PUT", "/v2/apps/db", tree{"instances": 0})
	c.deployed()
	if !lives(pid) || len(c.tasks("/db")) != 0 {
		t.Errorf("process lives: %v, tasks %v", lives(pid), c.tasks("/db"))
	}
	c.fault(FaultRequest{Fault: "agent-return", Agent: "S1"})
	c.eventually("the returned task is killed", func() bool { return c.stateOf("completed_tasks", task) == "TASK_KILLED" })
	if lives(pid) {
		t.Error("the process lives")
	}
}

func TestDefaultStrategyReplacesAnUnreachableTask(t *testing.T) {
	c := start(t)
	c.must("POST", "/v2/apps", sleeper("/web", nil))
	c.deployed()
	host := c.hosts("/web")[0]
	c.fault(FaultRequest{Fault: "agent-partition", Agent: host})
	c.running("/web", 1)
	if got := c.hosts("/web"); len(got) != 1 || got[0] == host {
		t.Errorf("hosts %v, the lost one was %s", got, host)
	}
	c.fault(FaultRequest{Fault: "agent-return", Agent: host})
	c.eventually("one task is left", func() bool {
		_, v := c.call("GET", "/state", nil)
		return len(dig(v, "frameworks", 0, "tasks").([]any)) == 1
	})
}

func TestPowerOffAndReboot(t *testing.T) {
	c := start(t)
	cmd, file := pidFile(t)
	c.must("POST", "/v2/apps", sleeper("/db", tree{"cmd": cmd, "constraints": pinned["constraints"], "unreachableStrategy": "disabled"}))
	c.deployed()
	task, pid := dig(c.tasks("/db"), 0, "id"), c.pid(file)
	c.fault(FaultRequest{Fault: "agent-power-off", Agent: "node1"})
	c.eventually("the process is dead", func() bool { return !lives(pid) })
	if st := dig(c.tasks("/db"), 0, "state"); st != "TASK_UNREACHABLE" {
		t.Errorf("nobody has told the master: %v", st)
	}
	c.fault(FaultRequest{Fault: "agent-return", Agent: "node1"})
	if st := c.stateOf("completed_tasks", task); st != "TASK_GONE" {
		t.Errorf("after the reboot: %v", st)
	}
	c.running("/db", 1)
}

func TestGoneByOperator(t *testing.T) {
	c := start(t)
	c.must("POST", "/v2/apps", sleeper("/db", pinned))
	c.deployed()
	task := dig(c.tasks("/db"), 0, "id")
	c.fault(FaultRequest{Fault: "agent-gone", Agent: "node1"})
	if st := c.stateOf("completed_tasks", task); st != "TASK_GONE_BY_OPERATOR" {
		t.Errorf("state %v", st)
	}
	if status, _ := c.call("POST", "/lab/faults", FaultRequest{Fault: "agent-return", Agent: "node1"}); status != 400 {
		t.Errorf("a gone agent came back: %d", status)
	}
}

func TestIgnoredKill(t *testing.T) {
	c := start(t)
	c.must("POST", "/v2/apps", sleeper("/db", nil))
	c.deployed()
	c.fault(FaultRequest{Fault: "kill", Kill: &KillFault{App: "/db", Ignore: true}})
	c.must("PUT", "/v2/apps/db", tree{"instances": 0})
	if st := dig(c.tasks("/db"), 0, "state"); st != "TASK_RUNNING" {
		t.Errorf("state %v", st)
	}
	c.must("DELETE", "/lab/faults", nil)
	c.deployed()
	if n := len(c.tasks("/db")); n != 0 {
		t.Errorf("%d tasks", n)
	}
}

func TestSlowKill(t *testing.T) {
	c := start(t)
	cmd, file := pidFile(t)
	c.must("POST", "/v2/apps", sleeper("/db", tree{"cmd": cmd}))
	c.deployed()
	pid := c.pid(file)
	c.fault(FaultRequest{Fault: "kill", Kill: &KillFault{Delay: Duration(400 * time.Millisecond)}})
	asked := time.Now()
	c.must("PUT", "/v2/apps/db", tree{"instances": 0})
	if st := dig(c.tasks("/db"), 0, "state"); st != "TASK_KILLING" || !lives(pid) {
		t.Errorf("state %v, lives %v", st, lives(pid))
	}
	c.deployed()
	if took := time.Since(asked); took < 400*time.Millisecond {
		t.Errorf("killed after %v", took)
	}
}

func TestHTTPFaults(t *testing.T) {
	c := start(t)
	c.fault(FaultRequest{Fault: "http", HTTP: &HTTPFault{Path: "/v2/apps", Status: 503, Times: 1}})
	if status, v := c.call("GET", "/v2/apps", nil); status != 503 || dig(v, "message") == nil {
		t.Errorf("%d %v", status, v)
	}
	c.fault(FaultRequest{Fault: "http", HTTP: &HTTPFault{HTML: true, Status: 502, Times: 1}})
	if status, v := c.call("GET", "/v2/apps", nil); status != 502 || !strings.Contains(v.(string), "<html>") {
		t.Errorf("%d %v", status, v)
	}
	c.fault(FaultRequest{Fault: "http", HTTP: &HTTPFault{Method: "POST", Cut: true, Times: 1}})
	if _, _, err := call(c.s.URL(), "POST", "/v2/apps", sleeper("/a", tree{"instances": 0})); err == nil {
		t.Error("the connection was not cut")
	}
	if status, _ := c.call("GET", "/v2/apps/a", nil); status != 200 {
		t.Errorf("the cut request was not applied: %d", status)
	}
	if status, _ := c.call("POST", "/lab/faults", FaultRequest{Fault: "weather"}); status != 400 {
		t.Errorf("unknown fault: %d", status)
	}
}

func TestLeaderChange(t *testing.T) {
	c := start(t)
	body := c.events()
	defer body.Close()
	c.must("POST", "/v2/apps", sleeper("/db", tree{"constraints": [][]string{{"hold", "CLUSTER", "x"}}}))
	c.fault(FaultRequest{Fault: "leader-change", For: Duration(time.Hour)})
	if _, err := io.ReadAll(body); err != nil {
		t.Errorf("the stream ends cleanly: %v", err)
	}
	if status, _ := c.call("GET", "/v2/apps", nil); status != 502 {
		t.Errorf("without a leader: %d", status)
	}
	if status, _ := c.call("GET", "/v2/leader", nil); status != 404 {
		t.Errorf("leader: %d", status)
	}
	c.must("DELETE", "/lab/faults", nil)
	if list := c.must("GET", "/v2/deployments", nil).([]any); len(list) != 1 {
		t.Errorf("the new leader goes on with the deployment: %v", list)
	}
}

func (c *cluster) events() io.ReadCloser {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.(*testing.T).Context(), http.MethodGet, c.s.URL()+"/v2/events", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.Body
}

// A stalled stream stays open and says nothing, not even a heartbeat.
func TestStalledStream(t *testing.T) {
	c := start(t)
	c.fault(FaultRequest{Fault: "events-stall"})
	body := c.events()
	defer body.Close()
	got := make(chan string, 1)
	go func() {
		buf := make([]byte, 1)
		if _, err := body.Read(buf); err == nil {
			got <- string(buf)
		}
	}()
	select {
	case b := <-got:
		t.Errorf("a stalled stream said %q", b)
	case <-time.After(10 * fast.Heartbeat):
	}
	c.fault(FaultRequest{Fault: "events-resume"})
	if b := <-got; b == "" {
		t.Error("nothing after the stall")
	}
}

func TestCredentials(t *testing.T) {
	c := start(t, func(o *Options) { o.User, o.Password = "u", "p" })
	if status, _ := c.call("GET", "/ping", nil); status != 401 {
		t.Errorf("without credentials: %d", status)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.s.URL()+"/ping", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("u", "p")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != 200 {
		t.Errorf("with credentials: %d", resp.StatusCode)
	}
}
