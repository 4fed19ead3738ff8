package marathontest

import (
	"strings"
)

var errorTests = map[string]func(*client){
	"NotJSON":             notJSON,
	"EmptyBody":           emptyBody,
	"WrongType":           wrongType,
	"MissingID":           missingID,
	"BadID":               badID,
	"NotValid":            notValid,
	"NoCommand":           noCommand,
	"Constraints":         badConstraints,
	"SingleInstance":      singleInstance,
	"UnreachableStrategy": unreachableOrder,
	"HostPortMappings":    hostPortMappings,
	"AlreadyExists":       alreadyExists,
	"UnknownThings":       unknownThings,
	"UnknownRoute":        unknownRoute,
	"MediaType":           mediaType,
	"ReservedName":        reservedName,
	"CyclicDependencies":  cyclic,
}

func notJSON(c *client) {
	r := c.want(400, "POST", "/v2/apps", "{")
	c.equal("message", r.get("message"), "Invalid JSON")
	if _, isText := r.get("details").(string); !isText {
		c.Errorf("details are text here: %s", r.text)
	}
}

func emptyBody(c *client) {
	r := c.want(400, "POST", "/v2/apps", "")
	c.equal("message", r.get("message"), "Please specify data in JSON format")
}

// detail finds the errors of one path.
func detail(r reply, path string) []any {
	list, _ := r.get("details").([]any)
	for _, d := range list {
		if dig(d, "path") == path {
			errs, _ := dig(d, "errors").([]any)
			return errs
		}
	}
	return nil
}

func (c *client) refused(r reply, message, path, text string) {
	c.Helper()
	if r.status != 422 || r.get("message") != message {
		c.Errorf("got %d %v, want 422 %s", r.status, r.get("message"), message)
	}
	for _, e := range detail(r, path) {
		if strings.Contains(e.(string), text) {
			return
		}
	}
	c.Errorf("no %q at %s: %s", text, path, r.text)
}

func wrongType(c *client) {
	r := c.do("POST", "/v2/apps", object{"id": c.id("a"), "cmd": 1, "cpus": "much"})
	c.refused(r, "Invalid JSON", "/cmd", "error.expected.jsstring")
	c.refused(r, "Invalid JSON", "/cpus", "error.expected.jsnumber")
	r = c.do("POST", "/v2/apps", object{"id": c.id("a"), "cmd": "true", "constraints": []any{[]any{"a", 1}}})
	c.refused(r, "Invalid JSON", "/constraints(0)(1)", "error.expected.jsstring")
}

func missingID(c *client) {
	c.refused(c.do("POST", "/v2/apps", object{"cmd": "true"}), "Invalid JSON", "/id", "error.path.missing")
}

func badID(c *client) {
	for _, bad := range []string{"Upper", "under_score", "-x", "a b"} {
		c.refused(c.do("POST", "/v2/apps", c.app(bad, idle)), "Invalid JSON", "/id", "error.pattern")
	}
}

func notValid(c *client) {
	r := c.do("POST", "/v2/apps", c.app("a", object{"upgradeStrategy": object{"minimumHealthCapacity": 2, "maximumOverCapacity": 0}}))
	c.refused(r, "Object is not valid", "/upgradeStrategy/minimumHealthCapacity", "got 2.0, expected between 0.0 and 1.0")
	c.want(404, "GET", c.path("a"), nil)
}

func noCommand(c *client) {
	r := c.do("POST", "/v2/apps", object{"id": c.id("a")})
	c.refused(r, "Object is not valid", "/", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.")
}

func badConstraints(c *client) {
	for _, bad := range []struct {
		constraint []string
		text       string
	}{
		{[]string{"hostname"}, "Each constraint must have either 2 or 3 fields"},
		{[]string{"", "UNIQUE"}, "missing field for constraint declaration"},
		{[]string{"hostname", "NEAR"}, "operator must be one of the following"},
		{[]string{"hostname", "UNIQUE", "x"}, "UNIQUE does not accept a value"},
		{[]string{"rack", "GROUP_BY", "x"}, "GROUP BY must define an integer value or else no value at all"},
		{[]string{"rack", "MAX_PER"}, "MAX_PER requires an integer value"},
		{[]string{"rack", "LIKE"}, "LIKE and UNLIKE require a non-empty, regular expression value"},
		{[]string{"rack", "LIKE", "("}, "is not a valid regular expression"},
	} {
		r := c.do("POST", "/v2/apps", c.app("a", object{"constraints": [][]string{bad.constraint}}))
		c.refused(r, "Object is not valid", "/constraints(0)", bad.text)
	}
}

func singleInstance(c *client) {
	single := object{"labels": object{"MARATHON_SINGLE_INSTANCE_APP": "true"}}
	if r := c.do("POST", "/v2/apps", c.app("a", single)); r.status != 422 {
		c.Errorf("a single instance app with the default upgradeStrategy: %d", r.status)
	}
	zero := object{"upgradeStrategy": object{"minimumHealthCapacity": 0, "maximumOverCapacity": 0}}
	if r := c.do("POST", "/v2/apps", c.app("a", with(single, zero, object{"instances": 2}))); r.status != 422 {
		c.Errorf("a single instance app with two instances: %d", r.status)
	}
	c.want(201, "POST", "/v2/apps", c.app("a", with(single, zero, idle)))
}

func unreachableOrder(c *client) {
	r := c.do("POST", "/v2/apps", c.app("a", object{"unreachableStrategy": object{"inactiveAfterSeconds": 9, "expungeAfterSeconds": 3}}))
	if r.status != 422 || r.get("message") != "Object is not valid" {
		c.Errorf("got %d %s", r.status, r.text)
	}
}

func hostPortMappings(c *client) {
	r := c.do("POST", "/v2/apps", c.app("a", object{
		"networks": []object{{"mode": "host"}}, "container": object{"type": "MESOS", "portMappings": []object{{"containerPort": 80}}}}))
	if r.status != 422 {
		c.Errorf("portMappings with host networking: %d %s", r.status, r.text)
	}
}

func alreadyExists(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", idle))
	r := c.want(409, "POST", "/v2/apps", c.app("a", idle))
	c.equal("message", r.get("message"), "An app with id ["+c.id("a")+"] already exists.")
	if r.get("deployments") != nil {
		c.Errorf("this conflict is no lock: %s", r.text)
	}
}

func unknownThings(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", idle))
	for path, message := range map[string]string{
		"/v2/apps" + c.id("x"):            "App '" + c.id("x") + "' does not exist",
		"/v2/apps" + c.id("x") + "/tasks": "App '" + c.id("x") + "' does not exist",
		"/v2/groups" + c.id("x"):          "Group '" + c.id("x") + "' does not exist",
	} {
		c.equal(path, c.want(404, "GET", path, nil).get("message"), message)
	}
	r := c.want(404, "DELETE", "/v2/deployments/00000000-0000-0000-0000-000000000000", nil)
	c.equal("deployment", r.get("message"), "DeploymentPlan 00000000-0000-0000-0000-000000000000 does not exist")
	c.want(404, "POST", c.path("x")+"/restart", nil)
	c.want(404, "DELETE", c.path("a")+"/tasks/x.instance-00000000-0000-0000-0000-000000000000._app.1", nil)
}

func unknownRoute(c *client) {
	want := 500
	if !c.atLeast(6) {
		want = 404
	}
	if r := c.want(want, "GET", "/v2/nowhere", nil); !strings.HasPrefix(r.get("message").(string), "URI not found") {
		c.Errorf("message %v", r.get("message"))
	}
}

func mediaType(c *client) {
	r := c.send("POST", "/v2/apps", c.app("a", nil), map[string]string{"Content-Type": "text/plain"})
	c.equal("status", r.status, 415)
	c.equal("message", r.get("message"), "Unsupported Media Type")
}

func reservedName(c *client) {
	if !c.atLeast(8) {
		c.Skip("names are reserved since 1.8")
	}
	for _, name := range []string{"restart", "tasks", "versions"} {
		if r := c.do("POST", "/v2/apps", c.app(name, idle)); r.status != 422 {
			c.Errorf("an app called %s: %d", name, r.status)
		}
	}
}

func cyclic(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", idle))
	c.want(201, "POST", "/v2/apps", c.app("b", with(idle, object{"dependencies": []string{c.id("a")}})))
	r := c.want(422, "PUT", c.path("a"), object{"dependencies": []string{c.id("b")}})
	if !strings.Contains(r.text, "cyclic dependencies") {
		c.Errorf("answer %s", r.text)
	}
}
