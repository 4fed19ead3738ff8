package marathond

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"
)

// The test binary is its own executor, and its own server for tests that kill one.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "lab-executor" {
		os.Exit(ExecutorMain(os.Args[2:]))
	}
	if len(os.Args) > 3 && os.Args[1] == "lab-server" {
		os.Exit(serveForTest(os.Args[2], os.Args[3]))
	}
	if len(os.Args) > 2 && os.Args[1] == "lab-task" {
		os.Exit(answerForTest(os.Args[2]))
	}
	// A program built with -race waits a second before it exits, and so would every executor.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// answerForTest is a task: it answers on PORT0 with 200 while a file exists, else 503.
func answerForTest(file string) int {
	err := http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT0"), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, err := os.Stat(file); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	fmt.Fprintln(os.Stderr, err)
	return 1
}

var fast = Timing{Heartbeat: 20 * time.Millisecond, Offers: 50 * time.Millisecond, KillGrace: time.Second, SecondsUnit: 20 * time.Millisecond, ScaleApps: 200 * time.Millisecond}

func testOptions(dir string) Options {
	return Options{
		Dir: dir, Executor: []string{os.Args[0], "lab-executor"}, Timing: fast,
		Agents: []Agent{
			{ID: "S1", Hostname: "node1", Attributes: []Attribute{{"disk", "spinning"}, {"slots", "4"}}},
			{ID: "S2", Hostname: "node2", Attributes: []Attribute{{"disk", "ssd"}, {"zone", "{b,a}"}}},
			{ID: "S3", Hostname: "node3", Attributes: []Attribute{{"disk", "ssd"}, {"racks", "[5-6,1-2]"}}},
		},
	}
}

// cluster is a running server.
type cluster struct {
	t    testing.TB
	s    *Server
	stop func()
}

func startServer(t testing.TB, opt Options) *cluster {
	t.Helper()
	s, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	c := &cluster{t: t, s: s}
	c.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	return c
}

// start runs a server whose tasks end with the test.
func start(t testing.TB, edit ...func(*Options)) *cluster {
	t.Helper()
	opt := testOptions(t.TempDir())
	for _, e := range edit {
		e(&opt)
	}
	c := startServer(t, opt)
	t.Cleanup(func() { c.end() })
	return c
}

// end kills the tasks and stops the server.
func (c *cluster) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c.s.faults.clear()
	if err := c.s.KillTasks(ctx); err != nil && c.s.storeOpen() {
		c.t.Errorf("kill tasks: %v", err)
	}
	c.stop()
}

func (s *Server) storeOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store != nil
}

// call does one request and decodes the answer.
func (c *cluster) call(method, path string, body any) (int, any) {
	c.t.Helper()
	status, v, err := call(c.s.URL(), method, path, body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return status, v
}

func call(base, method, path string, body any) (int, any, error) {
	var rd io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		if text, isText := body.(string); isText {
			data = []byte(text)
		}
		rd = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, base+path, rd)
	if err != nil {
		return 0, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || len(data) == 0 {
		return resp.StatusCode, nil, err
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return resp.StatusCode, string(data), nil
	}
	return resp.StatusCode, v, nil
}

// must does a request that has to succeed.
func (c *cluster) must(method, path string, body any) any {
	c.t.Helper()
	status, v := c.call(method, path, body)
	if status < 200 || status > 299 {
		c.t.Fatalf("%s %s: %d %v", method, path, status, v)
	}
	return v
}

// eventually waits, woken by every change of the server's state, until f holds.
func (c *cluster) eventually(what string, f func() bool) {
	c.t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for {
		c.s.mu.Lock()
		changed := c.s.changed
		c.s.mu.Unlock()
		if f() {
			return
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Millisecond): // what is outside the server changes without telling
		case <-deadline.C:
			_, state := c.call("GET", "/state", nil)
			_, queue := c.call("GET", "/v2/queue", nil)
			c.t.Fatalf("never: %s\nframework: %v\nqueue: %v", what, dig(state, "frameworks"), queue)
		}
	}
}

// dig walks keys (text) and indices (numbers).
func dig(v any, path ...any) any {
	for _, p := range path {
		switch k := p.(type) {
		case string:
			m, _ := v.(map[string]any)
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

func (c *cluster) deployed() {
	c.t.Helper()
	c.eventually("no deployments", func() bool {
		_, v := c.call("GET", "/v2/deployments", nil)
		return len(v.([]any)) == 0
	})
}

func (c *cluster) tasks(app string) []any {
	c.t.Helper()
	_, v := c.call("GET", "/v2/apps"+app+"/tasks", nil)
	l, _ := dig(v, "tasks").([]any)
	return l
}

func (c *cluster) hosts(app string) []string {
	var out []string
	for _, t := range c.tasks(app) {
		out = append(out, dig(t, "host").(string))
	}
	slices.Sort(out)
	return out
}

func (c *cluster) running(app string, n int) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("%d of %s running", n, app), func() bool {
		l := keep(c.tasks(app), func(t any) bool { return dig(t, "state") == "TASK_RUNNING" })
		return len(l) == n
	})
}

func sleeper(id string, more tree) tree {
	out := tree{"id": id, "cmd": "exec sleep 1000", "cpus": 0.1, "mem": 16}
	for k, v := range more {
		out[k] = v
	}
	return out
}

// serveForTest is a server in a process of its own, to be killed.
func serveForTest(dir, listen string) int {
	opt := testOptions(dir)
	opt.Listen = listen
	s, err := New(opt)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(s.URL())
	if err := s.Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
