package marathon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drover-project/drover/state"
)

// wire is a transport without a network, so that tests of time can run in a bubble.
type wire func(*http.Request) (*http.Response, error)

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) { return w(r) }

func (w wire) client(t *testing.T, o Options, urls ...string) *Client {
	t.Helper()
	o.HTTP, o.URLs = &http.Client{Transport: w}, urls
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func response(status int, form string, body io.ReadCloser) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {form}}, Body: body}
}

// pipe is the body of an event stream that ends when the request does.
func pipe(r *http.Request) (io.ReadCloser, *io.PipeWriter) {
	pr, pw := io.Pipe()
	context.AfterFunc(r.Context(), func() { pw.CloseWithError(context.Cause(r.Context())) })
	return pr, pw
}

const eventForm = "text/event-stream;charset=utf-8"

func TestWatchReconnectsWhenSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var connected []time.Duration
		start := time.Now()
		m := wire(func(r *http.Request) (*http.Response, error) {
			connected = append(connected, time.Since(start))
			body, w := pipe(r)
			for i := range 3 { // three keep-alives, then silence
				time.AfterFunc(time.Duration(i+1)*10*time.Second, func() { _, _ = io.WriteString(w, "\r\n") })
			}
			return response(200, eventForm, body), nil
		}).client(t, Options{}, "http://m1")
		ctx, cancel := context.WithCancelCause(t.Context())
		enough := errors.New("enough")
		resyncs := 0
		err := m.Watch(ctx, func(e Event) {
			if e.Name != Resync {
				t.Errorf("got %+v", e)
			}
			if resyncs++; resyncs == 3 {
				cancel(enough)
			}
		})
		if !errors.Is(err, enough) {
			t.Errorf("ended with %v", err)
		}
		for i, at := range connected { // each lives 30 s of keep-alives and 30 s of silence, then comes a pause
			low := time.Duration(i) * time.Minute
			if at < low || at > low+time.Duration(i)*2*time.Second {
				t.Errorf("connection %d after %s", i, at)
			}
		}
	})
}

func TestWatchBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		m := wire(func(*http.Request) (*http.Response, error) {
			tries++
			return response(503, "text/html", io.NopCloser(strings.NewReader("<title>down</title>"))), nil
		}).client(t, Options{}, "http://m1")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := m.Watch(ctx, func(e Event) { t.Errorf("got %+v", e) }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ended with %v", err)
		}
		if tries < 20 || tries > 120 {
			t.Errorf("%d attempts in ten minutes", tries)
		}
	})
}

// streams serves an event stream of what is sent to the channel; closing it ends the stream.
func streams(chunks <-chan string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "text/event-stream" {
			says(405, `{"message":"Method Not Allowed"}`)(w, r)
			return
		}
		w.Header().Set("Content-Type", eventForm)
		w.WriteHeader(200)
		flush := http.NewResponseController(w).Flush
		_ = flush()
		for {
			select {
			case <-r.Context().Done():
				return
			case c, ok := <-chunks:
				if !ok {
					return
				}
				_, _ = io.WriteString(w, c)
				_ = flush()
			}
		}
	}
}

// watch runs Watch until the test ends and returns its events.
func watch(t *testing.T, m *Client, types ...string) <-chan Event {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	events := make(chan Event)
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = m.Watch(ctx, func(e Event) {
			select {
			case events <- e:
			case <-ctx.Done():
			}
		}, types...)
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return events
}

func next(t *testing.T, events <-chan Event) Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(20 * time.Second):
		t.Fatal("no event")
		return Event{}
	}
}

func TestWatchReadsEvents(t *testing.T) {
	chunks := make(chan string)
	s := serve(t, routes{"GET /v2/events": streams(chunks)})
	events := watch(t, client(t, Options{}, s.URL), StatusUpdate, DeploymentSuccess)
	if e := next(t, events); e.Name != Resync || e.Data != nil {
		t.Errorf("first event %+v", e)
	}
	for _, c := range []struct {
		chunks []string
		want   Event
	}{
		{[]string{"event: status_update_event\r\ndata: {\"eventType\":\"x\",\"taskId\":\"t1\",\"taskStatus\":\"TASK_KILLED\",\"appId\":\"/a\"}\r\n\r\n"},
			Event{Name: StatusUpdate, App: "/a", Task: "t1", State: "killed"}},
		{[]string{"\r\n", "event: instance_chan", "ged_event\r\ndata: {\"runSpecId\":", "\"/b\"}\r", "\n\r\n"},
			Event{Name: "instance_changed_event", App: "/b"}},
		{[]string{"event: deployment_success\ndata: {\"id\":\"d1\",\"plan\":{\"id\":\"d1\"}}\n\n"}, Event{Name: DeploymentSuccess, Deployment: "d1"}},
		{[]string{"event: deployment_info\ndata: {\"plan\":{\"id\":\"d2\"}}\n\n"}, Event{Name: DeploymentInfo, Deployment: "d2"}},
		{[]string{"data: {\"eventType\":\"app_terminated_event\",\"appId\":\"/c\"}\n\n"}, Event{Name: AppTerminated, App: "/c"}},
		{[]string{"event: odd\ndata: {\"taskId\":7,\"appId\":\"/d\"}\n\n"}, Event{Name: "odd", App: "/d"}},
		{[]string{"event: odd\ndata: not JSON\n\n"}, Event{Name: "odd"}},
		{[]string{"event: big\ndata: {\"appId\":\"/e\",\"plan\":{\"x\":\"", strings.Repeat("x", 1<<20), "\"}}\n\n"}, Event{Name: "big", App: "/e"}},
	} {
		for _, chunk := range c.chunks {
			chunks <- chunk
		}
		got := next(t, events)
		got.Data = nil
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Error(diff)
		}
	}
	want := "GET /v2/events?event_type=event_stream_attached&event_type=status_update_event&event_type=deployment_success&plan-format=light"
	if got := s.requests()[0]; got != want {
		t.Errorf("asked %q", got)
	}
}

func TestWatchReconnectsAfterACut(t *testing.T) {
	var mu sync.Mutex
	n := 0
	s := serve(t, routes{"GET /v2/events": func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		mine := n
		mu.Unlock()
		once := make(chan string, 1)
		switch mine {
		case 1: // ends in the middle of a frame
			once <- "event: half\r\ndata: {\"appId\""
			close(once)
		case 2:
			says(200, "<html><title>Log in</title></html>")(w, r)
			return
		case 3:
			hangsUp(w, r)
			return
		default:
			once <- "event: whole\r\ndata: {}\r\n\r\n"
		}
		streams(once)(w, r)
	}})
	var log lockedBuffer
	events := watch(t, client(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))}, s.URL))
	for _, want := range []string{Resync, Resync, "whole"} {
		if e := next(t, events); e.Name != want {
			t.Errorf("got %q, want %q", e.Name, want)
		}
	}
	contains(t, log.String(), "the server ended the event stream", "a web page instead of an answer", "Log in")
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestWatchFollowsToTheLeaderAndPastTheDead(t *testing.T) {
	leader := serve(t, routes{"GET /v2/events": streams(nil)})
	follower := serve(t, routes{"GET /v2/events": func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, leader.URL+r.URL.RequestURI(), http.StatusFound)
	}})
	events := watch(t, client(t, Options{}, closedAddress(t), follower.URL))
	if e := next(t, events); e.Name != Resync {
		t.Errorf("got %+v", e)
	}
}

// running is a list of deployments that can change.
type running struct {
	mu    sync.Mutex
	ids   []string
	asked chan struct{}
}

func (d *running) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	var parts []string
	for _, id := range d.ids {
		parts = append(parts, fmt.Sprintf(`{"id":%q,"affectedApps":[]}`, id))
	}
	d.mu.Unlock()
	says(200, "["+strings.Join(parts, ",")+"]")(w, r)
	select {
	case d.asked <- struct{}{}:
	default:
	}
}

func (d *running) set(ids ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ids = ids
}

func TestWaitDeployment(t *testing.T) {
	d := &running{ids: []string{"d1", "d2"}, asked: make(chan struct{})}
	s := serve(t, routes{"GET /v2/deployments": d.ServeHTTP})
	m := client(t, Options{}, s.URL)
	done := make(chan error, 1)
	go func() { done <- m.WaitDeployment(t.Context(), "d1") }()
	<-d.asked
	d.set("d2")
	if err := <-done; err != nil {
		t.Error(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- m.WaitDeployment(ctx, "d2") }()
	<-d.asked
	cancel()
	err := <-done
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	contains(t, err.Error(), "wait for deployment d2")
}

// It waits through times without Marathon, and gives up at once where waiting does not help.
func TestWaitDeploymentThroughSilence(t *testing.T) {
	answers := []http.HandlerFunc{says(503, ``), says(200, `[{"id":"d1"}]`), says(200, `<html>`), hangsUp, says(200, `[]`)}
	var mu sync.Mutex
	s := serve(t, routes{"GET /v2/deployments": func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		a := answers[0]
		answers = answers[min(1, len(answers)-1):]
		mu.Unlock()
		a(w, r)
	}})
	if err := client(t, Options{}, s.URL).WaitDeployment(t.Context(), "d1"); err != nil {
		t.Error(err)
	}
	s = serve(t, routes{"GET /v2/deployments": says(401, ``)})
	if err := client(t, Options{}, s.URL).WaitDeployment(t.Context(), "d1"); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("got %v", err)
	}
}

// In the bubble time stands still while anything can run: a wait of no time at all shows that the event ended the pause.
func TestEventEndsThePauseOfWaitDeployment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stream *io.PipeWriter
		runs := true
		m := wire(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == "/v2/events" {
				var body io.ReadCloser
				body, stream = pipe(r)
				return response(200, eventForm, body), nil
			}
			list := `[]`
			if runs {
				list = `[{"id":"d1"}]`
			}
			return response(200, "application/json", io.NopCloser(strings.NewReader(list))), nil
		}).client(t, Options{}, "http://m1")
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = m.Watch(ctx, func(Event) {}) })
		synctest.Wait()
		waited := make(chan error, 1)
		go func() { waited <- m.WaitDeployment(ctx, "d1") }()
		synctest.Wait()
		runs = false
		at := time.Now()
		_, _ = io.WriteString(stream, "event: deployment_success\r\ndata: {\"id\":\"d1\"}\r\n\r\n")
		if err := <-waited; err != nil || time.Since(at) != 0 {
			t.Errorf("%v after %s", err, time.Since(at))
		}
		cancel()
		wg.Wait()
	})
}

func TestDeploymentEventNames(t *testing.T) {
	if e := (frame{name: "x", data: []byte(`{"id":"app-event-id"}`)}).event(); e.Deployment != "" {
		t.Errorf("got %+v", e)
	}
	if e := (frame{name: "long"}).event(); e.Name != "long" || e.State != state.TaskState("") {
		t.Errorf("got %+v", e)
	}
}
