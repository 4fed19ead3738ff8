package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/drover-project/drover/agent/usage"
	"github.com/drover-project/drover/certs"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// maxWait bounds one question for users; who asks may ask again.
const maxWait = time.Minute

// handler serves the agent's paths. Steps run in work, not in their request: a sender that goes away must not end a zfs
// command half-way. Streams run in streams.
func (a *Agent) handler(work, streams context.Context) http.Handler {
	mux := http.NewServeMux()
	everybody := []certs.Role{certs.Controller, certs.Operator, certs.Agent}
	masters := everybody[:2]
	mux.HandleFunc("GET "+pathHealth, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.Handle("GET "+pathNode, a.answer(everybody, func(r *http.Request) (any, error) { return a.node(r.Context()) }))
	mux.Handle("GET "+pathStreams, a.answer(everybody, func(*http.Request) (any, error) { return a.under.streams(), nil }))
	mux.Handle("GET "+pathCopy, a.answer(everybody, func(r *http.Request) (any, error) { return a.copyOf(r) }))
	mux.Handle("GET "+pathUnused, a.answer(masters, func(r *http.Request) (any, error) { return a.awaitUnused(r) }))
	mux.Handle("POST "+pathAnswers, a.answer(masters, awaitAnswers))
	mux.Handle("POST "+pathStep, a.answer(masters, func(r *http.Request) (any, error) { return a.step(work, streams, r) }))
	mux.Handle("PUT "+pathLimits, a.answer(masters, func(r *http.Request) (any, error) { return a.setLimits(work, r) }))
	mux.Handle("POST "+pathReceive, a.only([]certs.Role{certs.Agent}, func(w http.ResponseWriter, r *http.Request) {
		a.serveReceive(streams, w, r)
	}))
	return mux
}

// only lets holders of these roles pass.
func (a *Agent) only(roles []certs.Role, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil {
			a.refuse(w, r, errorf(CodeForbidden, "plain text is not an option"))
			return
		}
		id, err := certs.Peer(*r.TLS)
		if err != nil || !slices.Contains(roles, id.Role) {
			a.refuse(w, r, errorf(CodeForbidden, "a certificate of role %q may not %s %s", id.Role, r.Method, r.URL.Path))
			return
		}
		next(w, r)
	})
}

// answer serves a function's result as JSON.
func (a *Agent) answer(roles []certs.Role, f func(*http.Request) (any, error)) http.Handler {
	return a.only(roles, func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		if err != nil {
			a.refuse(w, r, err)
			return
		}
		a.write(w, http.StatusOK, v)
	})
}

func (a *Agent) write(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"Code":"internal","Message":"the reply cannot be encoded"}`)
		a.log.Error("encode reply", "err", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if _, err := w.Write(b); err != nil {
		a.log.Debug("the sender did not wait for the reply", "err", err)
	}
}

// statuses are the HTTP statuses of the codes, for people with curl; our client reads the code.
var statuses = map[Code]int{
	CodeStaleTerm: http.StatusConflict, CodeUnexpected: http.StatusConflict, CodeBusy: http.StatusLocked,
	CodeNoSpace: http.StatusInsufficientStorage, CodeInTheWay: http.StatusConflict, CodeNotFound: http.StatusNotFound,
	CodeRefused: http.StatusPreconditionFailed, CodeUnsupported: http.StatusNotImplemented, CodeUnknown: http.StatusGatewayTimeout, CodeUnreachable: http.StatusBadGateway,
	CodeBadRequest: http.StatusBadRequest, CodeForbidden: http.StatusForbidden,
}

func (a *Agent) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	a.log.Debug("request refused", "path", r.URL.Path, "code", e.Code, "err", e.Message)
	status, ok := statuses[e.Code]
	if !ok {
		status = http.StatusInternalServerError
	}
	a.write(w, status, e)
}

// asError finds the code of any error.
func asError(err error) *Error {
	if e := (*Error)(nil); errors.As(err, &e) {
		if error(e) == err { //nolint:errorlint // whether it is wrapped is the question
			return e
		}
		return &Error{Code: e.Code, Message: err.Error(), Copy: e.Copy, cause: err}
	}
	code := CodeInternal
	for _, k := range []struct {
		err  error
		code Code
	}{
		{zfs.ErrUnknown, CodeUnknown}, {zfs.ErrNoSpace, CodeNoSpace}, {zfs.ErrBusy, CodeBusy}, {zfs.ErrHeld, CodeBusy},
		{zfs.ErrUsage, CodeRefused}, {context.DeadlineExceeded, CodeUnknown}, {context.Canceled, CodeUnknown},
	} {
		if errors.Is(err, k.err) {
			code = k.code
			break
		}
	}
	return &Error{Code: code, Message: err.Error(), cause: err}
}

// decode reads one JSON value strictly: bounded, no unknown fields, nothing after it.
func decode(r io.Reader, into any) error {
	b, err := io.ReadAll(io.LimitReader(r, maxRequest+1))
	if err != nil {
		return errorf(CodeBadRequest, "read the request: %w", err)
	}
	if len(b) > maxRequest {
		return errorf(CodeBadRequest, "the request is longer than %d bytes", maxRequest)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return errorf(CodeBadRequest, "the request cannot be read: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errorf(CodeBadRequest, "the request goes on after its end")
	}
	return nil
}

// decodeRequest reads and checks a step's request.
func decodeRequest(r io.Reader) (Request, error) {
	var req Request
	if err := decode(r, &req); err != nil {
		return req, err
	}
	if _, known := deeds[req.Step.Kind]; !known {
		return req, errorf(CodeBadRequest, "step %.100q is not one that an agent does", req.Step.Kind)
	}
	if err := checkStep(req.Step); err != nil {
		return req, err
	}
	return req, nil
}

func (a *Agent) copyOf(r *http.Request) (any, error) {
	uuid, err := uuidOf(r)
	if err != nil {
		return nil, err
	}
	c, err := a.observeCopy(r.Context(), uuid)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, errorf(CodeNotFound, "node %s has no copy of volume %s", a.o.Hostname, uuid)
	}
	return c, nil
}

func uuidOf(r *http.Request) (state.UUID, error) {
	uuid := r.URL.Query().Get("uuid")
	if !uuidForm.MatchString(uuid) {
		return "", errorf(CodeBadRequest, "bad uuid %.100q", uuid)
	}
	return state.UUID(uuid), nil
}

// awaitUnused answers when nobody uses the copy, or at the end of the wait with who does.
func (a *Agent) awaitUnused(r *http.Request) (any, error) {
	uuid, err := uuidOf(r)
	if err != nil {
		return nil, err
	}
	wait, err := time.ParseDuration(r.URL.Query().Get("wait"))
	if err != nil || wait < 0 {
		return nil, errorf(CodeBadRequest, "bad wait %.100q: want a duration such as 20s", r.URL.Query().Get("wait"))
	}
	c, err := a.find(r.Context(), a.zfs, uuid, "")
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, errorf(CodeNotFound, "node %s has no copy of volume %s", a.o.Hostname, uuid)
	}
	ctx, cancel := context.WithTimeout(r.Context(), min(wait, maxWait))
	defer cancel()
	seen, err := usage.Await(ctx, target(c))
	if err != nil {
		return nil, fmt.Errorf("look for users of %s: %w", c.Dataset, err)
	}
	return unusedReply{Users: seen.Found[0].Users, Notes: seen.Notes()}, nil
}
