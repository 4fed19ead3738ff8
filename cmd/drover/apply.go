package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/reconcile"
	"github.com/drover-project/drover/state"
)

func (c *cli) apply() *cobra.Command {
	var yes, prune bool
	cmd := &cobra.Command{
		Use:   "apply [-f FILE]...",
		Short: "carry out the plan from here, with progress, and return when the cluster is as wanted",
		Long: `Carry out the plan from here. Where a controller already leads, it is the controller that acts: if its manifests are
the same, apply follows what it does; if they are others, apply says so and does nothing.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := c.desired(false)
			if err != nil {
				return err
			}
			declared := d.Cluster.Prune
			d.Cluster.Prune = declared || prune
			cl, err := c.cluster(c.quiet())
			if err != nil {
				return err
			}
			return (&applying{c: c, cl: cl, d: d, in: cmd.InOrStdin(), out: cmd.OutOrStdout(), yes: yes, prune: prune && !declared}).run(cmd.Context())
		},
	}
	c.manifestFlag(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask before an outage or a deletion")
	cmd.Flags().BoolVar(&prune, "prune", false, "remove apps that left the manifests; their volumes stay")
	return cmd
}

// applying is one run of apply.
type applying struct {
	c     *cli
	cl    *controller.Cluster
	d     *state.Desired
	in    io.Reader
	out   io.Writer
	yes   bool
	prune bool // asked for here, and not in the manifests
}

func (a *applying) run(ctx context.Context) error {
	o, p := look(ctx, a.cl, a.d)
	fmt.Fprint(a.out, plain(reconcile.Format(p, o)))
	if !reconcile.Changes(p) {
		return stuck(p)
	}
	holder, _, led, err := a.cl.Register.Leader(ctx)
	if err != nil {
		return err
	}
	if led {
		return newFollowing(a, holder, o).run(ctx)
	}
	if err := a.ask(ctx, p); err != nil {
		return err
	}
	ui := newProgress(a.out)
	ctl := controller.New(controller.Options{Cluster: a.cl, Name: whoAmI("apply"), OnEvent: ui.event, Log: a.c.silent()})
	err = ctl.Apply(ctx, a.d)
	ui.close()
	if ctx.Err() != nil {
		return errors.New("interrupted: what was under way is taken up again by the next drover apply or controller")
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(a.out, allDone)
	return nil
}

const allDone = "Done: the cluster is as the manifests want it."

// stuck makes what stalls in a plan without steps an error.
func stuck(p state.Plan) error {
	for _, a := range p.Apps {
		if a.Stalled != "" || a.Waiting != "" {
			return errors.New("not everything is as wanted; see above")
		}
	}
	return nil
}

// ask has a person agree to an outage or a deletion.
func (a *applying) ask(ctx context.Context, p state.Plan) error {
	if a.yes || !grave(p) {
		return nil
	}
	fmt.Fprint(a.out, "This stops apps or removes something. Go on? (only \"yes\" is taken): ")
	said := make(chan string, 1)
	go func() { // a read of the terminal cannot be cancelled; it ends with the process
		line, err := bufio.NewReader(a.in).ReadString('\n')
		if err != nil {
			fmt.Fprintln(a.out)
		}
		said <- strings.TrimSpace(line)
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.out)
		return errors.New("nothing was changed: interrupted")
	case line := <-said:
		if line != "yes" {
			return errors.New("nothing was changed: not confirmed (--yes goes on without asking)")
		}
		return nil
	}
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
