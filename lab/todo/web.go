package todo

import (
	"context"
	"embed"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

//go:embed page
var page embed.FS

// Web serves the page and the Todo-Backend API, and asks a DB for everything: it keeps nothing itself.
// While the database does not answer, requests wait for it, at most as long as the client's patience.
type Web struct {
	DB *Client
	// Node is where web itself runs, which the page shows beside the database's node.
	Node string
	Log  *slog.Logger

	lastNode atomic.Value // string: where the database last answered from
}

// HeaderWeb names the node on which web runs.
const HeaderWeb = "Todo-Web-Node"

// Run serves on ln until ctx ends.
func (w *Web) Run(ctx context.Context, ln net.Listener) error {
	defer w.DB.HTTP.CloseIdleConnections()
	return serve(ctx, w.Log, ln, w.routes(), stopGrace)
}

func (w *Web) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", w.root)
	mux.HandleFunc("POST /{$}", w.add)
	mux.HandleFunc("DELETE /{$}", w.clear)
	mux.HandleFunc("GET /{id}", w.get)
	mux.HandleFunc("PATCH /{id}", w.change)
	mux.HandleFunc("DELETE /{id}", w.remove)
	mux.HandleFunc("GET /healthz", w.health)
	mux.Handle("GET /page/", http.FileServerFS(page))
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set(HeaderWeb, w.Node)
		allowOrigins(rw.Header())
		if r.Method == http.MethodOptions {
			rw.WriteHeader(http.StatusNoContent)
			return
		}
		mux.ServeHTTP(rw, r)
	})
}

// allowOrigins lets pages from anywhere use the API, as Todo-Backend's own specification runner does.
func allowOrigins(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "GET, POST, PATCH, DELETE, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "Content-Type, Accept")
	h.Set("Access-Control-Expose-Headers", strings.Join([]string{HeaderNode, HeaderWeb, HeaderTotal, HeaderCompleted}, ", "))
	h.Set("Access-Control-Max-Age", "600")
}

// root is the page for a browser that opens the address, and the list for everything else.
func (w *Web) root(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Add("Vary", "Accept")
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		rw.Header().Set("Cache-Control", "no-store")
		rw.Header().Set("Content-Security-Policy", "default-src 'self'")
		http.ServeFileFS(rw, r, page, "page/page.html")
		return
	}
	w.list(rw, r)
}

func (w *Web) list(rw http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r)
	if err != nil {
		writeError(w.Log, rw, err)
		return
	}
	todos, a, err := w.DB.List(r.Context(), q)
	if err == nil {
		rw.Header().Set(HeaderTotal, strconv.Itoa(a.Total))
		rw.Header().Set(HeaderCompleted, strconv.Itoa(a.Completed))
		for i := range todos {
			todos[i] = withURL(r, todos[i])
		}
	}
	w.answer(rw, a, todos, err)
}

func (w *Web) add(rw http.ResponseWriter, r *http.Request) {
	var t Todo
	if err := readJSON(rw, r, &t); err != nil {
		writeError(w.Log, rw, err)
		return
	}
	t.URL = ""
	if t.ID == "" {
		t.ID = newID() // chosen here, so that asking the database twice adds once
	}
	stored, a, err := w.DB.Add(r.Context(), t)
	w.answer(rw, a, withURL(r, stored), err)
}

func (w *Web) get(rw http.ResponseWriter, r *http.Request) {
	t, a, err := w.DB.Get(r.Context(), safeID(r))
	w.answer(rw, a, withURL(r, t), err)
}

func (w *Web) change(rw http.ResponseWriter, r *http.Request) {
	var c Change
	if err := readJSON(rw, r, &c); err != nil {
		writeError(w.Log, rw, err)
		return
	}
	t, a, err := w.DB.Change(r.Context(), safeID(r), c)
	w.answer(rw, a, withURL(r, t), err)
}

func (w *Web) remove(rw http.ResponseWriter, r *http.Request) {
	a, err := w.DB.Remove(r.Context(), safeID(r))
	w.answer(rw, a, struct{}{}, err)
}

func (w *Web) clear(rw http.ResponseWriter, r *http.Request) {
	onlyCompleted, err := parseClear(r)
	if err != nil {
		writeError(w.Log, rw, err)
		return
	}
	a, err := w.DB.Clear(r.Context(), onlyCompleted)
	w.answer(rw, a, []Todo{}, err)
}

// safeID is the id of the path, or one that is never given away if it could mean another path to the database.
func safeID(r *http.Request) string {
	if id := r.PathValue("id"); validID.MatchString(id) {
		return id
	}
	return "-"
}

// health speaks for web alone. If it failed while the database moves, Marathon would kill web, which waits for
// the database perfectly well.
func (w *Web) health(rw http.ResponseWriter, _ *http.Request) {
	node, _ := w.lastNode.Load().(string)
	writeJSON(w.Log, rw, http.StatusOK, map[string]string{"web": "ok", "database last answered from": node})
}

func (w *Web) answer(rw http.ResponseWriter, a Answer, body any, err error) {
	if err != nil {
		writeError(w.Log, rw, err)
		return
	}
	w.lastNode.Store(a.Node)
	rw.Header().Set(HeaderNode, a.Node)
	writeJSON(w.Log, rw, a.Status, body)
}

// withURL adds the address under which the client that asks can reach t.
func withURL(r *http.Request, t Todo) Todo {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	t.URL = scheme + "://" + r.Host + "/" + t.ID
	return t
}

// patience and attempt are those of web: longer than any cutover's budget that a person would wait for, and
// an attempt as long as a gate may hold a connection.
const (
	webPatience = 20 * time.Second
	webAttempt  = 6 * time.Second
)
