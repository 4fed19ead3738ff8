package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/drover-project/drover/agent"
	"github.com/drover-project/drover/marathon"
	"github.com/drover-project/drover/reconcile"
	"github.com/drover-project/drover/state"
)

// slice is how long a step that waits (for an app to stop, or to be ready) waits before the rules look again: they watch the
// budget.
const slice = time.Second

// poll is the pause between two looks at one app during a slice.
const poll = 25 * time.Millisecond

// doer carries out steps and keeps one app's view of the cluster true while it does: o is changed by what each step is
// predicted to do, and then by what the agent or Marathon said it did.
type doer struct {
	c    *Cluster
	mem  *memory
	term state.Term
	d    *state.Desired

	mu sync.Mutex // for o, while steps of agents go side by side; other steps are done alone
	o  *state.Observed
}

// do carries out one step.
func (w *doer) do(ctx context.Context, s state.Step) error {
	switch s.Kind {
	case state.ClaimVolume, state.RecordBirth:
		return w.register(ctx, s)
	case state.HoldConnections, state.SetRoutes:
		return w.gates(ctx, s)
	case state.StopApp:
		return w.stop(ctx, s)
	case state.VerifyReady:
		return w.verify(ctx, s)
	case state.StartApp, state.DeployApp, state.ScaleApp:
		return w.deploy(ctx, s)
	case state.RemoveApp:
		_, err := w.c.Marathon.DeleteApp(ctx, s.App, false)
		if errors.Is(err, marathon.ErrNotFound) {
			err = nil
		}
		return w.done(s, err)
	default:
		return w.agent(ctx, s)
	}
}

// done predicts a step's effect once it is known to have been done.
func (w *doer) done(s state.Step, err error) error {
	if err == nil {
		reconcile.Predict(w.o, s, time.Now())
	}
	return err
}

func (w *doer) register(ctx context.Context, s state.Step) error {
	if s.Kind == state.RecordBirth {
		return w.done(s, w.c.Register.RecordCreated(ctx, s.Volume, s.UUID))
	}
	if s.UUID == "" {
		s.UUID = state.UUID(uuid.NewString())
	}
	b, err := w.c.Register.Claim(ctx, state.Birth{Volume: s.Volume, UUID: s.UUID, Node: s.Node})
	if err != nil {
		return err
	}
	s.UUID, s.Node = b.UUID, b.Node
	return w.done(s, nil)
}

// gates sets the routes of one app on every node that needs it, side by side. A gate that cannot be reached is left: it
// holds no volume, and is set when it answers again.
func (w *doer) gates(ctx context.Context, s state.Step) error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, id := range s.Nodes {
		n := w.o.Nodes[id]
		wg.Go(func() {
			one := s
			one.Node, one.Nodes = id, nil
			r, err := w.c.Agents.Do(ctx, n.Address, w.term, one)
			mu.Lock()
			defer mu.Unlock()
			w.gateDone(ctx, n, s, r, err)
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (w *doer) gateDone(ctx context.Context, n *state.Node, s state.Step, r agent.Result, err error) {
	switch {
	case err != nil:
		w.c.Log.WarnContext(ctx, "a gate was not set", "app", s.App, "node", n.Hostname, "err", err)
		n.Err = err.Error()
	case r.Gate != nil:
		n.Gate = *r.Gate
	}
}

// stop takes the app down and waits, for a slice, until Marathon lists no task and the node sees nobody in the volume.
func (w *doer) stop(ctx context.Context, s state.Step) error {
	w.mem.stopped(s.App, time.Now())
	if !reconcile.Held(w.o, s.App) {
		if err := w.put(ctx, s); err != nil {
			return err
		}
	}
	// Both at once: the one sees the end of the task as late as the other. Should somebody begin to use a volume after its node
	// was asked, the fence refuses it.
	var g errgroup.Group
	g.Go(func() error {
		return w.await(ctx, s.App, func() bool {
			live := w.o.Marathon.Apps[s.App]
			return live == nil || !slices.ContainsFunc(live.Tasks, func(t state.Task) bool { return t.State != state.TaskUnreachable })
		})
	})
	w.unused(ctx, s, &g)
	return g.Wait()
}

// unused asks the node who uses the app's volumes, each beside the others: that they are free is seen as soon as they are.
func (w *doer) unused(ctx context.Context, s state.Step, g *errgroup.Group) {
	n := w.o.Nodes[s.Node]
	for i := range n.Copies {
		c := &n.Copies[i]
		if c.Volume != s.Lead && c.Lead != s.Lead {
			continue
		}
		g.Go(func() error {
			users, err := w.c.Agents.AwaitUnused(ctx, n.Address, c.UUID, slice)
			if err != nil {
				return fmt.Errorf("ask %s who uses volume %s: %w", n.Hostname, c.Volume, err)
			}
			c.Users = users
			return nil
		})
	}
}

// verify waits, for a slice, until the app is ready. Its node's agent asks it what Marathon's health checks would ask, but
// sooner and more often; Marathon's own word is as good.
func (w *doer) verify(ctx context.Context, s state.Step) error {
	n := w.o.Nodes[s.Node]
	if len(s.Probes) == 0 || n == nil {
		ran := w.running(s.App)
		return w.await(ctx, s.App, func() bool { return reconcile.Ready(w.d, w.o, s.App) || !ran && w.running(s.App) })
	}
	asked := w.tasksOn(s.App, n.Hostname)
	answers, why, err := w.c.Agents.AwaitAnswers(ctx, n.Address, s.Probes, slice)
	if err != nil {
		return fmt.Errorf("ask whether %s answers on %s: %w", s.App, n.Hostname, err)
	}
	if err := w.refresh(ctx, s.App); err != nil {
		return err
	}
	if !answers {
		w.c.Log.DebugContext(ctx, "not ready yet", "app", s.App, "node", n.Hostname, "err", why)
		return nil
	}
	w.answered(s.App, asked)
	return nil
}

// tasksOn names an app's tasks that run on a host.
func (w *doer) tasksOn(app state.AppID, host state.Hostname) map[string]bool {
	ids := map[string]bool{}
	if live := w.o.Marathon.Apps[app]; live != nil {
		for _, t := range live.Tasks {
			ids[t.ID] = t.State == state.TaskRunning && t.Host == host
		}
	}
	return ids
}

// answered counts the tasks that were asked as healthy, if they are still there. The plan's own prediction would not do: it
// makes up a task, and the gates would lead to its port.
func (w *doer) answered(app state.AppID, asked map[string]bool) {
	live := w.o.Marathon.Apps[app]
	if live == nil {
		return
	}
	for i := range live.Tasks {
		if t := &live.Tasks[i]; asked[t.ID] && t.State == state.TaskRunning {
			t.Health = state.Healthy
		}
	}
}

// running reports whether a task of the app runs, whose ports are known then: the rules may name probes now.
func (w *doer) running(app state.AppID) bool {
	live := w.o.Marathon.Apps[app]
	return live != nil && slices.ContainsFunc(live.Tasks, func(t state.Task) bool { return t.State == state.TaskRunning })
}

// await re-reads one app until ok, at most for a slice. Running out of the slice is no error: the rules look again.
func (w *doer) await(ctx context.Context, app state.AppID, ok func() bool) error {
	end := time.Now().Add(slice)
	for {
		if err := w.refresh(ctx, app); err != nil {
			return err
		}
		if ok() || time.Now().After(end) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(poll):
		}
	}
}

// refresh re-reads one app from Marathon.
func (w *doer) refresh(ctx context.Context, id state.AppID) error {
	live, err := w.c.Marathon.App(ctx, id)
	switch {
	case errors.Is(err, marathon.ErrNotFound):
		delete(w.o.Marathon.Apps, id)
		return nil
	case err != nil:
		return fmt.Errorf("read %s: %w", id, err)
	}
	w.o.Marathon.Apps[id] = live
	return nil
}

func (w *doer) deploy(ctx context.Context, s state.Step) error {
	if err := w.put(ctx, s); err != nil {
		return err
	}
	return w.refresh(ctx, s.App)
}

// put sends a definition, or the number of instances alone. If the app turns out to be locked, the deployments are read again:
// the rules decide whether the lock is our own.
func (w *doer) put(ctx context.Context, s state.Step) error {
	body, o := s.Definition, marathon.PutOptions{Force: s.Force}
	if s.Kind == state.ScaleApp {
		body, o.Partial = fmt.Appendf(nil, `{"instances":%d}`, s.Instances), true
	}
	_, err := w.c.Marathon.PutApp(ctx, s.App, body, o)
	if errors.Is(err, marathon.ErrLocked) {
		if deps, derr := w.c.Marathon.Deployments(ctx); derr == nil {
			w.o.Marathon.Deployments = deps
		}
	}
	return w.done(s, err)
}

// agent has the step's node do it, and takes over what the agent read back.
func (w *doer) agent(ctx context.Context, s state.Step) error {
	n := w.o.Nodes[s.Node]
	if n == nil {
		return fmt.Errorf("%s of volume %s: node %s is not known", s.Kind, s.Volume, s.Node)
	}
	r, err := w.c.Agents.Do(ctx, n.Address, w.term, s)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		if e := (*agent.Error)(nil); errors.As(err, &e) && e.Copy != nil {
			replace(n, e.Copy)
		}
		return err
	}
	reconcile.Predict(w.o, s, time.Now())
	replace(n, r.Copy)
	if peer := w.o.Nodes[s.Peer]; peer != nil {
		replace(peer, r.Peer)
	}
	if s.Kind == state.SaveGrace {
		w.mem.saved(s.App)
	}
	return nil
}

// missed notes who still uses an app's volumes if a step gives up its cutover.
func (w *doer) missed(s state.Step) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if reconcile.Missed(w.o, s) {
		w.mem.lingering(s.App, reconcile.Lingering(w.o, s))
	}
}

// replace puts a copy as it was read back in the place of what was known of it.
func replace(n *state.Node, c *state.Copy) {
	if c == nil {
		return
	}
	for i := range n.Copies {
		if n.Copies[i].UUID == c.UUID {
			n.Copies[i] = *c
			return
		}
	}
	n.Copies = append(n.Copies, *c)
}
