package marathond

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAppLife(t *testing.T) {
	c := start(t)
	v := c.must("POST", "/v2/apps", sleeper("/todo/db", tree{"constraints": [][]string{{"disk", "CLUSTER", "ssd"}}}))
	if got := dig(v, "id"); got != "/todo/db" {
		t.Fatalf("id %v", got)
	}
	c.deployed()
	c.running("/todo/db", 1)
	if h := c.hosts("/todo/db"); h[0] == "node1" {
		t.Errorf("on %v, want an ssd node", h)
	}
	c.must("PUT", "/v2/apps/todo/db", tree{"instances": 3})
	c.deployed()
	c.running("/todo/db", 3)
	c.must("PUT", "/v2/apps/todo/db", tree{"instances": 0})
	c.deployed()
	if n := len(c.tasks("/todo/db")); n != 0 {
		t.Errorf("%d tasks after scaling to 0", n)
	}
	c.must("DELETE", "/v2/apps/todo/db", nil)
	c.deployed()
	if status, _ := c.call("GET", "/v2/apps/todo/db", nil); status != 404 {
		t.Errorf("deleted app: %d", status)
	}
}

func TestMoveByScaleToZero(t *testing.T) {
	c := start(t)
	c.must("POST", "/v2/apps", sleeper("/db", tree{"constraints": [][]string{{"hostname", "CLUSTER", "node1"}}}))
	c.deployed()
	c.must("PUT", "/v2/apps/db", tree{"instances": 0, "constraints": [][]string{{"drover-hold", "CLUSTER", "m1"}}})
	c.deployed()
	c.must("PUT", "/v2/apps/db", tree{"instances": 1, "constraints": [][]string{{"hostname", "CLUSTER", "node2"}}})
	c.deployed()
	if h := c.hosts("/db"); len(h) != 1 || h[0] != "node2" {
		t.Errorf("hosts %v", h)
	}
}

func TestTaskSeesItsVolumeAndEnvironment(t *testing.T) {
	c := start(t)
	vol := t.TempDir()
	c.must("POST", "/v2/apps", tree{
		"id": "/env", "cpus": 0.1, "mem": 16, "env": tree{"MINE": "yes"},
		"cmd":             `env > data/env.tmp && mv data/env.tmp data/env && exec sleep 1000`,
		"portDefinitions": []tree{{"port": 0, "name": "http-api"}},
		"container":       tree{"type": "MESOS", "volumes": []tree{{"containerPath": "data", "hostPath": vol, "mode": "RW"}}},
	})
	c.deployed()
	var env string
	c.eventually("the task has written its environment", func() bool {
		data, err := os.ReadFile(filepath.Join(vol, "env"))
		env = string(data)
		return err == nil
	})
	port := fmt.Sprint(dig(c.tasks("/env"), 0, "ports", 0))
	for _, want := range []string{"HOST=node1", "MINE=yes", "PORT0=" + port, "PORT=" + port, "PORTS=" + port, "PORT_HTTP_API=" + port, "MARATHON_APP_ID=/env", "MESOS_TASK_ID=env.instance-", "MESOS_SANDBOX=/"} {
		if !strings.Contains(env, "\n"+want) && !strings.HasPrefix(env, want) {
			t.Errorf("no %s in\n%s", want, env)
		}
	}
}

func TestMissingHostPathFailsTheTask(t *testing.T) {
	c := start(t)
	missing := filepath.Join(t.TempDir(), "data")
	c.must("POST", "/v2/apps", sleeper("/db", tree{"container": tree{"type": "MESOS", "volumes": []tree{{"containerPath": "data", "hostPath": missing, "mode": "RW"}}}}))
	c.eventually("the task has failed", func() bool {
		_, v := c.call("GET", "/v2/apps/db", nil)
		msg, _ := dig(v, "app", "lastTaskFailure", "message").(string)
		return dig(v, "app", "lastTaskFailure", "state") == "TASK_FAILED" && strings.Contains(msg, missing)
	})
	if err := os.Mkdir(missing, 0o755); err != nil {
		t.Fatal(err)
	}
	c.deployed()
	c.running("/db", 1)
}
