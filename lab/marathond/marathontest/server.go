package marathontest

import "strings"

var serverTests = map[string]func(*client){
	"Ping":    ping,
	"Info":    info,
	"Leader":  leader,
	"Headers": headers,
	"Root":    root,
	"Pods":    pods,
}

func ping(c *client) {
	if r := c.send("GET", "/ping", nil, map[string]string{"Accept": "*/*"}); r.status != 200 || !strings.HasPrefix(r.text, "pong") {
		c.Errorf("%d %q", r.status, r.text)
	}
}

func info(c *client) {
	r := c.want(200, "GET", "/v2/info", nil)
	c.equal("name", r.get("name"), "marathon")
	for _, path := range [][]any{{"version"}, {"frameworkId"}, {"leader"}, {"marathon_config", "master"}, {"zookeeper_config"}, {"http_config"}} {
		if r.get(path...) == nil {
			c.Errorf("no %v", path)
		}
	}
}

func leader(c *client) {
	if l, _ := c.want(200, "GET", "/v2/leader", nil).get("leader").(string); !strings.Contains(l, ":") {
		c.Errorf("leader %q", l)
	}
}

func headers(c *client) {
	h := c.want(200, "GET", "/v2/apps?id=none", nil).header
	for name, want := range map[string]string{
		"X-Frame-Options": "DENY", "X-Xss-Protection": "1; mode=block", "Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache", "Expires": "0",
	} {
		c.equal(name, h.Get(name), want)
	}
	if !strings.HasPrefix(h.Get("X-Marathon-Leader"), "http") {
		c.Errorf("X-Marathon-Leader %q", h.Get("X-Marathon-Leader"))
	}
}

func root(c *client) {
	r := c.want(302, "GET", "/", nil)
	if !strings.HasSuffix(r.header.Get("Location"), "/ui/") {
		c.Errorf("Location %q", r.header.Get("Location"))
	}
}

func pods(c *client) {
	c.want(200, "HEAD", "/v2/pods", nil)
	if _, isList := c.want(200, "GET", "/v2/pods", nil).body.([]any); !isList {
		c.Error("pods is not a list")
	}
}
