package marathontest

import "strings"

var taskTests = map[string]func(*client){
	"KillIsReplaced":  killReplaced,
	"KillAndScale":    killAndScale,
	"ScaleAndWipe":    scaleAndWipe,
	"KillByHost":      killByHost,
	"DeleteList":      deleteList,
	"AllTasks":        allTasks,
	"FailureIsShown":  failureShown,
	"GraceBeforeKill": graceBeforeKill,
	"StatesInMesos":   statesInMesos,
}

func killReplaced(c *client) {
	c.create(nil)
	old := dig(c.tasks("a"), 0, "id").(string)
	r := c.want(200, "DELETE", c.path("a")+"/tasks/"+old, nil)
	c.equal("killed", r.get("task", "id"), old)
	c.await("another task runs", func() bool {
		t := c.tasks("a")
		return len(t) == 1 && dig(t, 0, "id") != old && dig(t, 0, "state") == "TASK_RUNNING"
	})
	if now := dig(c.tasks("a"), 0, "id").(string); c.atLeast(8) {
		c.equal("same instance, next incarnation", now, strings.TrimSuffix(old, ".1")+".2")
	}
}

func killAndScale(c *client) {
	c.create(object{"instances": 2})
	victim := dig(c.tasks("a"), 0, "id").(string)
	r := c.want(200, "DELETE", c.path("a")+"/tasks/"+victim+"?scale=true", nil)
	c.over(r.get("deploymentId"))
	c.equal("instances", c.want(200, "GET", c.path("a"), nil).get("app", "instances"), 1)
	tasks := c.tasks("a")
	if len(tasks) != 1 || dig(tasks, 0, "id") == victim {
		c.Errorf("left %v", tasks)
	}
}

func scaleAndWipe(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", idle))
	for _, r := range []reply{
		c.do("DELETE", c.path("a")+"/tasks?scale=true&wipe=true", nil),
		c.do("POST", "/v2/tasks/delete?scale=true&wipe=true", object{"ids": []string{}}),
	} {
		c.equal("status", r.status, 400)
		c.equal("message", r.get("message"), "You cannot use scale and wipe at the same time.")
	}
}

func killByHost(c *client) {
	c.create(nil)
	none := c.want(200, "DELETE", c.path("a")+"/tasks?host=no-such-host", nil)
	c.equal("tasks", none.get("tasks"), []any{})
	host := dig(c.tasks("a"), 0, "host").(string)
	some, _ := c.want(200, "DELETE", c.path("a")+"/tasks?host="+host, nil).get("tasks").([]any)
	if len(some) != 1 {
		c.Errorf("killed %v", some)
	}
}

func deleteList(c *client) {
	c.create(object{"instances": 2})
	var list []any
	for id := range ids(c.tasks("a")) {
		list = append(list, id)
	}
	r := c.want(200, "POST", "/v2/tasks/delete?scale=true", object{"ids": list})
	c.over(r.get("deploymentId"))
	c.equal("instances", c.want(200, "GET", c.path("a"), nil).get("app", "instances"), 0)
	bad := c.want(400, "POST", "/v2/tasks/delete", object{"ids": []string{"invalidTaskId"}})
	if m, _ := bad.get("message").(string); !strings.HasPrefix(m, "Invalid task id 'invalidTaskId'.") {
		c.Errorf("message %q", m)
	}
}

func allTasks(c *client) {
	c.create(nil)
	find := func(query string) any {
		tasks, _ := c.send("GET", "/v2/tasks"+query, nil, map[string]string{"Accept": "application/json"}).get("tasks").([]any)
		for _, t := range tasks {
			if dig(t, "appId") == c.id("a") {
				return t
			}
		}
		return nil
	}
	if find("") == nil || find("?status=running") == nil || find("?status[]=running") == nil {
		c.Error("the running task is not in /v2/tasks")
	}
	if find("?status=staging") != nil {
		c.Error("the running task is listed as staging")
	}
}

func failureShown(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", object{"cmd": "exit 3", "backoffSeconds": 60, "maxLaunchDelaySeconds": 60}))
	c.await("the failure is known", func() bool {
		return c.want(200, "GET", c.path("a"), nil).get("app", "lastTaskFailure", "state") == "TASK_FAILED"
	})
	f := c.want(200, "GET", c.path("a"), nil).get("app", "lastTaskFailure")
	for _, field := range []string{"appId", "host", "message", "taskId", "timestamp", "version"} {
		if dig(f, field) == nil {
			c.Errorf("lastTaskFailure has no %s", field)
		}
	}
}

// graceBeforeKill: a task that ignores SIGTERM is killed after the grace.
func graceBeforeKill(c *client) {
	c.create(object{"cmd": `trap "" TERM; while true; do sleep 1; done`, "taskKillGracePeriodSeconds": 1})
	c.change(object{"instances": 0})
	if left := c.tasks("a"); len(left) != 0 {
		c.Errorf("left %v", left)
	}
}

// statesInMesos: the master still knows how a task ended when Marathon has forgotten it.
func statesInMesos(c *client) {
	url, _ := c.want(200, "GET", "/v2/info", nil).get("marathon_config", "mesos_leader_ui_url").(string)
	if url == "" {
		c.Skip("Marathon names no Mesos master")
	}
	master := *c
	master.base = strings.TrimSuffix(url, "/")
	c.create(nil)
	task, slave := dig(c.tasks("a"), 0, "id"), dig(c.tasks("a"), 0, "slaveId")
	agents, _ := master.want(200, "GET", "/slaves", nil).get("slaves").([]any)
	found := false
	for _, a := range agents {
		found = found || dig(a, "id") == slave && dig(a, "active") == true && dig(a, "hostname") == dig(c.tasks("a"), 0, "host")
	}
	if !found {
		c.Errorf("agent %v is not among %v", slave, agents)
	}
	c.equal("state while it runs", master.stateOf(task, "tasks"), "TASK_RUNNING")
	c.change(object{"instances": 0})
	c.await("the master lists it as completed", func() bool { return master.stateOf(task, "completed_tasks") == "TASK_KILLED" })
}

func (c *client) stateOf(task any, list string) any {
	frameworks, _ := c.want(200, "GET", "/state", nil).get("frameworks").([]any)
	for _, f := range frameworks {
		tasks, _ := dig(f, list).([]any)
		for _, t := range tasks {
			if dig(t, "id") == task {
				return dig(t, "state")
			}
		}
	}
	return nil
}
