package marathontest

import (
	"net/url"
	"sort"
	"strings"
)

var appTests = map[string]func(*client){
	"Defaults":                   appDefaults,
	"CreateAnswer":               createAnswer,
	"UnknownFieldsAreIgnored":    unknownFields,
	"OldFieldsAreRewritten":      oldFields,
	"PartialUpdateKeeps":         partialUpdate,
	"FullUpdateResets":           fullUpdate,
	"PutCreates":                 putCreates,
	"PatchNeverCreates":          patchNeverCreates,
	"NoOpPut":                    noOpPut,
	"ServicePortsStay":           servicePorts,
	"Versions":                   versions,
	"RollBackToVersion":          rollBack,
	"Filters":                    filters,
	"PathsCollapse":              pathsCollapse,
	"BatchIsOneDeployment":       batch,
	"DeleteForgets":              deleteForgets,
	"RoundTrip":                  roundTrip,
	"NothingRunsAtZero":          nothingAtZero,
	"ScalingIsNoConfigChange":    scalingStamps,
	"CountsFollowTheTask":        countsFollow,
	"SelectedAppsOfGroup":        starApps,
	"NullMeansAbsent":            nullAbsent,
	"DependenciesBecomeAbsolute": absoluteDependencies,
}

// idle is an app with no instances: for tests of definitions.
var idle = object{"instances": 0}

func with(more ...object) object {
	out := object{}
	for _, m := range more {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

func appDefaults(c *client) {
	c.want(201, "POST", "/v2/apps", object{"id": c.id("a"), "cmd": "exec sleep 1000", "instances": 0})
	a := c.want(200, "GET", c.path("a"), nil).get("app")
	for field, want := range map[string]any{
		"cpus": 1, "mem": 128, "disk": 0, "gpus": 0, "executor": "", "backoffSeconds": 1, "backoffFactor": 1.15, "killSelection": "YOUNGEST_FIRST",
		"labels": object{}, "networks": []any{object{"mode": "host"}}, "requirePorts": false,
		"upgradeStrategy":     object{"maximumOverCapacity": 1, "minimumHealthCapacity": 1},
		"unreachableStrategy": object{"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0},
	} {
		c.equal(field, dig(a, field), want)
	}
	delay := 300
	if !c.atLeast(8) {
		delay = 3600
	}
	c.equal("maxLaunchDelaySeconds", dig(a, "maxLaunchDelaySeconds"), delay)
	c.equal("port name", dig(a, "portDefinitions", 0, "name"), "default")
	c.equal("port protocol", dig(a, "portDefinitions", 0, "protocol"), "tcp")
	for _, absent := range []string{"args", "constraints", "container", "dependencies", "env", "healthChecks", "user", "ports", "uris", "taskKillGracePeriodSeconds"} {
		if _, has := a.(object)[absent]; has {
			c.Errorf("%s is there although it was not given", absent)
		}
	}
}

func createAnswer(c *client) {
	r := c.want(201, "POST", "/v2/apps", c.app("a", nil))
	if l := r.header.Get("Location"); !strings.HasSuffix(l, c.id("a")) || strings.Contains(l, "/v2/apps") {
		c.Errorf("Location %q", l)
	}
	id := r.get("deployments", 0, "id")
	c.equal("deployment header", r.header.Get("Marathon-Deployment-Id"), id)
	for _, n := range []string{"tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy"} {
		c.equal(n, r.get(n), 0)
	}
	if r.get("version") == nil || r.get("versionInfo") != nil || r.get("tasks") != nil {
		c.Errorf("the answer has version and neither versionInfo nor tasks: %s", r.text)
	}
	c.over(id)
	if !strings.HasPrefix(dig(c.tasks("a"), 0, "id").(string), strings.ReplaceAll(strings.Trim(c.id("a"), "/"), "/", "_")+".") {
		c.Errorf("task id %v", dig(c.tasks("a"), 0, "id"))
	}
}

func unknownFields(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", with(idle, object{"noSuchField": 1, "upgradeStrategy": object{"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0, "x": 1}})))
	a := c.want(200, "GET", c.path("a"), nil).get("app").(object)
	if _, kept := a["noSuchField"]; kept {
		c.Error("an unknown field was kept")
	}
	c.equal("upgradeStrategy", a["upgradeStrategy"], object{"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0})
}

func oldFields(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", with(idle, object{"ports": []int{0, 0}, "constraints": [][]string{{"rack", "unique"}}})))
	a := c.want(200, "GET", c.path("a"), nil).get("app")
	if l, _ := dig(a, "portDefinitions").([]any); len(l) != 2 {
		c.Errorf("portDefinitions %v", dig(a, "portDefinitions"))
	}
	c.equal("operator", dig(a, "constraints", 0, 1), "UNIQUE")
}

func partialUpdate(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", with(idle, object{"labels": object{"a": "1", "b": "2"}, "env": object{"K": "v"}})))
	c.change(object{"labels": object{"c": "3"}})
	a := c.want(200, "GET", c.path("a"), nil).get("app")
	c.equal("labels are replaced as a whole", dig(a, "labels"), object{"c": "3"})
	c.equal("env is kept", dig(a, "env"), object{"K": "v"})
	c.equal("cpus are kept", dig(a, "cpus"), 0.1)
	r := c.want(422, "PUT", c.path("a"), object{"args": []string{"x"}})
	c.equal("args beside cmd", r.get("message"), "Object is not valid")
}

func fullUpdate(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", with(idle, object{"env": object{"K": "v"}})))
	r := c.want(200, "PUT", c.path("a")+"?partialUpdate=false", object{"cmd": "exec sleep 5", "instances": 0})
	c.over(r.get("deploymentId"))
	a := c.want(200, "GET", c.path("a"), nil).get("app")
	c.equal("cpus", dig(a, "cpus"), 1)
	c.equal("env", dig(a, "env"), nil)
}

func putCreates(c *client) {
	r := c.want(201, "PUT", c.path("a"), c.app("ignored", idle))
	if r.get("version") == nil || r.get("deploymentId") == nil || !strings.HasSuffix(r.header.Get("Location"), c.id("a")) {
		c.Errorf("answer %s, Location %q", r.text, r.header.Get("Location"))
	}
	c.equal("the address decides the id", c.want(200, "GET", c.path("a"), nil).get("app", "id"), c.id("a"))
}

func patchNeverCreates(c *client) {
	r := c.want(404, "PATCH", c.path("a"), object{"cpus": 0.2})
	c.equal("message", r.get("message"), "App '"+c.id("a")+"' does not exist")
	c.want(201, "POST", "/v2/apps", c.app("a", idle))
	c.over(c.want(200, "PATCH", c.path("a"), object{"cpus": 0.2}).get("deploymentId"))
	c.equal("cpus", c.want(200, "GET", c.path("a"), nil).get("app", "cpus"), 0.2)
}

func noOpPut(c *client) {
	c.create(nil)
	before, version := ids(c.tasks("a")), c.want(200, "GET", c.path("a"), nil).get("app", "version")
	r := c.want(200, "PUT", c.path("a"), c.app("a", nil))
	if r.get("deploymentId") == nil {
		c.Error("no deploymentId")
	}
	c.over(r.get("deploymentId"))
	c.equal("version", c.want(200, "GET", c.path("a"), nil).get("app", "version"), version)
	for id := range ids(c.tasks("a")) {
		if !before[id] {
			c.Errorf("task %v is new", id)
		}
	}
}

func servicePorts(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", with(idle, object{"portDefinitions": []object{{"port": 0, "name": "x"}}})))
	port := c.want(200, "GET", c.path("a"), nil).get("app", "portDefinitions", 0, "port").(float64)
	if port < 10000 || port > 20000 {
		c.Errorf("service port %v", port)
	}
	c.change(object{"portDefinitions": []object{{"port": 0, "name": "y"}}})
	a := c.want(200, "GET", c.path("a"), nil).get("app")
	c.equal("port after update", dig(a, "portDefinitions", 0, "port"), port)
	c.equal("name after update", dig(a, "portDefinitions", 0, "name"), "y")
}

func versions(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", idle))
	first := c.want(200, "GET", c.path("a"), nil).get("app", "version")
	c.change(object{"cpus": 0.2})
	list, _ := c.want(200, "GET", c.path("a")+"/versions", nil).get("versions").([]any)
	if len(list) != 2 {
		c.Fatalf("versions %v", list)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].(string) < list[j].(string) })
	c.equal("oldest", list[0], first)
	old := c.want(200, "GET", c.path("a")+"/versions/"+first.(string), nil)
	c.equal("bare app", old.get("id"), c.id("a"))
	c.equal("old cpus", old.get("cpus"), 0.1)
	r := c.want(404, "GET", c.path("a")+"/versions/2001-01-01T00:00:00.000Z", nil)
	c.equal("message", r.get("message"), "App '"+c.id("a")+"' does not exist in version 2001-01-01T00:00:00.000Z")
	c.want(422, "GET", c.path("a")+"/versions/yesterday", nil)
}

func rollBack(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", idle))
	first := c.want(200, "GET", c.path("a"), nil).get("app", "version")
	c.change(object{"cpus": 0.2})
	r := c.want(422, "PUT", c.path("a"), object{"version": first, "cpus": 0.3})
	if !strings.Contains(r.text, "may only be combined with the 'id' field") {
		c.Errorf("answer %s", r.text)
	}
	c.change(object{"version": first})
	c.equal("cpus", c.want(200, "GET", c.path("a"), nil).get("app", "cpus"), 0.1)
	c.want(404, "PUT", c.path("a"), object{"version": "2001-01-01T00:00:00.000Z"})
}

func filters(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("one", with(idle, object{"cmd": "exec sleep 4711", "labels": object{"tier": "db", "x": "1"}})))
	c.want(201, "POST", "/v2/apps", c.app("two", with(idle, object{"labels": object{"tier": "web"}})))
	mine := "id=" + url.QueryEscape(strings.ToUpper(c.group))
	for query, want := range map[string]int{
		"": 2, "&cmd=SLEEP+4711": 1, "&label=tier": 2, "&label=tier%3D%3Ddb": 1, "&label=tier%21%3Ddb": 1, "&label=x": 1,
		"&label=tier+in+(db,web)": 2, "&label=tier+notin+(db)": 1, "&label=tier%3D%3Ddb,x%3D%3D2": 0,
	} {
		apps, _ := c.want(200, "GET", "/v2/apps?"+mine+query, nil).get("apps").([]any)
		if len(apps) != want {
			c.Errorf("%q: got %d apps, want %d", query, len(apps), want)
		}
		for _, a := range apps {
			if dig(a, "tasksRunning") == nil || dig(a, "deployments") == nil || dig(a, "tasks") != nil {
				c.Errorf("%q: counts and deployments belong to the list, tasks do not: %v", query, a)
			}
		}
	}
	r := c.want(422, "GET", "/v2/apps?label=a+b+c", nil)
	if m, _ := r.get("message").(string); !strings.Contains(m, "label selector") {
		c.Errorf("message %q", m)
	}
	apps := c.want(200, "GET", "/v2/apps?embed=apps.tasks&"+mine, nil)
	if _, isList := apps.get("apps", 0, "tasks").([]any); !isList {
		c.Error("embed=apps.tasks gives no tasks")
	}
}

func pathsCollapse(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", idle))
	for _, p := range []string{c.path("a") + "/", "/v2/apps/" + c.id("a"), strings.Replace(c.path("a"), c.group, c.group+"/", 1)} {
		c.equal(p, c.want(200, "GET", p, nil).get("app", "id"), c.id("a"))
	}
}

func batch(c *client) {
	r := c.want(200, "PUT", "/v2/apps", []object{c.app("a", idle), c.app("b", idle)})
	if r.get("deploymentId") == nil {
		c.Errorf("answer %s", r.text)
	}
	c.over(r.get("deploymentId"))
	a, b := c.want(200, "GET", c.path("a"), nil), c.want(200, "GET", c.path("b"), nil)
	c.equal("one version", a.get("app", "version"), b.get("app", "version"))
	bad := c.want(422, "PUT", "/v2/apps", []object{{"cpus": 1}})
	if !strings.Contains(bad.text, "App Update must have app id set") {
		c.Errorf("answer %s", bad.text)
	}
	c.want(404, "PATCH", "/v2/apps", []object{{"id": c.id("none"), "cpus": 1}})
}

func deleteForgets(c *client) {
	c.create(nil)
	r := c.want(200, "DELETE", c.path("a"), nil)
	c.over(r.get("deploymentId"))
	c.equal("message", c.want(404, "GET", c.path("a"), nil).get("message"), "App '"+c.id("a")+"' does not exist")
	c.want(404, "GET", c.path("a")+"/versions", nil)
	c.want(404, "GET", c.path("a")+"/tasks", nil)
	c.want(404, "DELETE", c.path("a"), nil)
}

// roundTrip: what GET shows can be put back and changes nothing.
func roundTrip(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", with(idle, object{
		"env": object{"A": "b"}, "labels": object{"x": "y"}, "constraints": [][]string{{"hostname", "LIKE", ".*"}}, "taskKillGracePeriodSeconds": 7,
		"container":           object{"type": "MESOS", "volumes": []object{{"containerPath": "data", "hostPath": "/tmp", "mode": "RW"}}},
		"healthChecks":        []object{{"protocol": "TCP"}},
		"unreachableStrategy": "disabled",
	})))
	before := c.want(200, "GET", c.path("a"), nil).get("app").(object)
	definition := with(before)
	for _, shown := range []string{"version", "versionInfo", "tasks", "tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy", "deployments", "lastTaskFailure"} {
		delete(definition, shown)
	}
	c.over(c.want(200, "PUT", c.path("a")+"?partialUpdate=false", definition).get("deploymentId"))
	c.equal("version", c.want(200, "GET", c.path("a"), nil).get("app", "version"), before["version"])
}

func nothingAtZero(c *client) {
	c.create(nil)
	c.change(object{"instances": 0, "constraints": [][]string{{"drover-hold", "CLUSTER", "nowhere"}}})
	if left := c.tasks("a"); len(left) != 0 {
		c.Errorf("tasks %v", left)
	}
	c.change(object{"instances": 1, "constraints": [][]string{}})
	c.equal("running", c.want(200, "GET", c.path("a"), nil).get("app", "tasksRunning"), 1)
}

func scalingStamps(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", idle))
	before := c.want(200, "GET", c.path("a"), nil)
	c.change(object{"instances": 1})
	after := c.want(200, "GET", c.path("a"), nil)
	c.equal("lastConfigChangeAt", after.get("app", "versionInfo", "lastConfigChangeAt"), before.get("app", "versionInfo", "lastConfigChangeAt"))
	c.equal("lastScalingAt", after.get("app", "versionInfo", "lastScalingAt"), after.get("app", "version"))
	first := ids(c.tasks("a"))
	c.change(object{"labels": object{"status": "fine"}})
	changed := c.want(200, "GET", c.path("a"), nil)
	c.equal("a label is a config change", changed.get("app", "versionInfo", "lastConfigChangeAt"), changed.get("app", "version"))
	for id := range ids(c.tasks("a")) {
		if first[id] {
			c.Errorf("task %v was not restarted", id)
		}
	}
}

func countsFollow(c *client) {
	c.create(nil)
	r := c.want(200, "GET", c.path("a"), nil)
	for n, want := range map[string]int{"tasksStaged": 0, "tasksRunning": 1, "tasksHealthy": 0, "tasksUnhealthy": 0} {
		c.equal(n, r.get("app", n), want)
	}
	for _, field := range []string{"id", "host", "slaveId", "stagedAt", "startedAt", "version", "ports"} {
		if r.get("app", "tasks", 0, field) == nil {
			c.Errorf("the task has no %s", field)
		}
	}
	c.equal("state", r.get("app", "tasks", 0, "state"), "TASK_RUNNING")
}

func starApps(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", idle))
	c.want(201, "POST", "/v2/apps", c.app("deep/b", idle))
	all, _ := c.want(200, "GET", "/v2/apps"+c.group+"/*", nil).get("*").([]any)
	if len(all) != 2 {
		c.Errorf("got %d apps, want 2", len(all))
	}
	c.want(404, "GET", "/v2/apps"+c.group+"/none/*", nil)
}

func nullAbsent(c *client) {
	c.want(201, "POST", "/v2/apps", `{"id":"`+c.id("a")+`","cmd":"exec sleep 9","instances":0,"args":null,"container":null,"user":null}`)
}

func absoluteDependencies(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("db", idle))
	c.want(201, "POST", "/v2/apps", c.app("web", with(idle, object{"dependencies": []string{"db"}})))
	c.equal("dependencies", c.want(200, "GET", c.path("web"), nil).get("app", "dependencies"), []any{c.id("db")})
}
