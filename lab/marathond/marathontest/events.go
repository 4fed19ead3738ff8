package marathontest

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

var eventTests = map[string]func(*client){
	"Create":         createEvents,
	"Filter":         filterEvents,
	"Cancelled":      cancelledEvents,
	"Frames":         frames,
	"AcceptIsNeeded": acceptNeeded,
}

// stream is an open event stream: events as they come, and every raw line.
type stream struct {
	events chan object
	lines  chan string
}

// listen opens a stream and waits for its own attachment.
func (c *client) listen(query string) *stream {
	c.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/v2/events?plan-format=light"+query, nil)
	if err != nil {
		c.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	if c.target.User != "" {
		req.SetBasicAuth(c.target.User, c.target.Password)
	}
	resp, err := http.DefaultClient.Do(req) //nolint:bodyclose // the reading goroutine closes it
	if err != nil {
		c.Fatal(err)
	}
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		c.Fatalf("%d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	s := &stream{events: make(chan object, 4096), lines: make(chan string, 8192)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer resp.Body.Close()
		s.read(bufio.NewReader(resp.Body))
	}()
	c.Cleanup(func() { cancel(); <-done })
	return s
}

func (s *stream) read(r *bufio.Reader) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			close(s.events)
			return
		}
		select {
		case s.lines <- line:
		default:
		}
		data, isData := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "data: ")
		var e object
		if isData && json.Unmarshal([]byte(data), &e) == nil {
			s.events <- e
		}
	}
}

// next waits for an event that f likes and gives it with all that came before it.
func (c *client) next(s *stream, what string, f func(object) bool) []object {
	c.Helper()
	timeout := time.NewTimer(c.target.Patience)
	defer timeout.Stop()
	var seen []object
	for {
		select {
		case e, open := <-s.events:
			if !open {
				c.Fatalf("the stream ended before %s", what)
			}
			seen = append(seen, e)
			if f(e) {
				return seen
			}
		case <-timeout.C:
			c.Fatalf("no %s within %v", what, c.target.Patience)
		}
	}
}

func is(name string) func(object) bool {
	return func(e object) bool { return e["eventType"] == name }
}

func createEvents(c *client) {
	s := c.listen("")
	first := c.next(s, "the first event", func(object) bool { return true })
	c.equal("first event", first[0]["eventType"], "event_stream_attached")
	r := c.want(201, "POST", "/v2/apps", c.app("a", nil))
	d := r.get("deployments", 0, "id")
	seen := c.next(s, "deployment_success", func(e object) bool { return e["eventType"] == "deployment_success" && e["id"] == d })
	have := map[any]object{}
	for _, e := range seen {
		have[e["eventType"]] = e
		if e["timestamp"] == nil {
			c.Errorf("an event without a timestamp: %v", e)
		}
	}
	for _, name := range []string{"api_post_event", "group_change_success", "deployment_info", "deployment_step_success"} {
		if have[name] == nil {
			c.Errorf("no %s", name)
		}
	}
	c.equal("appDefinition", dig(have["api_post_event"], "appDefinition", "id"), c.id("a"))
	c.equal("plan", dig(have["deployment_info"], "plan", "id"), d)
	if dig(have["deployment_info"], "plan", "target") != nil {
		c.Error("the light plan has no group trees")
	}
}

func filterEvents(c *client) {
	s := c.listen("&event_type=status_update_event")
	c.create(nil)
	seen := c.next(s, "TASK_RUNNING", func(e object) bool { return e["taskStatus"] == "TASK_RUNNING" && e["appId"] == c.id("a") })
	for _, e := range seen {
		c.equal("type", e["eventType"], "status_update_event")
	}
	last := seen[len(seen)-1]
	for _, field := range []string{"slaveId", "taskId", "host", "ports", "version", "ipAddresses"} {
		if last[field] == nil {
			c.Errorf("status_update_event has no %s", field)
		}
	}
}

func cancelledEvents(c *client) {
	d := c.createStuck("a")
	s := c.listen("&event_type=deployment_failed&event_type=deployment_success&event_type=event_stream_attached")
	c.next(s, "attachment", is("event_stream_attached"))
	r := c.want(200, "DELETE", "/v2/deployments/"+d, nil)
	c.next(s, "deployment_failed of the old", func(e object) bool { return e["eventType"] == "deployment_failed" && e["id"] == d })
	c.next(s, "deployment_success of the new", func(e object) bool { return e["eventType"] == "deployment_success" && e["id"] == r.get("deploymentId") })
}

func frames(c *client) {
	s := c.listen("&event_type=event_stream_attached")
	c.next(s, "attachment", is("event_stream_attached"))
	event := <-s.lines
	for event == "\r\n" {
		event = <-s.lines
	}
	c.equal("first line", event, "event: event_stream_attached\r\n")
	if data := <-s.lines; !strings.HasPrefix(data, "data: {") || !strings.HasSuffix(data, "}\r\n") {
		c.Errorf("second line %q", data)
	}
	c.equal("third line", <-s.lines, "\r\n")
	select {
	case beat := <-s.lines:
		c.equal("heartbeat", beat, "\r\n")
	case <-time.After(c.target.Patience):
		c.Error("no heartbeat")
	}
}

func acceptNeeded(c *client) {
	c.equal("status", c.send("GET", "/v2/events", nil, map[string]string{"Accept": "application/json"}).status, 405)
}
