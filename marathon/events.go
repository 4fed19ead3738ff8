package marathon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/drover-project/drover/state"
)

// The names of events that matter here. Marathon has more; all are passed on.
const (
	// Resync is not Marathon's: the stream was (re)connected, and whatever happened before may have been missed.
	Resync = "resync"

	StatusUpdate      = "status_update_event"
	AppTerminated     = "app_terminated_event"
	HealthChanged     = "health_status_changed_event"
	DeploymentInfo    = "deployment_info"
	DeploymentSuccess = "deployment_success"
	DeploymentFailed  = "deployment_failed"

	attached = "event_stream_attached"
)

// Event is a hint that something changed. It may be lost, late, doubled or out of order: look before acting on it.
type Event struct {
	Name       string
	App        state.AppID     // "" if the event names none
	Task       string          // task id, "" if the event names none
	State      state.TaskState // of a StatusUpdate
	Deployment string          // id, for DeploymentInfo, DeploymentSuccess and DeploymentFailed
	Data       json.RawMessage // the whole payload; nil for Resync, and for one that is no JSON or longer than 16 MiB
}

type eventJSON struct {
	EventType  string
	AppID      state.AppID
	RunSpecID  state.AppID
	TaskID     string
	TaskStatus string
	ID         string
	Plan       struct{ ID string }
}

// event reads what it can of a frame. One that cannot be read is a hint all the same.
func (fr frame) event() Event {
	e := Event{Name: fr.name}
	if !json.Valid(fr.data) {
		return e
	}
	var j eventJSON
	_ = json.Unmarshal(fr.data, &j) // valid JSON: at most fields of another type, which stay empty
	e.Data, e.App, e.Task, e.State = fr.data, j.AppID, j.TaskID, taskState(j.TaskStatus)
	if e.Name == "" {
		e.Name = j.EventType
	}
	if e.App == "" {
		e.App = j.RunSpecID
	}
	if strings.HasPrefix(e.Name, "deployment_") {
		e.Deployment = j.deployment()
	}
	return e
}

func (j eventJSON) deployment() string {
	if j.Plan.ID != "" {
		return j.Plan.ID
	}
	return j.ID
}

// The pause before a reconnection grows from the first to the second of these.
const (
	reconnectFirst = 200 * time.Millisecond
	reconnectLast  = 15 * time.Second
)

var errStreamEnded = errors.New("the server ended the event stream")

// Watch calls onEvent, one call at a time, for every event of the given types, of all types if none is given, and with a Resync
// after each connection. It reconnects with growing pauses whenever the stream breaks, is refused, or is silent for longer than
// Options.Silence. It returns when ctx ends, with ctx's cause. A slow onEvent makes Marathon drop events or close the stream.
//
// Right after a Resync comes Marathon's own event_stream_attached. From then on the stream misses nothing, so it is a reason to
// look again too; a filter does not keep it out.
func (c *Client) Watch(ctx context.Context, onEvent func(Event), types ...string) error {
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(reconnectFirst), backoff.WithMaxInterval(reconnectLast), backoff.WithMaxElapsedTime(0))
	for ctx.Err() == nil {
		heard, err := c.stream(ctx, types, onEvent)
		if ctx.Err() != nil {
			break
		}
		if heard {
			pause.Reset()
		}
		wait := pause.NextBackOff()
		c.log.WarnContext(ctx, "event stream lost", "err", err, "retry", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return context.Cause(ctx)
}

// stream connects to the first address that lets it and passes events on until the stream breaks. heard reports whether an event
// of Marathon's came through it.
func (c *Client) stream(ctx context.Context, types []string, onEvent func(Event)) (heard bool, err error) {
	var failures []*Error
	for _, i := range c.marathon.order() {
		e := c.listen(ctx, i, types, func(ev Event) {
			heard = heard || ev.Name != Resync
			c.deliver(ev, onEvent)
		})
		if failures = append(failures, e); heard || ctx.Err() != nil {
			return heard, e
		}
	}
	return false, combine(failures)
}

// deliver passes an event on, after waking those who wait for a deployment.
func (c *Client) deliver(e Event, onEvent func(Event)) {
	if e.Name == Resync || strings.HasPrefix(e.Name, "deployment_") {
		c.pulse.beat()
	}
	onEvent(e)
}

// listen reads the event stream of one address until it breaks.
func (c *Client) listen(ctx context.Context, i int, types []string, onEvent func(Event)) *Error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dog := time.AfterFunc(c.silence, func() { cancel(fmt.Errorf("nothing on the event stream within %s", c.silence)) })
	defer dog.Stop()

	k, at := eventsCall(types), c.marathon.addresses[i]
	resp, _, err := c.marathon.send(ctx, at, k)
	if err != nil {
		return unanswered(k, at.String(), false, reason(ctx, err))
	}
	defer resp.Body.Close()
	if e := checkStream(k, at, resp); e != nil {
		return e
	}
	onEvent(Event{Name: Resync})
	err = pass(&watched{r: resp.Body, heard: func() { dog.Reset(c.silence) }}, onEvent)
	return broken(k, at.String(), answer{status: resp.StatusCode}, reason(ctx, err))
}

func eventsCall(types []string) call {
	q := url.Values{"plan-format": {"light"}} // else 1.5 and 1.6 send whole group trees with every deployment event
	if len(types) > 0 {
		q["event_type"] = append([]string{attached}, types...)
	}
	return call{method: http.MethodGet, path: "/v2/events", query: q, accept: "text/event-stream"}
}

// checkStream refuses an answer that is no event stream, such as a proxy's login page.
func checkStream(k call, at address, resp *http.Response) *Error {
	form, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode == http.StatusOK && form == "text/event-stream" {
		return nil
	}
	body, _ := readBody(resp.Body, maxErrorBody) // what there is explains enough
	a := answer{status: resp.StatusCode, body: body}
	if resp.StatusCode/100 != 2 {
		return refused(k, at.String(), a)
	}
	return broken(k, at.String(), a, fmt.Errorf("%q instead of an event stream", form))
}

func pass(r io.Reader, onEvent func(Event)) error {
	frames := newFrameReader(r)
	for {
		f, err := frames.next()
		if errors.Is(err, io.EOF) {
			return errStreamEnded
		}
		if err != nil {
			return err
		}
		onEvent(f.event())
	}
}

// watched tells when anything was read, a bare keep-alive included.
type watched struct {
	r     io.Reader
	heard func()
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.heard()
	}
	return n, err
}
