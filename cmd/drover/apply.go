package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/reconcile"
	"github.com/drover-project/drover/register"
	"github.com/drover-project/drover/state"
)

func (c *cli) apply() *cobra.Command {
	var yes, prune bool
	cmd := &cobra.Command{
		Use:   "apply [-f FILE]...",
		Short: "carry out the plan from here, with progress, and return when the cluster is as wanted",
		Long: `Carry out the plan from here. Where a controller already leads, it is the controller that acts: if its manifests are
the same, apply follows what it does; if they are others, apply says so and does nothing.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := c.desired(prune)
			if err != nil {
				return err
			}
			cl, err := c.cluster(c.quiet())
			if err != nil {
				return err
			}
			return (&applying{c: c, cl: cl, d: d, out: cmd.OutOrStdout(), yes: yes}).run(cmd.Context())
		},
	}
	c.manifestFlag(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask before an outage or a deletion")
	cmd.Flags().BoolVar(&prune, "prune", false, "remove apps that left the manifests; their volumes stay")
	return cmd
}

// applying is one run of apply.
type applying struct {
	c   *cli
	cl  *controller.Cluster
	d   *state.Desired
	out io.Writer
	yes bool
}

func (a *applying) run(ctx context.Context) error {
	o, p := look(ctx, a.cl, a.d)
	fmt.Fprint(a.out, reconcile.Format(p, o))
	if !reconcile.Changes(p) {
		return stuck(p)
	}
	if leader, st, ok := a.leader(ctx); ok {
		if st.Digest != a.d.Digest {
			return fmt.Errorf("%s leads with other manifests than these; change the manifests that it watches, or stop it first", leader)
		}
		fmt.Fprintf(a.out, "%s leads and has the same manifests; following it\n", leader)
		return a.follow(ctx)
	}
	if err := a.ask(p); err != nil {
		return err
	}
	ui := newProgress(a.out)
	ctl := controller.New(controller.Options{Cluster: a.cl, Name: whoAmI("apply"), OnEvent: ui.event, Log: a.c.quiet()})
	err := ctl.Apply(ctx, a.d)
	ui.close()
	if err != nil {
		return err
	}
	fmt.Fprintln(a.out, "Done: the cluster is as the manifests want it.")
	return nil
}

// stuck makes what stalls in a plan without steps an error.
func stuck(p state.Plan) error {
	for _, a := range p.Apps {
		if a.Stalled != "" || a.Waiting != "" {
			return errors.New("not everything is as wanted; see above")
		}
	}
	return nil
}

// leader returns who leads and what it published last.
func (a *applying) leader(ctx context.Context) (string, controller.Status, bool) {
	holder, _, ok, err := a.cl.Register.Leader(ctx)
	if err != nil || !ok {
		return "", controller.Status{}, false
	}
	st, err := readStatus(ctx, a.cl.Register)
	if err != nil {
		return holder, controller.Status{}, true
	}
	return holder, st, true
}

// follow watches a controller do it.
func (a *applying) follow(ctx context.Context) error {
	said := map[string]bool{}
	for {
		st, err := readStatus(ctx, a.cl.Register)
		if err != nil && !errors.Is(err, register.ErrNotFound) {
			return err
		}
		for _, app := range st.Apps {
			if line := statusLine(app); line != "" && !said[line] {
				said[line] = true
				fmt.Fprintf(a.out, "  %s\n", line)
			}
		}
		if st.Settled && st.Digest == a.d.Digest {
			fmt.Fprintln(a.out, "Done: the cluster is as the manifests want it.")
			return nil
		}
		if stalled := allStalled(st); stalled != "" {
			return errors.New(stalled)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(300 * time.Millisecond):
		}
	}
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

// ask has a person agree to an outage or a deletion.
func (a *applying) ask(p state.Plan) error {
	if a.yes || !grave(p) {
		return nil
	}
	fmt.Fprint(a.out, "This stops apps or removes something. Go on? (only \"yes\" is taken): ")
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(line) != "yes" {
		return errors.New("nothing was changed: not confirmed (--yes goes on without asking)")
	}
	return nil
}

func grave(p state.Plan) bool {
	for _, a := range p.Apps {
		for _, s := range a.Steps {
			if s.Outage && s.Kind != state.VerifyReady || s.Kind == state.RemoveApp {
				return true
			}
		}
	}
	return false
}

func whoAmI(what string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s on %s (process %d)", what, host, os.Getpid())
}
