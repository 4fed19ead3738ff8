package marathon

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/drover-project/drover/state"
)

// Observe asks Marathon and Mesos, side by side, in a number of calls that does not grow with the cluster: apps with tasks,
// deployments and queue; agents and tasks. A source of which any part did not answer has an error and nothing else: it is
// unknown, not empty. Each carries the time at which it was asked, so what it shows is at least as new.
//
// Both leave out, without a word, what the credentials may not see: give the client credentials that see every app.
func (c *Client) Observe(ctx context.Context) (state.Marathon, state.Mesos) {
	var m state.Marathon
	var z state.Mesos
	var wg sync.WaitGroup
	wg.Go(func() { m = c.observeMarathon(ctx) })
	wg.Go(func() { z = c.mesos.observe(ctx) })
	wg.Wait()
	return m, z
}

func (c *Client) observeMarathon(ctx context.Context) state.Marathon {
	m := state.Marathon{Source: state.Source{At: time.Now()}}
	var list appList
	err := sideBySide(
		func() (err error) { list, err = c.apps(ctx); return err },
		func() (err error) { m.Deployments, err = c.Deployments(ctx); return err },
		func() (err error) { m.Queue, err = c.queue(ctx); return err },
	)
	if err != nil {
		return state.Marathon{Source: state.Source{At: m.At, Err: err.Error()}}
	}
	m.Apps = list.apps
	m.Deployments = addLocks(m.Deployments, list.locks)
	return m
}

func (c *Client) apps(ctx context.Context) (list appList, err error) {
	q := url.Values{"embed": {"apps.tasks", "apps.counts", "apps.deployments"}}
	err = c.marathon.read(ctx, "/v2/apps", q, func(b []byte) error {
		list, err = decodeApps(b)
		return err
	})
	return list, err
}

func (c *Client) queue(ctx context.Context) (queue []state.QueueEntry, err error) {
	err = c.marathon.read(ctx, "/v2/queue", nil, func(b []byte) error {
		queue, err = decodeQueue(b)
		return err
	})
	return queue, err
}

// addLocks adds the deployments that apps name and the list of deployments does not have yet. Both were read side by side: an
// app that was read after its deployment began must not look as if it had settled.
func addLocks(ds []state.Deployment, locks map[string][]state.AppID) []state.Deployment {
	for id, apps := range locks {
		i := slices.IndexFunc(ds, func(d state.Deployment) bool { return d.ID == id })
		if i < 0 {
			ds = append(ds, state.Deployment{ID: id, Apps: slices.Sorted(slices.Values(apps))})
		}
	}
	slices.SortFunc(ds, func(a, b state.Deployment) int { return cmp.Compare(a.ID, b.ID) })
	return ds
}

// sideBySide runs the functions at the same time and returns the first error in the order given: what is down is mostly down for
// all of them, and once is enough to say.
func sideBySide(fs ...func() error) error {
	errs := make([]error, len(fs))
	var wg sync.WaitGroup
	for i, f := range fs {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
