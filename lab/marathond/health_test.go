package marathond

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// answering is an app that is fine while a file exists.
func answering(t *testing.T, more tree) (tree, string) {
	file := filepath.Join(t.TempDir(), "fine")
	app := sleeper("/web", tree{"args": []string{os.Args[0], "lab-task", file}, "portDefinitions": []tree{{"port": 0, "name": "http"}}})
	delete(app, "cmd")
	for k, v := range more {
		app[k] = v
	}
	return app, file
}

func touch(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func httpCheck(protocol string) []tree {
	return []tree{{"protocol": protocol, "path": "/", "portIndex": 0, "gracePeriodSeconds": 60, "intervalSeconds": 2, "timeoutSeconds": 20, "maxConsecutiveFailures": 3, "delaySeconds": 0}}
}

// The deployment waits for health; a task that turns unhealthy is killed, says why, and is replaced.
func TestUnhealthyTaskIsReplaced(t *testing.T) {
	for _, protocol := range []string{"HTTP", "MESOS_HTTP"} {
		t.Run(protocol, func(t *testing.T) {
			c := start(t)
			app, file := answering(t, tree{"healthChecks": httpCheck(protocol)})
			touch(t, file)
			c.must("POST", "/v2/apps", app)
			c.deployed()
			first := dig(c.tasks("/web"), 0, "id")
			if v := c.must("GET", "/v2/apps/web", nil); dig(v, "app", "tasksHealthy") != 1.0 {
				t.Errorf("healthy: %v", dig(v, "app", "tasksHealthy"))
			}
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			c.eventually("the kill is explained", func() bool {
				msg, _ := dig(c.must("GET", "/v2/apps/web", nil), "app", "lastTaskFailure", "message").(string)
				return strings.HasPrefix(msg, "Task was killed since health check failed. Reason: ")
			})
			touch(t, file)
			c.eventually("another task is healthy", func() bool {
				v := c.must("GET", "/v2/apps/web", nil)
				return dig(v, "app", "tasksHealthy") == 1.0 && dig(v, "app", "tasks", 0, "id") != first
			})
		})
	}
}

// From 1.10 on a task counts as healthy in a restart only by Mesos's own word, so that (0,0) with a check that Marathon
// runs never ends the old task; before, it does at once.
func TestRestartWaitsForMesosHealth(t *testing.T) {
	for v, want := range map[Version]string{V18: "TASK_KILLING", V111: "TASK_RUNNING"} {
		t.Run(string(v), func(t *testing.T) {
			c := start(t, func(o *Options) { o.Emulate = v })
			app, file := answering(t, tree{"healthChecks": httpCheck("HTTP"), "upgradeStrategy": tree{"minimumHealthCapacity": 0, "maximumOverCapacity": 0}})
			touch(t, file)
			c.must("POST", "/v2/apps", app)
			c.deployed()
			c.fault(FaultRequest{Fault: "kill", Kill: &KillFault{Delay: Duration(time.Second)}})
			c.must("PUT", "/v2/apps/web", tree{"labels": tree{"a": "b"}})
			if got := dig(c.tasks("/web"), 0, "state"); got != want {
				t.Errorf("the old task: %v, want %v", got, want)
			}
		})
	}
}

func TestReadinessEndsTheDeployment(t *testing.T) {
	c := start(t)
	app, file := answering(t, tree{"readinessChecks": []tree{{"portName": "http", "path": "/", "intervalSeconds": 1, "timeoutSeconds": 20, "preserveLastResponse": true}}})
	c.must("POST", "/v2/apps", app)
	c.eventually("the task answers that it is not ready", func() bool {
		list := c.must("GET", "/v2/deployments", nil)
		return dig(list, 0, "currentActions", 0, "readinessCheckResults", 0, "lastResponse", "status") == 503.0
	})
	touch(t, file)
	c.deployed()
}

func TestPortsAreSharedByAgentsOfOneAddress(t *testing.T) {
	c := start(t)
	c.must("POST", "/v2/apps", sleeper("/a", tree{"instances": 3, "constraints": [][]string{{"hostname", "UNIQUE"}}}))
	c.deployed()
	seen := map[any]bool{}
	for _, task := range c.tasks("/a") {
		port := dig(task, "ports", 0)
		if seen[port] || dig(task, "ipAddresses", 0, "ipAddress") != "127.0.0.1" {
			t.Errorf("task %v", task)
		}
		seen[port] = true
	}
	if len(seen) != 3 {
		t.Errorf("ports %v", seen)
	}
}

// What does not fit says why in the queue, and starts as soon as there is room.
func TestQueueSaysWhatIsShort(t *testing.T) {
	for name, c := range map[string]struct {
		need   tree
		reason int
	}{
		"cpus":   {tree{"cpus": 3}, 4},
		"memory": {tree{"mem": 6000}, 5},
		"disk":   {tree{"disk": 60000}, 6},
		"ports":  {tree{"requirePorts": true, "portDefinitions": []tree{{"port": 31999}}}, 8},
	} {
		t.Run(name, func(t *testing.T) {
			cl := start(t, func(o *Options) { o.Agents = o.Agents[:1] })
			big := sleeper("/first", c.need)
			cl.must("POST", "/v2/apps", big)
			cl.deployed()
			big["id"] = "/second"
			cl.must("POST", "/v2/apps", big)
			q := cl.must("GET", "/v2/queue", nil)
			row := dig(q, "queue", 0, "processedOffersSummary", "rejectSummaryLastOffers", c.reason)
			if dig(row, "declined") != 1.0 {
				t.Errorf("queue %v", q)
			}
			cl.must("DELETE", "/v2/apps/first", nil)
			cl.deployed()
			cl.running("/second", 1)
		})
	}
}

// After inactiveAfterSeconds a replacement starts beside the unreachable task; when that one returns before it is
// expunged, the surplus is ended, the youngest first.
func TestInactiveIsReplacedAndReturns(t *testing.T) {
	c := start(t)
	c.must("POST", "/v2/apps", sleeper("/web", tree{"unreachableStrategy": tree{"inactiveAfterSeconds": 1, "expungeAfterSeconds": 100000}}))
	c.deployed()
	first := dig(c.tasks("/web"), 0, "id")
	c.fault(FaultRequest{Fault: "agent-partition", Agent: c.hosts("/web")[0]})
	c.eventually("one is unreachable and one runs", func() bool {
		states := map[any]bool{}
		for _, task := range c.tasks("/web") {
			states[dig(task, "state")] = true
		}
		return states["TASK_UNREACHABLE"] && states["TASK_RUNNING"]
	})
	c.fault(FaultRequest{Fault: "agent-return", Agent: "node1"})
	c.eventually("the replacement is ended", func() bool {
		tasks := c.tasks("/web")
		return len(tasks) == 1 && dig(tasks, 0, "id") == first
	})
}

func TestRefusals(t *testing.T) {
	c := start(t)
	for name, more := range map[string]tree{
		"runs no container images": {"container": tree{"type": "DOCKER", "docker": tree{"image": "mongo"}}},
		"/var/lib/data":            {"container": tree{"type": "MESOS", "volumes": []tree{{"containerPath": "/var/lib/data", "hostPath": "/tmp", "mode": "RW"}}}},
		"only copies file://":      {"fetch": []tree{{"uri": "http://127.0.0.1/x"}}},
		"wants user":               {"user": "nobody-at-all"},
		"no-such-program":          {"cmd": nil, "args": []string{"no-such-program"}},
	} {
		c.must("POST", "/v2/apps", sleeper("/bad", more))
		c.eventually("a refusal that says "+name, func() bool {
			v := c.must("GET", "/v2/apps/bad", nil)
			msg, _ := dig(v, "app", "lastTaskFailure", "message").(string)
			return strings.Contains(msg, name) && dig(v, "app", "lastTaskFailure", "state") == "TASK_FAILED"
		})
		c.must("DELETE", "/v2/apps/bad", nil)
		c.deployed()
	}
	status, v := c.call("POST", "/v2/apps", sleeper("/bad", tree{"container": tree{"type": "MESOS", "volumes": []tree{{"containerPath": "d", "mode": "RW", "persistent": tree{"size": 1}}}}}))
	if status != 422 {
		t.Errorf("persistent volume: %d %v", status, v)
	}
}

func TestFetchCopiesFiles(t *testing.T) {
	c := start(t)
	dir := t.TempDir()
	script := filepath.Join(dir, "run.sh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho fetched > "+dir+"/out.tmp && mv "+dir+"/out.tmp "+dir+"/out\nexec sleep 1000\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c.must("POST", "/v2/apps", sleeper("/f", tree{"cmd": "exec ./run.sh", "fetch": []tree{{"uri": "file://" + script, "executable": true}}}))
	c.eventually("the fetched script ran", func() bool {
		_, err := os.Stat(filepath.Join(dir, "out"))
		return err == nil
	})
}

func TestMesosShowsAgents(t *testing.T) {
	c := start(t, func(o *Options) { o.MesosListen = "127.0.0.1:0" })
	_, v, err := call(c.s.MesosURL(), "GET", "/master/slaves", nil)
	if err != nil {
		t.Fatal(err)
	}
	if dig(v, "slaves", 0, "attributes", "slots") != 4.0 || dig(v, "slaves", 1, "attributes", "zone") != "{b, a}" || dig(v, "slaves", 2, "attributes", "racks") != "[1-2, 5-6]" {
		t.Errorf("slaves %v", v)
	}
	if status, _ := c.call("GET", "/slaves", nil); status != 500 {
		t.Errorf("the Marathon listener serves /slaves: %d", status)
	}
	_, v, err = call(c.s.MesosURL(), "POST", "/api/v1", tree{"type": "GET_AGENTS"})
	if err != nil {
		t.Fatal(err)
	}
	if dig(v, "get_agents", "agents", 1, "agent_info", "attributes", 0, "text", "value") != "ssd" {
		t.Errorf("agents %v", v)
	}
	_, v, err = call(c.s.MesosURL(), "GET", "/state-summary", nil)
	if err != nil || dig(v, "slaves", 0, "TASK_RUNNING") != 0.0 {
		t.Errorf("summary %v %v", v, err)
	}
	_, info := c.call("GET", "/v2/info", nil)
	if dig(info, "marathon_config", "mesos_leader_ui_url") != c.s.MesosURL()+"/" {
		t.Errorf("info %v", info)
	}
}
