package marathon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"sync/atomic"
	"time"
)

const (
	maxBody      = 256 << 20 // bytes of a list; a master's /state of 1,000 nodes is some tens of MiB
	maxErrorBody = 64 << 10
	maxRedirects = 5
)

// service is an HTTP API behind addresses of which each can answer for all.
type service struct {
	name      string
	addresses []address
	header    http.Header
	http      *http.Client
	log       *slog.Logger
	timeout   time.Duration // of one call to one address
	maxBody   int64
	first     atomic.Int32 // index of the address to ask first
}

// call is one request, whichever address it goes to.
type call struct {
	method string
	path   string // below the base path, escaped
	query  url.Values
	body   []byte
	accept string // "" means JSON
}

func (k call) mutates() bool { return k.method != http.MethodGet }

// answer is a whole answer.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func newService(name string, o Options) *service {
	h := *o.HTTP
	h.Timeout, h.Jar = 0, nil // contexts bound each call; the event stream must not be bounded
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s := &service{name: name, http: &h, log: o.Log, timeout: o.Timeout, maxBody: maxBody, header: o.Header.Clone()}
	if s.header == nil {
		s.header = http.Header{}
	}
	s.authorize(o)
	return s
}

// read gets path and hands the body of the first good answer to decode. An answer that decode refuses is as good as none,
// so the next address is asked; decode must start afresh each time.
func (s *service) read(ctx context.Context, path string, q url.Values, decode func([]byte) error) error {
	k := call{method: http.MethodGet, path: path, query: q}
	return s.do(ctx, k, func(a answer) error { return decode(a.body) })
}

// do makes a call. A read goes from address to address until one answers. A mutation goes to the next only if it was
// certainly not sent.
func (s *service) do(ctx context.Context, k call, decode func(answer) error) error {
	var failures []*Error
	for _, i := range s.order() {
		e := s.ask(ctx, i, k, decode)
		if e == nil {
			return nil
		}
		failures = append(failures, e)
		if ctx.Err() != nil || !e.passOn(k) {
			break
		}
		s.log.DebugContext(ctx, "ask the next address", "service", s.name, "err", e)
	}
	return combine(failures)
}

// passOn reports whether another address may be asked after this failure.
func (e *Error) passOn(k call) bool {
	if k.mutates() {
		return e.Status == 0 && !e.is(ErrAmbiguous)
	}
	return e.is(ErrUnavailable)
}

// combine makes one error of those of several addresses: the last, with the others' reasons before it.
func combine(failures []*Error) error {
	last := failures[len(failures)-1]
	if len(failures) == 1 {
		return last
	}
	return &failover{last: last, earlier: failures[:len(failures)-1]}
}

// failover is a call that failed at several addresses. What it is, the last failure decides.
type failover struct {
	last    *Error
	earlier []*Error
}

func (f *failover) Unwrap() error { return f.last }

func (f *failover) Error() string {
	s := f.last.Error()
	for _, e := range f.earlier {
		s += "; before that at " + e.Address + ": " + e.cause()
	}
	return s
}

// ask makes a call to one address, within the service's timeout.
func (s *service) ask(ctx context.Context, i int, k call, decode func(answer) error) *Error {
	late := fmt.Errorf("nothing within %s", s.timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, late)
	defer cancel()
	at := s.addresses[i]
	if ctx.Err() != nil {
		return unanswered(k, at.String(), false, reason(ctx, ctx.Err()))
	}
	resp, sent, err := s.send(ctx, at, k)
	if err != nil {
		return unanswered(k, at.String(), sent, reason(ctx, err))
	}
	defer resp.Body.Close()
	return s.take(ctx, at, i, k, resp, decode)
}

func (s *service) take(ctx context.Context, at address, i int, k call, resp *http.Response, decode func(answer) error) *Error {
	a := answer{status: resp.StatusCode, header: resp.Header}
	ok := resp.StatusCode/100 == 2
	var err error
	if a.body, err = readBody(resp.Body, s.limit(ok)); err != nil && ok {
		return broken(k, at.String(), a, fmt.Errorf("answer cut short: %w", reason(ctx, err)))
	}
	if err := redirected(k, resp); err != nil {
		return &Error{Method: k.method, Path: k.path, Address: at.String(), Status: a.status, Err: err, kinds: []error{ErrUnavailable}}
	}
	if !ok {
		return refused(k, at.String(), a)
	}
	if err := decode(a); err != nil {
		return broken(k, at.String(), a, err)
	}
	s.prefer(i, resp.Header.Get("X-Marathon-Leader"))
	return nil
}

func (s *service) limit(ok bool) int64 {
	if ok {
		return s.maxBody
	}
	return maxErrorBody
}

// readBody reads a whole body of at most limit bytes. On an error it returns what there was.
func readBody(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		b, err = b[:limit], fmt.Errorf("more than %d bytes", limit)
	}
	return b, err
}

// reason is why a request ended: the context's cause if that ended it, else the transport's error without the method and
// URL that net/http repeats.
func reason(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("the server closed the connection: %w", err)
	}
	return err
}

// send makes a request and follows redirects. sent is false only if no byte of the last request can have reached a server.
func (s *service) send(ctx context.Context, at address, k call) (resp *http.Response, sent bool, err error) {
	target := at.url(k)
	for range maxRedirects {
		resp, sent, err = s.roundTrip(ctx, at, target, k)
		if err != nil || !follows(k, resp.StatusCode) {
			return resp, sent, err
		}
		next, err := location(target, resp)
		resp.Body.Close()
		if err != nil {
			return nil, false, err
		}
		target = next
	}
	return nil, false, fmt.Errorf("more than %d redirects, the last to %s", maxRedirects, target.Redacted())
}

func (s *service) roundTrip(ctx context.Context, at address, target *url.URL, k call) (*http.Response, bool, error) {
	var t tracer
	req, err := http.NewRequestWithContext(t.watch(ctx), k.method, target.String(), bytes.NewReader(k.body))
	if err != nil {
		return nil, false, err
	}
	s.dress(req, at, k)
	resp, err := s.http.Do(req)
	return resp, t.sent(err), err
}

func (s *service) dress(req *http.Request, at address, k call) {
	req.Header = s.header.Clone()
	if at.user != nil {
		password, _ := at.user.Password()
		req.SetBasicAuth(at.user.Username(), password)
	}
	req.Header.Set("Accept", "application/json")
	if k.accept != "" {
		req.Header.Set("Accept", k.accept)
	}
	if k.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
}

// tracer tells whether a request can have left this machine.
type tracer struct {
	wanted, got atomic.Bool
}

func (t *tracer) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { t.wanted.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { t.got.Store(true) },
	})
}

// sent reports whether the request may have been sent. It was not if the transport asked for a connection and got none. A
// dial error proves it too, even after a connection: the transport replaces one under a mutation only while nothing is written.
// A transport that traces nothing proves nothing.
func (t *tracer) sent(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return false
	}
	return t.got.Load() || !t.wanted.Load()
}

// follows reports whether an answer is a redirect to be followed. 301, 302 and 303 after a mutation are not: whether to repeat it
// at the new place or to read there is anyone's guess.
func follows(k call, status int) bool {
	switch status {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		return !k.mutates()
	}
	return false
}

func redirected(k call, resp *http.Response) error {
	if to := resp.Header.Get("Location"); resp.StatusCode/100 == 3 && to != "" {
		return fmt.Errorf("redirects a %s to %s: give that address instead", k.method, to)
	}
	return nil
}

// location resolves where a redirect leads; Mesos writes it without a scheme. A server that was sent the credentials may
// name another to send them to, but not over plain text what came over TLS.
func location(from *url.URL, resp *http.Response) (*url.URL, error) {
	l := resp.Header.Get("Location")
	to, err := from.Parse(l)
	if err != nil || l == "" || to.Host == "" {
		return nil, fmt.Errorf("%d with an unusable Location %q", resp.StatusCode, l)
	}
	if from.Scheme == "https" && to.Scheme != "https" {
		return nil, fmt.Errorf("redirects from TLS to %s, which is not followed", to.Redacted())
	}
	return to, nil
}

// order returns the indices of the addresses, the one that answered last first.
func (s *service) order() []int {
	first, n := int(s.first.Load()), len(s.addresses)
	order := make([]int, n)
	for i := range order {
		order[i] = (first + i) % n
	}
	return order
}

// prefer asks the leader first from now on if it is one of our addresses, else the one that answered. A leader that is not
// among them may have a name that only the cluster resolves.
func (s *service) prefer(answered int, leader string) {
	i := answered
	if u, err := url.Parse(leader); err == nil && leader != "" {
		if l := slices.IndexFunc(s.addresses, func(a address) bool { return a.base.Host == u.Host }); l >= 0 {
			i = l
		}
	}
	s.first.Store(int32(i))
}
