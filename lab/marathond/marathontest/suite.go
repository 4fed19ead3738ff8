// Package marathontest holds anything that answers as Marathon does to what Drover relies on, over HTTP only.
//
// The embedded server must pass it, and so must a real Marathon 1.5 or later with at least one agent: the suite keeps to
// a group of its own, uses little (a tenth of a cpu and 16 MiB for each of a few sleeping tasks), and cleans up after itself. It asserts nothing
// that Marathon leaves to chance, such as the order of events across actors or which agent is taken. It is not a test of the lab's fault switches.
package marathontest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Target is what to test.
type Target struct {
	// URL gives the base address, without a slash at the end, for one test; it may start a server. Required.
	URL func(t testing.TB) string
	// User and Password are for basic authentication, if the target wants it.
	User, Password string
	// Patience is how long any single condition may take; 0 means a minute.
	Patience time.Duration
}

// At is a target that is already there.
func At(url string) Target {
	return Target{URL: func(testing.TB) string { return strings.TrimSuffix(url, "/") }}
}

// Run checks the target in subtests.
func Run(t *testing.T, target Target) {
	for _, part := range []struct {
		name  string
		tests map[string]func(*client)
	}{
		{"Apps", appTests}, {"Errors", errorTests}, {"Deployments", deploymentTests}, {"Tasks", taskTests},
		{"Queue", queueTests}, {"Events", eventTests}, {"Groups", groupTests}, {"Server", serverTests},
	} {
		t.Run(part.name, func(t *testing.T) {
			for name, test := range part.tests {
				t.Run(name, func(t *testing.T) { test(newClient(t, target)) })
			}
		})
	}
}

// object is a JSON object.
type object = map[string]any

// client talks to the target for one test, in a group that is deleted at the end.
type client struct {
	*testing.T
	base   string
	target Target
	group  string
}

func newClient(t *testing.T, target Target) *client {
	if target.Patience == 0 {
		target.Patience = time.Minute
	}
	c := &client{T: t, base: target.URL(t), target: target, group: fmt.Sprintf("/drover-conformance-%x", time.Now().UnixNano())}
	t.Cleanup(c.cleanUp)
	return c
}

func (c *client) cleanUp() {
	if r := c.do("GET", "/v2/groups"+c.group, nil); r.status == 404 {
		return
	}
	r := c.do("DELETE", "/v2/groups"+c.group+"?force=true", nil)
	if r.status != 200 && r.status != 404 {
		c.Errorf("clean up %s: %d %s", c.group, r.status, r.text)
	}
	c.await("the group's deployments end", func() bool { return len(c.deployments()) == 0 })
}

// id is the absolute id of an app of this test.
func (c *client) id(name string) string { return c.group + "/" + name }

// path is the address of an app of this test.
func (c *client) path(name string) string { return "/v2/apps" + c.id(name) }

// app is a small definition that sleeps.
func (c *client) app(name string, more object) object {
	a := object{"id": c.id(name), "cmd": "exec sleep 1000", "cpus": 0.1, "mem": 16, "disk": 0}
	for k, v := range more {
		if a[k] = v; v == nil {
			delete(a, k)
		}
	}
	return a
}

// reply is one answer.
type reply struct {
	status int
	header http.Header
	text   string
	body   any
}

// get digs into the body: names of fields, indices of lists.
func (r reply) get(path ...any) any { return dig(r.body, path...) }

func dig(v any, path ...any) any {
	for _, p := range path {
		switch k := p.(type) {
		case string:
			m, _ := v.(object)
			v = m[k]
		case int:
			l, _ := v.([]any)
			if k >= len(l) {
				return nil
			}
			v = l[k]
		}
	}
	return v
}

func (c *client) do(method, path string, body any) reply {
	c.Helper()
	return c.send(method, path, body, nil)
}

// send does a request; a body that is text is sent as it is.
func (c *client) send(method, path string, body any, header map[string]string) reply {
	c.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, c.base+path, c.encode(body))
	if err != nil {
		c.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	if c.target.User != "" {
		req.SetBasicAuth(c.target.User, c.target.Password)
	}
	resp, err := noRedirects.Do(req)
	if err != nil {
		c.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		c.Fatalf("%s %s: %v", method, path, err)
	}
	r := reply{status: resp.StatusCode, header: resp.Header, text: string(data)}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(data, &r.body); err != nil {
			c.Fatalf("%s %s: %v in %s", method, path, err, data)
		}
	}
	return r
}

var noRedirects = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (c *client) encode(body any) io.Reader {
	if body == nil {
		return nil
	}
	if text, isText := body.(string); isText {
		return strings.NewReader(text)
	}
	data, err := json.Marshal(body)
	if err != nil {
		c.Fatal(err)
	}
	return bytes.NewReader(data)
}

// want does a request and insists on the status.
func (c *client) want(status int, method, path string, body any) reply {
	c.Helper()
	r := c.do(method, path, body)
	if r.status != status {
		c.Fatalf("%s %s: got %d, want %d: %s", method, path, r.status, status, r.text)
	}
	return r
}

// create posts the app "a" and waits until it is deployed.
func (c *client) create(more object) {
	c.Helper()
	r := c.want(201, "POST", "/v2/apps", c.app("a", more))
	c.over(dig(r.body, "deployments", 0, "id"))
}

// change puts an update of the app "a" and waits until it is deployed.
func (c *client) change(update object) {
	c.Helper()
	r := c.want(200, "PUT", c.path("a"), update)
	c.over(r.get("deploymentId"))
}

// await polls until f holds.
func (c *client) await(what string, f func() bool) {
	c.Helper()
	deadline := time.Now().Add(c.target.Patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		if time.Now().After(deadline) {
			c.Fatalf("not within %v: %s", c.target.Patience, what)
		}
		<-tick.C
	}
}

// over waits until a deployment is gone from the list.
func (c *client) over(deployment any) {
	c.Helper()
	if deployment == nil {
		c.Fatal("there is no deployment id in the answer")
	}
	c.await(fmt.Sprintf("deployment %v ends", deployment), func() bool {
		for _, d := range c.deployments() {
			if dig(d, "id") == deployment {
				return false
			}
		}
		return true
	})
}

// deployments are those that concern this test's group.
func (c *client) deployments() []any {
	c.Helper()
	all, _ := c.want(200, "GET", "/v2/deployments", nil).body.([]any)
	var mine []any
	for _, d := range all {
		apps, _ := dig(d, "affectedApps").([]any)
		for _, a := range apps {
			if strings.HasPrefix(a.(string), c.group+"/") {
				mine = append(mine, d)
				break
			}
		}
	}
	return mine
}

// tasks of an app.
func (c *client) tasks(name string) []any {
	c.Helper()
	tasks, isList := c.want(200, "GET", c.path(name)+"/tasks", nil).get("tasks").([]any)
	if !isList {
		c.Fatal("tasks is not a list")
	}
	return tasks
}

func ids(tasks []any) map[any]bool {
	out := map[any]bool{}
	for _, t := range tasks {
		out[dig(t, "id")] = true
	}
	return out
}

// equal compares numbers as numbers whatever they were printed as.
func (c *client) equal(what string, got, want any) {
	c.Helper()
	if n, isInt := want.(int); isInt {
		want = float64(n)
	}
	g, err1 := json.Marshal(got)
	w, err2 := json.Marshal(want)
	if err1 != nil || err2 != nil || string(g) != string(w) {
		c.Errorf("%s: got %s, want %s", what, g, w)
	}
}

// atLeast tells whether the target is Marathon 1.minor or later.
func (c *client) atLeast(minor int) bool {
	c.Helper()
	text, _ := c.want(200, "GET", "/v2/info", nil).get("version").(string)
	var gotMajor, gotMinor int
	if _, err := fmt.Sscanf(text, "%d.%d", &gotMajor, &gotMinor); err != nil {
		c.Fatalf("version %q: %v", text, err)
	}
	return gotMajor > 1 || gotMajor == 1 && gotMinor >= minor
}
