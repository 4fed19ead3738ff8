package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/drover-project/drover/state"
)

// Client asks agents. It is safe for concurrent use and keeps connections open between calls.
type Client struct {
	http *http.Client
	log  *slog.Logger
}

// NewClient returns a client that talks TLS by config, which must carry a certificate of the role that the calls need.
func NewClient(config *tls.Config, log *slog.Logger) *Client {
	return &Client{http: &http.Client{Transport: newTransport(config)}, log: log}
}

func newTransport(config *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAliveConfig: keepAlive, Control: vanishing}
	return &http.Transport{
		DialContext:         dialer.DialContext,
		TLSClientConfig:     config.Clone(),
		TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConnsPerHost: 8, // a cutover runs several steps side by side
		IdleConnTimeout:     5 * time.Minute,
		Protocols:           onlyHTTP1(),
	}
}

// onlyHTTP1 keeps HTTP/2 away: streams take their connection over, and one lost packet must not stall several calls.
func onlyHTTP1() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return p
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Node returns what the agent at addr (host:port) sees. Errors: ErrUnreachable, or what the agent said.
func (c *Client) Node(ctx context.Context, addr string) (*state.Node, error) {
	n := new(state.Node)
	if err := c.get(ctx, addr, pathNode, nil, n); err != nil {
		return nil, err
	}
	return n, nil
}

// Copy returns the agent's copy of one volume, read afresh. Errors: ErrNotFound, ErrUnreachable.
func (c *Client) Copy(ctx context.Context, addr string, uuid state.UUID) (*state.Copy, error) {
	cp := new(state.Copy)
	if err := c.get(ctx, addr, pathCopy, url.Values{"uuid": {string(uuid)}}, cp); err != nil {
		return nil, err
	}
	return cp, nil
}

// Streams returns the streams that the agent sends now. It costs the node no command. Errors: ErrUnreachable.
func (c *Client) Streams(ctx context.Context, addr string) ([]state.Stream, error) {
	var out []state.Stream
	err := c.get(ctx, addr, pathStreams, nil, &out)
	return out, err
}

// AwaitAnswers has the agent ask the probes until all are answered, at most for wait. why says what kept it from being
// answered. Errors: ErrUnreachable, ErrBadRequest.
func (c *Client) AwaitAnswers(ctx context.Context, addr string, probes []state.Probe, wait time.Duration) (answers bool, why string, err error) {
	var r answersReply
	err = c.send(ctx, http.MethodPost, addr, pathAnswers, question{Probes: probes, Wait: wait}, &r)
	return r.Answers, r.Why, err
}

// SetLimits replaces the agent's bandwidth limits, in bytes per second. They apply to running streams at once, and are gone when
// the agent starts again; its observation says which it has. Errors: ErrStaleTerm, ErrBadRequest, ErrUnreachable, ErrUnknown.
func (c *Client) SetLimits(ctx context.Context, addr string, term state.Term, l state.Limits) error {
	var set state.Limits
	return c.send(ctx, http.MethodPut, addr, pathLimits, limitsRequest{Term: term, Limits: l}, &set)
}

// AwaitUnused waits until no process on the node uses the volume, at most for wait, and returns who still does: no users
// and no error means that the agent saw nobody. Errors: ErrNotFound, ErrUnreachable.
func (c *Client) AwaitUnused(ctx context.Context, addr string, uuid state.UUID, wait time.Duration) ([]state.User, error) {
	var r unusedReply
	err := c.get(ctx, addr, pathUnused, url.Values{"uuid": {string(uuid)}, "wait": {wait.String()}}, &r)
	if err != nil {
		return nil, err
	}
	for _, note := range r.Notes {
		c.log.Debug("users may be incomplete", "uuid", uuid, "note", note)
	}
	return r.Users, nil
}

// Do has the agent carry out one step and returns when it is done; a stream may take hours, and ends at the agent even
// if ctx is cancelled here. The errors are those of this package: errors.Is(err, ErrUnexpected) and so on. After
// ErrUnknown and ErrUnreachable the step may be sent again: every step is guarded where it happens.
func (c *Client) Do(ctx context.Context, addr string, term state.Term, step state.Step) (Result, error) {
	var r Result
	err := c.send(ctx, http.MethodPost, addr, pathStep, Request{Term: term, Step: step}, &r)
	return r, err
}

// send sends v as JSON.
func (c *Client) send(ctx context.Context, method, addr, path string, v, into any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the request to %s: %w", path, err)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+addr+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("agent %s: %w", addr, err)
	}
	req.Header.Set("Content-Type", "application/json")
	return c.do(req, into)
}

func (c *Client) get(ctx context.Context, addr, path string, query url.Values, into any) error {
	u := url.URL{Scheme: "https", Host: addr, Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fmt.Errorf("agent %s: %w", addr, err)
	}
	return c.do(req, into)
}

// do sends req and decodes a 200's body; everything else becomes an *Error.
func (c *Client) do(req *http.Request, into any) error {
	resp, err := c.http.Do(req)
	if err != nil {
		return networkError(req, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return decodeError(req, resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return networkError(req, err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("agent %s: reply to %s: %w", req.URL.Host, req.URL.Path, err)
	}
	return nil
}

// networkError tells a request that cannot have had an effect from one that may have.
func networkError(req *http.Request, err error) error {
	if cause := context.Cause(req.Context()); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	if dial := (*net.OpError)(nil); req.Method == http.MethodGet || errors.As(err, &dial) && dial.Op == "dial" {
		return errorf(CodeUnreachable, "agent %s does not answer: %w", req.URL.Host, unwrapURL(err))
	}
	return errorf(CodeUnknown, "agent %s: the connection broke before it answered: %w", req.URL.Host, unwrapURL(err))
}

// unwrapURL drops the method and address that net/http puts before the cause.
func unwrapURL(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}

// decodeError reads an agent's error body; a body of somebody else (a proxy, say) is quoted.
func decodeError(req *http.Request, resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRequest))
	if err != nil {
		return networkError(req, err)
	}
	e := new(Error)
	if err := json.Unmarshal(body, e); err != nil || e.Code == "" {
		return errorf(CodeInternal, "agent %s answered %s: %.200q", req.URL.Host, resp.Status, body)
	}
	return e
}
