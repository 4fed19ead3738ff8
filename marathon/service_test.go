package marathon

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	none    = `[]`
	changed = `{"version":"2020-01-02T03:04:05.678Z","deploymentId":"d1"}`
)

func TestReadFailsOver(t *testing.T) {
	good := routes{"GET /v2/deployments": says(200, `[{"id":"d1","version":"2020-01-02T03:04:05.678Z","affectedApps":["/a"]}]`)}
	for name, bad := range map[string]http.HandlerFunc{
		"503":         says(503, ``),
		"502 HTML":    says(502, `<html><title>Bad Gateway</title></html>`),
		"200 HTML":    says(200, `<html><title>Log in</title></html>`),
		"empty":       says(200, ``),
		"another":     says(200, `{"message":"hello"}`),
		"null":        says(200, `null`),
		"no id":       says(200, `[{}]`),
		"truncated":   says(200, `[{"id":"d1"`),
		"cut short":   cutShort(`[{"id":"d1"`),
		"hangs up":    hangsUp,
		"wrong place": says(404, `<html>404</html>`),
	} {
		t.Run(name, func(t *testing.T) {
			a, b := serve(t, routes{"GET /v2/deployments": bad}), serve(t, good)
			m := client(t, Options{}, a.URL, b.URL)
			for range 2 {
				ds, err := m.Deployments(t.Context())
				if err != nil || len(ds) != 1 || ds[0].ID != "d1" || ds[0].Apps[0] != "/a" || ds[0].Version.IsZero() {
					t.Fatalf("got %+v, %v", ds, err)
				}
			}
			if n := len(a.requests()); n > 1 { // net/http may itself repeat a GET on a dead connection, never a first one
				t.Errorf("the bad address was asked %d times: the good one is to be preferred", n)
			}
		})
	}
}

func TestReadOfNobody(t *testing.T) {
	a, b := closedAddress(t), serve(t, routes{"GET /v2/deployments": says(503, `{"message":"busy"}`)})
	_, err := client(t, Options{}, a, b.URL).Deployments(t.Context())
	if got := kindsOf(err); !slices.Equal(got, []string{"unavailable"}) {
		t.Errorf("%v is %v", err, got)
	}
	contains(t, err.Error(), "GET /v2/deployments at "+b.URL+": 503 Service Unavailable: busy; before that at "+a, "connection refused")
}

func TestReadDoesNotFailOverOnAnAnswer(t *testing.T) {
	a := serve(t, routes{"GET /v2/apps/x": says(404, `{"message":"App '/x' does not exist"}`)})
	b := serve(t, nil)
	_, err := client(t, Options{}, a.URL, b.URL).App(t.Context(), "/x")
	if !errors.Is(err, ErrNotFound) || len(b.requests()) != 0 {
		t.Errorf("%v; second address asked %v", err, b.requests())
	}
}

func TestMutationGoesOnOnlyIfItWasNotSent(t *testing.T) {
	good := routes{"PUT /v2/apps/x": says(200, changed)}
	put := func(m *Client) error {
		d, err := m.PutApp(t.Context(), "/x", []byte(`{"cmd":"sleep 1"}`), PutOptions{})
		if err == nil && d.ID != "d1" {
			t.Errorf("got %+v", d)
		}
		return err
	}
	t.Run("refused connection", func(t *testing.T) {
		b := serve(t, good)
		if err := put(client(t, Options{}, closedAddress(t), b.URL)); err != nil {
			t.Fatal(err)
		}
		if got := b.requests(); !slices.Equal(got, []string{"PUT /v2/apps/x?force=false&partialUpdate=false"}) {
			t.Errorf("requests %q", got)
		}
	})
	t.Run("nobody", func(t *testing.T) {
		err := put(client(t, Options{}, closedAddress(t), closedAddress(t)))
		if got := kindsOf(err); !slices.Equal(got, []string{"unavailable"}) {
			t.Errorf("%v is %v", err, got)
		}
	})
	for name, bad := range map[string]http.HandlerFunc{
		"hangs up":     hangsUp,
		"504":          says(504, ``),
		"200 HTML":     says(200, `<html></html>`),
		"200 empty":    says(200, ``),
		"no id":        says(200, `{"version":"2020-01-02T03:04:05.678Z"}`),
		"answer short": cutShort(`{"version":`),
	} {
		t.Run(name, func(t *testing.T) {
			a, b := serve(t, routes{"PUT /v2/apps/x": bad}), serve(t, good)
			err := put(client(t, Options{}, a.URL, b.URL))
			if got := kindsOf(err); !slices.Equal(got, []string{"ambiguous", "unavailable"}) {
				t.Errorf("%v is %v", err, got)
			}
			contains(t, err.Error(), "it may have been carried out")
			if len(a.requests()) != 1 || len(b.requests()) != 0 {
				t.Errorf("requests %q and %q: a sent mutation was repeated", a.requests(), b.requests())
			}
		})
	}
}

// A connection that was kept from an earlier call and has died since must not make a mutation run twice, nor fail as ambiguous
// when a new connection is refused.
func TestMutationOnADeadConnection(t *testing.T) {
	s := serve(t, routes{"GET /v2/deployments": says(200, none), "PUT /v2/apps/x": says(200, changed)})
	m := client(t, Options{}, s.URL)
	if _, err := m.Deployments(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.CloseClientConnections()
	_, err := m.PutApp(t.Context(), "/x", []byte(`{}`), PutOptions{})
	puts := 0
	for _, r := range s.requests() {
		if strings.HasPrefix(r, "PUT") {
			puts++
		}
	}
	if (err == nil && puts != 1) || (err != nil && (puts != 0 || !errors.Is(err, ErrUnavailable))) {
		t.Errorf("%d requests, %v", puts, err)
	}
}

func TestCancelledBeforeAndDuring(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := serve(t, routes{"PUT /v2/apps/x": func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(entered)
		<-leave
	}})
	defer close(leave)
	m := client(t, Options{}, s.URL)

	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	_, err := m.PutApp(ctx, "/x", []byte(`{}`), PutOptions{})
	if !errors.Is(err, ErrAmbiguous) || !errors.Is(err, context.Canceled) {
		t.Errorf("during: %v", err)
	}
	_, err = m.PutApp(ctx, "/x", []byte(`{}`), PutOptions{})
	if errors.Is(err, ErrAmbiguous) || !errors.Is(err, context.Canceled) {
		t.Errorf("before: %v", err)
	}
}

func TestSlowServerIsGivenUp(t *testing.T) {
	leave := make(chan struct{})
	slow := serve(t, routes{"GET /v2/deployments": func(http.ResponseWriter, *http.Request) { <-leave }})
	defer close(leave)
	good := serve(t, routes{"GET /v2/deployments": says(200, none)})
	m := client(t, Options{Timeout: 30 * time.Millisecond}, slow.URL)
	_, err := m.Deployments(t.Context())
	contains(t, err.Error(), "nothing within 30ms")
	m = client(t, Options{Timeout: 300 * time.Millisecond}, slow.URL, good.URL)
	if _, err := m.Deployments(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestBodyIsBounded(t *testing.T) {
	s := serve(t, routes{"GET /v2/deployments": says(200, `[`+strings.Repeat(" ", 1000)+`]`)})
	m := client(t, Options{}, s.URL)
	m.marathon.maxBody = 100
	_, err := m.Deployments(t.Context())
	if err == nil {
		t.Fatal("no error")
	}
	contains(t, err.Error(), "more than 100 bytes")
}

func TestRedirects(t *testing.T) {
	s := serve(t, routes{
		"GET /v2/deployments": says(200, none),
		"PUT /v2/apps/x":      says(200, changed),
	})
	to := func(status int, base string) *server {
		r := &server{}
		r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Location", base+q.URL.RequestURI())
			w.WriteHeader(status)
		}))
		t.Cleanup(r.Close)
		return r
	}
	relative := strings.TrimPrefix(s.URL, "http:") // as the Mesos master writes it
	for _, status := range []int{301, 302, 303, 307, 308} {
		if _, err := client(t, Options{}, to(status, relative).URL).Deployments(t.Context()); err != nil {
			t.Errorf("read, %d: %v", status, err)
		}
		_, err := client(t, Options{}, to(status, s.URL).URL).PutApp(t.Context(), "/x", []byte(`{}`), PutOptions{})
		if status >= 307 && err != nil {
			t.Errorf("mutation, %d: %v", status, err)
		}
		if status < 307 && !slices.Equal(kindsOf(err), []string{"unavailable"}) {
			t.Errorf("mutation, %d: %v", status, err)
		}
	}
	var loop *httptest.Server
	loop = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", loop.URL)
		w.WriteHeader(307)
	}))
	defer loop.Close()
	_, err := client(t, Options{}, loop.URL).DeleteApp(t.Context(), "/loop", false)
	contains(t, err.Error(), "more than 5 redirects")
}

func TestRedirectKeepsBodyAndCredentials(t *testing.T) {
	var auth, body string
	leader := serve(t, routes{"PUT /v2/apps/x": func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		auth, body = r.Header.Get("Authorization"), string(b)
		says(200, changed)(w, r)
	}})
	follower := serve(t, routes{"PUT /v2/apps/x": func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, leader.URL+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	}})
	if _, err := client(t, Options{Token: "t"}, follower.URL).PutApp(t.Context(), "/x", []byte(`{"a":1}`), PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if auth != "token=t" || body != `{"a":1}` {
		t.Errorf("the leader got %q and %q", auth, body)
	}
}

func TestNoRedirectFromTLSToPlain(t *testing.T) {
	plain := serve(t, routes{"GET /ping": says(200, "pong")})
	tls := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL+"/ping", http.StatusFound)
	}))
	defer tls.Close()
	c, err := New(Options{URLs: []string{tls.URL}, HTTP: tls.Client(), Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	err = c.Ping(t.Context())
	if err == nil || len(plain.requests()) != 0 {
		t.Fatalf("%v; plain text was asked %v", err, plain.requests())
	}
	contains(t, err.Error(), "from TLS to")
}

func TestLeaderIsPreferredIfItIsOurs(t *testing.T) {
	b := serve(t, routes{"GET /v2/deployments": says(200, none)})
	a := serve(t, routes{"GET /v2/deployments": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Marathon-Leader", b.URL)
		says(200, none)(w, r)
	}})
	m := client(t, Options{}, a.URL, b.URL)
	for range 2 {
		if _, err := m.Deployments(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.requests()) != 1 || len(b.requests()) != 1 {
		t.Errorf("asked %v and %v", a.requests(), b.requests())
	}
}
