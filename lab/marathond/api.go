package marathond

import (
	"compress/gzip"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
)

// answer is a success of the API.
type answer struct {
	status     int
	body       any // nil for none
	location   string
	deployment string // id for the Marathon-Deployment-Id header
	plain      string // answered as text/plain instead of body
}

func ok(body any) *answer { return &answer{status: 200, body: body} }

// marathonRoutes serves Marathon's API, the fault switches, and the Mesos API when it has no listener of its own.
func (s *Server) marathonRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/lab/faults", s.serveFaults)
	if s.mesos == nil {
		for _, path := range mesosPaths {
			mux.HandleFunc(path, s.serveMesos)
		}
	}
	mux.HandleFunc("/", s.serveMarathon)
	return noCleaning{mux}
}

// noCleaning keeps net/http from redirecting doubled slashes, which Marathon accepts.
type noCleaning struct{ mux *http.ServeMux }

// ServeHTTP collapses slashes itself.
func (n noCleaning) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for strings.Contains(r.URL.Path, "//") {
		r.URL.Path = strings.ReplaceAll(r.URL.Path, "//", "/")
	}
	r.URL.RawPath = ""
	n.mux.ServeHTTP(w, r)
}

func (s *Server) serveMarathon(w http.ResponseWriter, r *http.Request) {
	s.setHeaders(w.Header())
	fault := s.faults.take(r)
	if fault != nil && s.misbehave(w, r, fault) {
		return
	}
	if s.faults.noLeader() {
		s.write(w, r, nil, s.leaderless(r))
		return
	}
	if !s.authorized(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="Mesosphere"`)
		s.write(w, r, nil, apiErr(401, "Invalid username or password."))
		return
	}
	if r.URL.Path == "/v2/events" && r.Method == http.MethodGet {
		s.serveEvents(w, r)
		return
	}
	a, err := s.route(r)
	if fault != nil && fault.Cut {
		cut(w)
		return
	}
	s.write(w, r, a, err)
}

func (s *Server) leaderless(r *http.Request) *apiError {
	if r.URL.Path == "/v2/leader" {
		return apiErr(404, "There is no leader")
	}
	return apiErr(502, "Could not determine the current leader")
}

func (s *Server) setHeaders(h http.Header) {
	h.Set("X-Marathon-Leader", s.URL())
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-XSS-Protection", "1; mode=block")
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "0")
}

// misbehave carries out a fault and tells whether that was the answer.
func (s *Server) misbehave(w http.ResponseWriter, r *http.Request, f *HTTPFault) bool {
	if f.Delay > 0 {
		select {
		case <-time.After(time.Duration(f.Delay)):
		case <-r.Context().Done():
			return true
		case <-s.closing:
			return true
		}
	}
	if f.Cut || f.Status == 0 && !f.HTML {
		return false
	}
	status := f.Status
	if status == 0 {
		status = 200
	}
	if f.HTML {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		s.copyOut(w, "<html><head><title>"+http.StatusText(status)+"</title></head><body><h1>"+http.StatusText(status)+"</h1></body></html>\n")
		return true
	}
	s.write(w, r, nil, apiErr(status, "%s", http.StatusText(status)))
	return true
}

// cut closes the connection without an answer.
func cut(http.ResponseWriter) { panic(http.ErrAbortHandler) }

func (s *Server) authorized(r *http.Request) bool {
	if s.opt.User == "" {
		return true
	}
	user, password, _ := r.BasicAuth()
	return subtle.ConstantTimeCompare([]byte(user+":"+password), []byte(s.opt.User+":"+s.opt.Password)) == 1
}

// write sends an answer or an error.
func (s *Server) write(w http.ResponseWriter, r *http.Request, a *answer, err error) {
	if err != nil {
		e := asAPIError(err)
		a = &answer{status: e.status, body: e.body}
	}
	if a.location != "" {
		w.Header().Set("Location", a.location)
	}
	if a.deployment != "" {
		w.Header().Set("Marathon-Deployment-Id", a.deployment)
	}
	if a.plain != "" {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(a.status)
		s.copyOut(w, a.plain)
		return
	}
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	s.writeJSON(w, r, a.status, a.body)
}

func (s *Server) writeJSON(w http.ResponseWriter, r *http.Request, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		s.log.Error("encode answer", "err", err)
		w.WriteHeader(500)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.WriteHeader(status)
		s.copyOut(w, string(data))
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	w.WriteHeader(status)
	z := gzip.NewWriter(w)
	s.copyOut(z, string(data))
	if err := z.Close(); err != nil {
		s.log.Debug("write answer", "err", err)
	}
}

func (s *Server) copyOut(w io.Writer, text string) {
	if _, err := io.WriteString(w, text); err != nil {
		s.log.Debug("write answer", "err", err)
	}
}

// route finds what a request wants. Ids contain slashes, so paths are taken apart by hand.
func (s *Server) route(r *http.Request) (*answer, error) {
	if err := checkContentType(r); err != nil {
		return nil, err
	}
	path := strings.Trim(r.URL.Path, "/")
	for _, e := range []struct {
		prefix string
		serve  func(r *http.Request, rest string) (*answer, error)
	}{
		{"v2/apps", s.routeApps}, {"v2/tasks", s.routeTasks}, {"v2/groups", s.routeGroups}, {"v2/deployments", s.routeDeployments},
		{"v2/queue", s.routeQueue}, {"v2/info", s.routeInfo}, {"v2/leader", s.routeLeader}, {"v2/pods", s.routePods},
		{"v2/events", s.routeNotEvents}, {"ping", s.routePing},
	} {
		if rest, hit := cutPath(path, e.prefix); hit {
			return e.serve(r, rest)
		}
	}
	if path == "" {
		return &answer{status: 302, location: s.URL() + "/ui/"}, nil
	}
	return nil, s.noRoute(r)
}

// cutPath removes a leading path; what remains starts with a slash or is empty.
func cutPath(path, prefix string) (string, bool) {
	rest, hit := strings.CutPrefix(path, prefix)
	return rest, hit && (rest == "" || rest[0] == '/')
}

func (s *Server) noRoute(r *http.Request) error {
	if s.opt.Emulate == V15 {
		return apiErr(404, "URI not found: %s", r.URL.Path)
	}
	return apiErr(500, "URI not found")
}

func wrongMethod() error { return apiErr(405, "Method Not Allowed") }

func checkContentType(r *http.Request) error {
	ct := r.Header.Get("Content-Type")
	if ct == "" || r.Method == http.MethodGet || r.Method == http.MethodDelete || r.ContentLength == 0 {
		return nil
	}
	if kind, _, err := mime.ParseMediaType(ct); err != nil || kind != "application/json" {
		return apiErr(415, "Unsupported Media Type")
	}
	return nil
}

// readBody decodes a JSON body into plain Go values.
func readBody(r *http.Request) (any, error) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	if len(strings.TrimSpace(string(data))) == 0 {
		return nil, &apiError{400, tree{"message": "Please specify data in JSON format", "details": "No content to map due to end-of-input"}}
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return nil, &apiError{400, tree{"message": "Invalid JSON", "details": err.Error()}}
	}
	return v, nil
}

// flag is a boolean query parameter.
func flag(r *http.Request, name string, fallback bool) bool {
	v := r.URL.Query().Get(name)
	if v == "" {
		return fallback
	}
	return strings.EqualFold(v, "true")
}

// change runs f as one update of the state and gives its answer.
func (s *Server) change(f func(now time.Time) (*answer, error)) (*answer, error) {
	var a *answer
	err := s.update(func(now time.Time) error {
		var err error
		a, err = f(now)
		return err
	})
	return a, err
}

// ask runs f on the state as it is.
func (s *Server) ask(f func(now time.Time) (*answer, error)) (a *answer, err error) {
	s.look(func(now time.Time) { a, err = f(now) })
	return a, err
}

func deployed(d *deployment) *answer {
	return &answer{status: 200, body: tree{"version": d.Version, "deploymentId": d.ID}, deployment: d.ID}
}

// serveFaults is the lab's own door, not Marathon's: POST injects a fault, DELETE clears those that can be cleared.
func (s *Server) serveFaults(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
		var f FaultRequest
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		if err := d.Decode(&f); err != nil {
			s.write(w, r, nil, apiErr(400, "%v", err))
			return
		}
		if err := s.Inject(f); err != nil {
			s.write(w, r, nil, apiErr(400, "%v", err))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	case http.MethodDelete:
		if err := s.ClearFaults(); err != nil {
			s.write(w, r, nil, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		s.write(w, r, nil, wrongMethod())
	}
}
