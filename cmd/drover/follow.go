package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/reconcile"
	"github.com/drover-project/drover/register"
	"github.com/drover-project/drover/state"
)

// following watches a controller bring the cluster to what the manifests want.
type following struct {
	a      *applying
	leader string
	nodes  []string // where the agents are
	ui     *progress
	last   map[state.AppID]string // what was said of each app last
	known  map[state.MoveID]bool  // moves that were over before, or have been reported
}

// newsTime is how long a controller may take to see manifests that were just saved.
const newsTime = 5 * time.Second

func newFollowing(a *applying, leader string, o *state.Observed) *following {
	f := &following{a: a, leader: leader, last: map[state.AppID]string{}}
	for _, n := range o.Nodes {
		if n.Answered() {
			f.nodes = append(f.nodes, n.Address)
		}
	}
	return f
}

func (f *following) run(ctx context.Context) error {
	if err := f.agree(ctx); err != nil {
		return err
	}
	fmt.Fprintf(f.a.out, "%s leads and has the same manifests; following it.\n", f.leader)
	f.ui = newProgress(f.a.out)
	err := f.watch(ctx)
	f.ui.close()
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted: %s goes on by itself; drover status shows how far it is", f.leader)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(f.a.out, allDone)
	return nil
}

// agree waits until the controller has the same manifests in force.
func (f *following) agree(ctx context.Context) error {
	if f.a.prune {
		return fmt.Errorf("%s leads, and it removes apps only if the Cluster document says prune: true; say so there, or stop it first", f.leader)
	}
	end := time.Now().Add(newsTime)
	for {
		st, err := f.status(ctx)
		switch {
		case err != nil:
			return err
		case st.Digest == f.a.d.Digest && st.Refusal == "":
			f.remember(st)
			return nil
		case time.Now().After(end) && st.Refusal != "":
			return fmt.Errorf("%s leads and refuses the manifests that it watches:\n%s", f.leader, st.Refusal)
		case time.Now().After(end):
			return fmt.Errorf("%s leads with other manifests than these: change those that it watches, or stop it first", f.leader)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// remember takes note of the moves that are over.
func (f *following) remember(st controller.Status) {
	f.known = map[state.MoveID]bool{}
	for _, m := range st.Moves {
		f.known[m.ID] = !m.Ended.IsZero()
	}
}

// status reads what the controller published; that is nothing yet when it has just begun.
func (f *following) status(ctx context.Context) (controller.Status, error) {
	st, err := readStatus(ctx, f.a.cl.Register)
	if errors.Is(err, register.ErrNotFound) {
		err = nil
	}
	return st, err
}

func (f *following) watch(ctx context.Context) error {
	for {
		st, err := f.status(ctx)
		if err != nil {
			return err
		}
		f.tell(ctx, st)
		if done, err := f.over(ctx, st); done || err != nil {
			return err
		}
		if err := pause(ctx, 300*time.Millisecond); err != nil {
			return err
		}
	}
}

// over reports whether there is nothing left to watch. The controller's word may be older than what was planned here, so it is
// checked.
func (f *following) over(ctx context.Context, st controller.Status) (bool, error) {
	if st.Digest != f.a.d.Digest && st.Digest != "" {
		return false, errors.New("the manifests that the controller watches were changed meanwhile; drover plan shows what is left of these")
	}
	if st.Settled {
		_, p := look(ctx, f.a.cl, f.a.d)
		return !reconcile.Changes(p) && stuck(p) == nil, nil
	}
	if text := allStalled(st); text != "" {
		return false, errors.New(text)
	}
	return false, nil
}

// tell says what is new.
func (f *following) tell(ctx context.Context, st controller.Status) {
	streaming := false
	for _, app := range st.Apps {
		streaming = streaming || sends(app.Step)
		if line := statusLine(app); line != "" && line != f.last[app.App] {
			f.last[app.App] = line
			f.ui.line("%s", line)
		}
	}
	f.streams(ctx, streaming)
	for i := range st.Moves {
		if m := &st.Moves[i]; !m.Ended.IsZero() && !f.known[m.ID] {
			f.known[m.ID] = true
			f.ui.moved(m)
		}
	}
	f.lead(ctx)
}

// lead says when nobody leads any more, and who does then.
func (f *following) lead(ctx context.Context) {
	holder, _, ok, err := f.a.cl.Register.Leader(ctx)
	switch {
	case err != nil:
		return // looked at again
	case !ok:
		holder = ""
	}
	if holder == f.leader {
		return
	}
	f.leader = holder
	if ok {
		f.ui.line("%s leads now", holder)
	} else {
		f.ui.line("the controller has gone; everything waits until one leads again")
		f.leader = ""
	}
}

func sends(k state.StepKind) bool {
	return k == state.Replicate || k == state.Resume || k == state.CatchUp
}

// streams shows how far the streams are, as the sending agents say. One that does not answer is asked again next time.
func (f *following) streams(ctx context.Context, any bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	running := map[streamKey]bool{}
	for _, addr := range f.nodes {
		if !any {
			break
		}
		streams, err := f.a.cl.Agents.Streams(ctx, addr)
		if err != nil {
			return
		}
		for _, s := range streams {
			running[keyOf(s)] = true
			f.ui.stream(s)
		}
	}
	f.ui.finishAll(func(k streamKey) bool { return !running[k] })
}

// statusLine says in one line what an app is at; "" if there is nothing to say.
func statusLine(a controller.AppStatus) string {
	switch {
	case a.Stalled != "":
		return fmt.Sprintf("%-10s is stalled: %s", a.App, plain(a.Stalled))
	case a.Waiting != "":
		return fmt.Sprintf("%-10s waits: %s", a.App, plain(a.Waiting))
	case a.Step != "":
		return strings.TrimSpace(fmt.Sprintf("%-10s %-15s %s", a.App, a.Step, reason(a.Why)))
	}
	return ""
}

// allStalled names what stalls when nothing else is going on.
func allStalled(st controller.Status) string {
	var out []string
	for _, app := range st.Apps {
		if app.Step != "" || app.Waiting != "" {
			return ""
		}
		if app.Stalled != "" {
			out = append(out, string(app.App)+": "+app.Stalled)
		}
	}
	return strings.Join(out, "\n")
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
