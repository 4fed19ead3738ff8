package marathon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/drover-project/drover/state"
)

// Deployments lists the running deployments. A finished one is not among them, whether it succeeded or was cancelled.
func (c *Client) Deployments(ctx context.Context) ([]state.Deployment, error) {
	var ds []state.Deployment
	err := c.marathon.read(ctx, "/v2/deployments", nil, func(b []byte) (err error) {
		ds, err = decodeDeployments(b)
		return err
	})
	return ds, err
}

func decodeDeployments(b []byte) ([]state.Deployment, error) {
	var js *[]struct {
		ID           string
		Version      timestamp
		AffectedApps []state.AppID
	}
	if err := json.Unmarshal(b, &js); err != nil {
		return nil, err
	}
	if js == nil {
		return nil, errors.New("the answer is no list of deployments")
	}
	var ds []state.Deployment
	for _, j := range *js {
		if j.ID == "" {
			return nil, errors.New("a deployment without an id")
		}
		ds = append(ds, state.Deployment{ID: j.ID, Version: j.Version.Time, Apps: j.AffectedApps})
	}
	return ds, nil
}

// CancelDeployment ends a deployment. Without force it starts, and returns, another that goes back to the state before; for a
// creation that one deletes the app. With force it only stops: the app keeps the new definition, partly carried out, and the zero
// Deployment is returned. ErrNotFound means that it is over.
func (c *Client) CancelDeployment(ctx context.Context, id string, force bool) (state.Deployment, error) {
	if id == "" {
		return state.Deployment{}, fmt.Errorf("cancel deployment: %w: no id", ErrInvalid)
	}
	k := call{
		method: http.MethodDelete, path: "/v2/deployments/" + url.PathEscape(id),
		query: flags(map[string]bool{"force": force}),
	}
	if !force {
		return c.change(ctx, k)
	}
	return state.Deployment{}, c.marathon.do(ctx, k, func(answer) error { return nil })
}

// The pause between two looks at the deployments grows from the first to the second of these.
const (
	pollFirst = 50 * time.Millisecond
	pollLast  = time.Second
)

// WaitDeployment returns when a deployment that Marathon accepted is over, which does not say that it succeeded: look at the
// app. It waits out times when Marathon does not answer. A deployment can take for ever; ctx bounds it, and its error is then
// wrapped. While Watch runs, an event cuts the pause between two looks short.
func (c *Client) WaitDeployment(ctx context.Context, id string) error {
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(pollFirst), backoff.WithMaxInterval(pollLast), backoff.WithMaxElapsedTime(0))
	for {
		changed := c.pulse.next() // before the look: a change during it must not be missed
		runs, err := c.runs(ctx, id)
		if err == nil && !runs {
			return nil
		}
		if err != nil && !errors.Is(err, ErrUnavailable) {
			return fmt.Errorf("wait for deployment %s: %w", id, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for deployment %s: %w", id, errors.Join(context.Cause(ctx), err))
		case <-changed:
		case <-time.After(pause.NextBackOff()):
		}
	}
}

func (c *Client) runs(ctx context.Context, id string) (bool, error) {
	ds, err := c.Deployments(ctx)
	return slices.ContainsFunc(ds, func(d state.Deployment) bool { return d.ID == id }), err
}

// pulse wakes all who wait for the next beat.
type pulse struct {
	mu   sync.Mutex
	wait chan struct{}
}

// next returns a channel that is closed at the next beat.
func (p *pulse) next() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wait == nil {
		p.wait = make(chan struct{})
	}
	return p.wait
}

func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wait != nil {
		close(p.wait)
		p.wait = nil
	}
}
