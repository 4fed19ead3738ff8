package marathontest

var deploymentTests = map[string]func(*client){
	"LockAndForce":           lockAndForce,
	"RevertOfACreation":      revertCreation,
	"RevertOfAnUpdate":       revertUpdate,
	"StopWithForce":          stopWithForce,
	"ZeroZeroNeverOverlaps":  zeroZero,
	"DefaultOverlaps":        defaultOverlaps,
	"RestartReplacesAll":     restartReplaces,
	"ScaleKeepsTheRest":      scaleKeeps,
	"SuspendedAppIsRepinned": repin,
	"DeleteIsForced":         deleteForced,
	"NoOpDuringDeployment":   noOpDuring,
	"Shape":                  deploymentShape,
	"UnhealthyNeverFinishes": unhealthy,
	"CommandCheck":           commandCheck,
	"ReadinessHoldsItOpen":   readiness,
	"DependenciesComeFirst":  dependenciesFirst,
}

// stuck is a constraint that no agent meets.
var stuck = [][]string{{"drover-hold", "CLUSTER", "nowhere"}}

var zero = object{"minimumHealthCapacity": 0, "maximumOverCapacity": 0}

// createStuck posts an app that cannot be placed and gives its deployment.
func (c *client) createStuck(name string) string {
	c.Helper()
	r := c.want(201, "POST", "/v2/apps", c.app(name, object{"constraints": stuck}))
	return r.get("deployments", 0, "id").(string)
}

func lockAndForce(c *client) {
	d := c.createStuck("a")
	r := c.want(409, "PUT", c.path("a"), object{"cpus": 0.2})
	c.equal("message", r.get("message"), "App is locked by one or more deployments. Override with the option '?force=true'. View details at '/v2/deployments/<DEPLOYMENT_ID>'.")
	c.equal("deployments", r.get("deployments"), []any{object{"id": d}})
	c.want(409, "POST", c.path("a")+"/restart", nil)
	c.want(201, "POST", "/v2/apps", c.app("b", idle)) // the lock is on the app, not on the group
	forced := c.want(200, "PUT", c.path("a")+"?force=true", object{"constraints": [][]string{}})
	c.over(forced.get("deploymentId"))
	c.over(d)
	c.equal("running", c.want(200, "GET", c.path("a"), nil).get("app", "tasksRunning"), 1)
}

func revertCreation(c *client) {
	d := c.createStuck("a")
	r := c.want(200, "DELETE", "/v2/deployments/"+d, nil)
	if r.get("version") == nil || r.get("deploymentId") == nil || r.get("deploymentId") == d {
		c.Errorf("a revert is a new deployment: %s", r.text)
	}
	c.over(r.get("deploymentId"))
	c.want(404, "GET", c.path("a"), nil)
}

func revertUpdate(c *client) {
	c.create(nil)
	d := c.want(200, "PUT", c.path("a"), object{"constraints": stuck, "cpus": 0.2}).get("deploymentId").(string)
	r := c.want(200, "DELETE", "/v2/deployments/"+d, nil)
	c.over(r.get("deploymentId"))
	c.equal("cpus", c.want(200, "GET", c.path("a"), nil).get("app", "cpus"), 0.1)
}

func stopWithForce(c *client) {
	d := c.createStuck("a")
	r := c.want(202, "DELETE", "/v2/deployments/"+d+"?force=true", nil)
	c.equal("body", r.text, "")
	c.over(d)
	c.equal("the app stays", c.want(200, "GET", c.path("a"), nil).get("app", "constraints", 0, 0), "drover-hold")
	c.await("the queue still has it", func() bool { return c.queued() != nil })
}

// zeroZero: with (0,0) the old task is gone before there is a new one.
func zeroZero(c *client) {
	c.create(object{"upgradeStrategy": zero})
	old := dig(c.tasks("a"), 0, "id")
	d := c.want(200, "PUT", c.path("a"), object{"env": object{"N": "2"}}).get("deploymentId")
	c.await("the restart ends", func() bool {
		if n := len(c.tasks("a")); n > 1 {
			c.Fatalf("%d tasks at once: %v", n, c.tasks("a"))
		}
		return !c.running(d)
	})
	tasks := c.tasks("a")
	if len(tasks) != 1 || dig(tasks, 0, "id") == old {
		c.Errorf("tasks %v, the old one was %v", tasks, old)
	}
}

func (c *client) running(deployment any) bool {
	for _, d := range c.deployments() {
		if dig(d, "id") == deployment {
			return true
		}
	}
	return false
}

// defaultOverlaps: with (1,1) the old task stays until the new one is up, so a change that cannot be placed takes nothing down.
func defaultOverlaps(c *client) {
	c.create(nil)
	old := dig(c.tasks("a"), 0, "id")
	c.want(200, "PUT", c.path("a"), object{"constraints": stuck})
	c.await("the new instance waits in the queue", func() bool { return c.queued() != nil })
	c.equal("the old task runs on", dig(c.tasks("a"), 0, "id"), old)
	c.equal("state", dig(c.tasks("a"), 0, "state"), "TASK_RUNNING")
}

func restartReplaces(c *client) {
	c.create(object{"instances": 2})
	old := ids(c.tasks("a"))
	before := c.want(200, "GET", c.path("a"), nil)
	c.over(c.want(200, "POST", c.path("a")+"/restart", nil).get("deploymentId"))
	tasks := c.tasks("a")
	if len(tasks) != 2 {
		c.Errorf("%d tasks", len(tasks))
	}
	for id := range ids(tasks) {
		if old[id] {
			c.Errorf("task %v is an old one", id)
		}
	}
	after := c.want(200, "GET", c.path("a"), nil)
	if after.get("app", "versionInfo", "lastConfigChangeAt") == before.get("app", "versionInfo", "lastConfigChangeAt") {
		c.Error("a restart is a config change")
	}
}

func scaleKeeps(c *client) {
	c.create(object{"instances": 2})
	old := ids(c.tasks("a"))
	c.change(object{"instances": 3})
	c.change(object{"instances": 1})
	tasks := c.tasks("a")
	if len(tasks) != 1 || !old[dig(tasks, 0, "id")] {
		c.Errorf("the youngest go first; left is %v of %v", tasks, old)
	}
}

func repin(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", idle))
	r := c.want(200, "PUT", c.path("a"), object{"constraints": [][]string{{"hostname", "CLUSTER", "somewhere"}}})
	c.over(r.get("deploymentId"))
	c.want(200, "POST", c.path("a")+"/restart", nil)
}

func deleteForced(c *client) {
	d := c.createStuck("a")
	c.over(c.want(200, "DELETE", c.path("a"), nil).get("deploymentId"))
	c.over(d)
	c.createStuck("b")
	c.want(409, "DELETE", c.path("b")+"?force=false", nil)
	c.want(200, "DELETE", c.path("b")+"?force=true", nil)
}

func noOpDuring(c *client) {
	d := c.createStuck("a")
	c.want(200, "PUT", c.path("a"), object{"cpus": 0.1})
	if !c.running(d) {
		c.Error("a no-op ended another deployment")
	}
}

func deploymentShape(c *client) {
	d := c.createStuck("a")
	var mine any
	c.await("the second step runs", func() bool {
		list := c.deployments()
		mine = dig(list, 0)
		return len(list) == 1 && dig(mine, "currentStep") == 2.0
	})
	c.equal("id", dig(mine, "id"), d)
	c.equal("totalSteps", dig(mine, "totalSteps"), 2)
	c.equal("affectedApps", dig(mine, "affectedApps"), []any{c.id("a")})
	c.equal("steps", dig(mine, "steps"), []any{
		object{"actions": []any{object{"action": "StartApplication", "app": c.id("a")}}},
		object{"actions": []any{object{"action": "ScaleApplication", "app": c.id("a")}}},
	})
	c.equal("currentActions", dig(mine, "currentActions", 0, "action"), "ScaleApplication")
	c.equal("app's deployments", c.want(200, "GET", c.path("a"), nil).get("app", "deployments"), []any{object{"id": d}})
}

func unhealthy(c *client) {
	r := c.want(201, "POST", "/v2/apps", c.app("a", object{"healthChecks": []object{
		{"protocol": "TCP", "portIndex": 0, "gracePeriodSeconds": 0, "intervalSeconds": 1, "timeoutSeconds": 1, "maxConsecutiveFailures": 0}}}))
	c.await("the task is known to be unhealthy", func() bool {
		return c.want(200, "GET", c.path("a"), nil).get("app", "tasksUnhealthy") == 1.0
	})
	if !c.running(r.get("deployments", 0, "id")) {
		c.Error("the deployment of an unhealthy app has ended")
	}
	c.equal("result", dig(c.tasks("a"), 0, "healthCheckResults", 0, "alive"), false)
}

func commandCheck(c *client) {
	c.create(object{"healthChecks": []object{
		{"protocol": "COMMAND", "command": object{"value": "true"}, "delaySeconds": 0, "intervalSeconds": 1, "timeoutSeconds": 5, "gracePeriodSeconds": 30}}})
	c.equal("healthy", c.want(200, "GET", c.path("a"), nil).get("app", "tasksHealthy"), 1)
}

func readiness(c *client) {
	r := c.want(201, "POST", "/v2/apps", c.app("a", object{
		"portDefinitions": []object{{"port": 0, "name": "http-api"}},
		"readinessChecks": []object{{"portName": "http-api", "intervalSeconds": 1, "timeoutSeconds": 1}}}))
	c.await("the task runs", func() bool { return c.want(200, "GET", c.path("a"), nil).get("app", "tasksRunning") == 1.0 })
	if !c.running(r.get("deployments", 0, "id")) {
		c.Error("the deployment has ended although the task is not ready")
	}
}

func dependenciesFirst(c *client) {
	c.createStuck("db")
	c.want(409, "PUT", "/v2/apps", []object{c.app("db", object{"cpus": 0.2})})
	r := c.want(200, "PUT", "/v2/apps?force=true", []object{
		c.app("web", object{"dependencies": []string{c.id("db")}}), c.app("db", object{"constraints": [][]string{}})})
	c.over(r.get("deploymentId"))
	db, web := c.tasks("db"), c.tasks("web")
	if dig(db, 0, "startedAt").(string) > dig(web, 0, "stagedAt").(string) {
		c.Errorf("db started at %v, web was staged at %v", dig(db, 0, "startedAt"), dig(web, 0, "stagedAt"))
	}
}
