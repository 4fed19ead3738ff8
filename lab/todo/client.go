package todo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Client talks to a to-do list, db or web. Every request may be repeated (see the package's invariants), so
// while the list does not answer, or answers 502, 503 or 504, it asks again: a database that moves is a
// pause to it and not an error.
type Client struct {
	// Base is the URL of the list, http://host:port.
	Base string
	// Patience is how long a request is repeated altogether; 0 asks once.
	Patience time.Duration
	// Attempt bounds one try, so that a connection to a node that is gone does not use up the patience.
	Attempt time.Duration
	// HTTP carries the requests; its own Timeout is not needed.
	HTTP *http.Client
}

// NewClient returns a client of the list at base.
func NewClient(base string, patience, attempt time.Duration) *Client {
	return &Client{Base: strings.TrimRight(base, "/"), Patience: patience, Attempt: attempt,
		HTTP: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute}}}
}

// Refusal is an answer other than success, with what the list said about it.
type Refusal struct {
	Status int
	Text   string
}

// Error gives the status and the list's own words.
func (r *Refusal) Error() string { return fmt.Sprintf("%d: %s", r.Status, r.Text) }

// passing says whether the same request may succeed a moment later.
func (r *Refusal) passing() bool {
	return r.Status == http.StatusBadGateway || r.Status == http.StatusServiceUnavailable ||
		r.Status == http.StatusGatewayTimeout
}

// Answer is what came with a successful request, beside its body.
type Answer struct {
	Status int
	// Node is where the database runs, if the list says so.
	Node string
	// Total and Completed count the whole list; only List has them.
	Total, Completed int
}

// List reads the to-dos that q selects.
func (c *Client) List(ctx context.Context, q Query) ([]Todo, Answer, error) {
	var todos []Todo
	a, err := c.do(ctx, http.MethodGet, "/"+q.encode(), nil, &todos)
	return todos, a, err
}

// Get reads one to-do.
func (c *Client) Get(ctx context.Context, id string) (t Todo, a Answer, err error) {
	a, err = c.do(ctx, http.MethodGet, "/"+id, nil, &t)
	return t, a, err
}

// Add adds t, or returns what is stored already under its id.
func (c *Client) Add(ctx context.Context, t Todo) (stored Todo, a Answer, err error) {
	a, err = c.do(ctx, http.MethodPost, "/", t, &stored)
	return stored, a, err
}

// Change sets the fields of one to-do that change names.
func (c *Client) Change(ctx context.Context, id string, change Change) (t Todo, a Answer, err error) {
	a, err = c.do(ctx, http.MethodPatch, "/"+id, change, &t)
	return t, a, err
}

// Remove removes one to-do.
func (c *Client) Remove(ctx context.Context, id string) (Answer, error) {
	return c.do(ctx, http.MethodDelete, "/"+id, nil, nil)
}

// Clear removes all to-dos, or all that are completed.
func (c *Client) Clear(ctx context.Context, onlyCompleted bool) (Answer, error) {
	var q Query
	if onlyCompleted {
		q.Completed = &onlyCompleted
	}
	return c.do(ctx, http.MethodDelete, "/"+q.encode(), nil, nil)
}

func (q Query) encode() string {
	var parts []string
	if q.Completed != nil {
		parts = append(parts, "completed="+strconv.FormatBool(*q.Completed))
	}
	if q.Last > 0 {
		parts = append(parts, "last="+strconv.Itoa(q.Last))
	}
	if len(parts) == 0 {
		return ""
	}
	return "?" + strings.Join(parts, "&")
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) (Answer, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if in == nil {
		body = nil
	}
	try := func() (Answer, error) { return c.try(ctx, method, path, body, out) }
	if c.Patience <= 0 {
		return try()
	}
	return backoff.RetryWithData(func() (Answer, error) {
		a, err := try()
		var refused *Refusal
		if errors.As(err, &refused) && !refused.passing() {
			return a, backoff.Permanent(err)
		}
		return a, err
	}, backoff.WithContext(pace(c.Patience), ctx))
}

// pace asks again soon and stays soon: what it waits after the list is back is added to the outage.
func pace(patience time.Duration) backoff.BackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(10*time.Millisecond),
		backoff.WithMaxInterval(80*time.Millisecond),
		backoff.WithMaxElapsedTime(patience))
}

// try asks once. Its error is a *Refusal if the list answered.
func (c *Client) try(ctx context.Context, method, path string, body []byte, out any) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Attempt)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, bytes.NewReader(body))
	if err != nil {
		return Answer{}, backoff.Permanent(err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	// The whole body is read before anything is believed: an answer that was cut is no answer.
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: read answer: %w", method, path, err)
	}
	return readAnswer(resp, text, out)
}

func readAnswer(resp *http.Response, text []byte, out any) (Answer, error) {
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return Answer{}, refusal(resp.StatusCode, text)
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			return Answer{}, fmt.Errorf("answer of %s: %w", resp.Request.URL, err)
		}
	}
	a := Answer{Status: resp.StatusCode, Node: resp.Header.Get(HeaderNode)}
	a.Total = count(resp.Header, HeaderTotal)
	a.Completed = count(resp.Header, HeaderCompleted)
	return a, nil
}

// count reads a number that only some answers have.
func count(h http.Header, name string) int {
	n, err := strconv.Atoi(h.Get(name))
	if err != nil {
		return 0
	}
	return n
}

func refusal(status int, text []byte) *Refusal {
	var p problem
	if json.Unmarshal(text, &p) != nil || p.Error == "" {
		p.Error = http.StatusText(status)
	}
	return &Refusal{Status: status, Text: p.Error}
}
