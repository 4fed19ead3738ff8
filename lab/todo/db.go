package todo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// DB serves a Store as JSON over HTTP:
//
//	GET    /            the list; ?completed=true|false selects, ?last=N keeps the end
//	POST   /            adds one: 201, or 200 with what is stored if the id is there already
//	DELETE /            removes all; ?completed=true only those
//	GET    /{id}        one
//	PATCH  /{id}        sets title, completed, order
//	DELETE /{id}        removes one
//	GET    /healthz     200 if the database can be read and written
type DB struct {
	Store *Store
	// Node is what HeaderNode says.
	Node string
	Log  *slog.Logger
}

// stopGrace is how long a stop waits for the requests that have begun.
const stopGrace = 2 * time.Second

// Run serves on ln until ctx ends. The store stays open: who opened it closes it.
func (d *DB) Run(ctx context.Context, ln net.Listener) error {
	return serve(ctx, d.Log, ln, d.routes(), stopGrace)
}

func (d *DB) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", d.list)
	mux.HandleFunc("POST /{$}", d.add)
	mux.HandleFunc("DELETE /{$}", d.clear)
	mux.HandleFunc("GET /{id}", d.get)
	mux.HandleFunc("PATCH /{id}", d.change)
	mux.HandleFunc("DELETE /{id}", d.remove)
	mux.HandleFunc("GET /healthz", d.health)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(HeaderNode, d.Node)
		mux.ServeHTTP(w, r)
	})
}

func (d *DB) list(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r)
	if err != nil {
		writeError(d.Log, w, err)
		return
	}
	l, err := d.Store.List(r.Context(), q)
	if err != nil {
		writeError(d.Log, w, err)
		return
	}
	w.Header().Set(HeaderTotal, strconv.Itoa(l.Total))
	w.Header().Set(HeaderCompleted, strconv.Itoa(l.Completed))
	writeJSON(d.Log, w, http.StatusOK, l.Todos)
}

// parseQuery reads the selection from the URL. What it does not know is refused, so that a mistyped
// ?completd=true on a DELETE does not remove everything.
func parseQuery(r *http.Request) (q Query, err error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	for name := range values {
		switch text := values.Get(name); name {
		case "completed":
			var b bool
			b, err = strconv.ParseBool(text)
			q.Completed = &b
		case "last":
			q.Last, err = strconv.Atoi(text)
		default:
			err = errors.New("want completed or last")
		}
		if err != nil {
			return q, fmt.Errorf("%w: parameter %s: %w", ErrInvalid, name, err)
		}
	}
	return q, nil
}

func (d *DB) add(w http.ResponseWriter, r *http.Request) {
	var t Todo
	if err := readJSON(w, r, &t); err != nil {
		writeError(d.Log, w, err)
		return
	}
	stored, added, err := d.Store.Add(r.Context(), t)
	if err != nil {
		writeError(d.Log, w, err)
		return
	}
	status := http.StatusOK
	if added {
		status = http.StatusCreated
	}
	writeJSON(d.Log, w, status, stored)
}

func (d *DB) get(w http.ResponseWriter, r *http.Request) {
	t, err := d.Store.Get(r.Context(), r.PathValue("id"))
	d.answer(w, t, err)
}

func (d *DB) change(w http.ResponseWriter, r *http.Request) {
	var c Change
	if err := readJSON(w, r, &c); err != nil {
		writeError(d.Log, w, err)
		return
	}
	t, err := d.Store.Change(r.Context(), r.PathValue("id"), c)
	d.answer(w, t, err)
}

func (d *DB) remove(w http.ResponseWriter, r *http.Request) {
	err := d.Store.Remove(r.Context(), r.PathValue("id"))
	d.answer(w, struct{}{}, err)
}

func (d *DB) clear(w http.ResponseWriter, r *http.Request) {
	onlyCompleted, err := parseClear(r)
	if err == nil {
		err = d.Store.Clear(r.Context(), onlyCompleted)
	}
	d.answer(w, []Todo{}, err)
}

// parseClear says whether only completed to-dos are to be removed. Any other selection is refused: what
// it leaves out would be lost.
func parseClear(r *http.Request) (onlyCompleted bool, err error) {
	q, err := parseQuery(r)
	switch {
	case err != nil:
		return false, err
	case q.Last != 0 || q.Completed != nil && !*q.Completed:
		return false, fmt.Errorf("%w: only all, or completed=true, can be removed together", ErrInvalid)
	}
	return q.Completed != nil, nil
}

func (d *DB) health(w http.ResponseWriter, r *http.Request) {
	err := d.Store.Check(r.Context())
	d.answer(w, map[string]string{"database": "ok"}, err)
}

func (d *DB) answer(w http.ResponseWriter, body any, err error) {
	if err != nil {
		writeError(d.Log, w, err)
		return
	}
	writeJSON(d.Log, w, http.StatusOK, body)
}

// isFull says whether the volume has no room left, which asking again does not change.
func isFull(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL
}
