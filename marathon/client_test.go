package marathon

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// server is a Marathon of a few hand-made answers, which remembers what it was asked.
type server struct {
	*httptest.Server

	mu    sync.Mutex
	asked []string
}

type routes map[string]http.HandlerFunc

// serve answers "METHOD /path" by the given routes, and anything else as Marathon 1.8 does.
func serve(t *testing.T, rs routes) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.Method+" "+r.URL.RequestURI())
		s.mu.Unlock()
		h := rs[r.Method+" "+r.URL.Path]
		if h == nil {
			h = says(500, `{"message":"URI not found"}`)
		}
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.asked...)
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		form := "application/json"
		if strings.HasPrefix(body, "<") {
			form = "text/html"
		}
		w.Header().Set("Content-Type", form)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// hangsUp reads the request and closes the connection without an answer.
func hangsUp(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		conn.Close()
	}
}

// cutShort promises more bytes than it sends.
func cutShort(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100000")
		_, _ = io.WriteString(w, body)
	}
}

func client(t *testing.T, o Options, urls ...string) *Client {
	t.Helper()
	o.URLs = urls
	o.HTTP = &http.Client{Transport: &http.Transport{}}
	t.Cleanup(o.HTTP.CloseIdleConnections)
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// closedAddress is an address at which nobody listens.
func closedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

func contains(t *testing.T, got string, wants ...string) {
	t.Helper()
	for _, w := range wants {
		if !strings.Contains(got, w) {
			t.Errorf("%q does not mention %q", got, w)
		}
	}
}

func TestNewRefusesUnusableOptions(t *testing.T) {
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"no address":          {Options{}, "no Marathon address"},
		"no scheme":           {Options{URLs: []string{"m1:8080"}}, "want http://host:port"},
		"no host":             {Options{URLs: []string{"http:///v2"}}, "want http://host:port"},
		"query":               {Options{URLs: []string{"http://m1?x=1"}}, "neither a query"},
		"unparsable":          {Options{URLs: []string{"http://a:secret@m1:80x"}}, "invalid port"},
		"user and token":      {Options{URLs: []string{"http://m1"}, User: "u", Token: "t"}, "both a user and a token"},
		"unusable mesos":      {Options{URLs: []string{"http://m1"}, MesosURL: "zk://z:2181/mesos"}, "Mesos: address"},
		"password in address": {Options{URLs: []string{"ftp://a:secret@m1"}}, "want http"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(c.o)
			if err == nil {
				t.Fatal("no error")
			}
			contains(t, err.Error(), c.want)
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the password is in %q", err)
			}
		})
	}
}

const infoBody = `{"name":"marathon","version":"1.8.222","leader":"m1:8080","frameworkId":"f-0000",
 "marathon_config":{"framework_name":"marathon","mesos_leader_ui_url":"MESOS","master":"zk://z/mesos"}}`

func TestInfo(t *testing.T) {
	s := serve(t, routes{"GET /v2/info": says(200, infoBody)})
	got, err := client(t, Options{}, s.URL).Info(t.Context())
	want := Info{Version: "1.8.222", Leader: "m1:8080", FrameworkID: "f-0000", Framework: "marathon", MesosURL: "MESOS"}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestPing(t *testing.T) {
	s := serve(t, routes{"GET /ping": says(200, "pong\n")})
	if err := client(t, Options{}, s.URL).Ping(t.Context()); err != nil {
		t.Error(err)
	}
	s = serve(t, routes{"GET /ping": says(200, "<html><title>Log in</title></html>")})
	if err := client(t, Options{}, s.URL).Ping(t.Context()); err == nil {
		t.Error("a login page passed for a pong")
	} else {
		contains(t, err.Error(), "Log in")
	}
}

func TestBasePathAndCredentials(t *testing.T) {
	var got []string
	s := serve(t, routes{"GET /service/marathon/ping": func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization")+"|"+r.Header.Get("X-Team"))
		_, _ = io.WriteString(w, "pong")
	}})
	base := s.URL + "/service/marathon/"
	withUser := strings.Replace(base, "http://", "http://me:pw@", 1)
	for _, c := range []*Client{
		client(t, Options{Token: "jwt", Header: http.Header{"X-Team": {"blue"}}}, base),
		client(t, Options{User: "me", Password: "pw"}, base),
		client(t, Options{}, withUser),
	} {
		if err := c.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want := "token=jwt|blue Basic bWU6cHc=| Basic bWU6cHc=|"
	if strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", strings.Join(got, " "), want)
	}
}
