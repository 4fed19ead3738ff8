package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/reconcile"
	"github.com/drover-project/drover/state"
)

// outputFlag adds -o.
func outputFlag(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVarP(into, "output", "o", "text", "text or json")
}

func checkOutput(o string) error {
	if o != "text" && o != "json" {
		return fmt.Errorf("-o %s: want text or json", o)
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (c *cli) plan() *cobra.Command {
	var output string
	var prune bool
	cmd := &cobra.Command{
		Use:   "plan [-f FILE]...",
		Short: "show what would happen, with bytes, seconds and the predicted outage; changes nothing",
		Long:  "Show what would happen. Exit code 0: nothing to do; 2: changes are planned; 1: an error.",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			d, err := c.desired(prune)
			if err != nil {
				return err
			}
			cl, err := c.cluster(c.quiet())
			if err != nil {
				return err
			}
			o, p := look(cmd.Context(), cl, d)
			return printPlan(cmd.OutOrStdout(), output, o, p)
		},
	}
	c.manifestFlag(cmd)
	outputFlag(cmd, &output)
	cmd.Flags().BoolVar(&prune, "prune", false, "include the removal of apps that left the manifests")
	return cmd
}

// patience is how long a command waits for Marathon. If it has not answered by then, it counts as silent.
const patience = 5 * time.Second

// look observes the cluster and plans.
func look(ctx context.Context, cl *controller.Cluster, d *state.Desired) (*state.Observed, state.Plan) {
	o := observe(ctx, cl)
	return o, reconcile.Plan(d, o, time.Now())
}

func observe(ctx context.Context, cl *controller.Cluster) *state.Observed {
	hasty := controller.Cluster{Marathon: hastyMarathon{cl.Marathon}, Agents: cl.Agents, Register: cl.Register,
		Addresses: cl.Addresses, AgentPort: cl.AgentPort, Log: cl.Log}
	return hasty.Observe(ctx, false)
}

// hastyMarathon gives Marathon as long as a person waits, so that the agents are asked all the same.
type hastyMarathon struct{ controller.Marathon }

func (m hastyMarathon) Observe(ctx context.Context) (state.Marathon, state.Mesos) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return m.Marathon.Observe(ctx)
}

// printPlan prints a plan; the error is its exit code, or says that the plan is not known because something stalls or waits.
func printPlan(w io.Writer, output string, o *state.Observed, p state.Plan) error {
	changes := reconcile.Changes(p)
	if output == "json" {
		if p.Apps == nil {
			p.Apps = []state.AppPlan{}
		}
		if err := writeJSON(w, p); err != nil {
			return err
		}
	} else {
		text := plain(reconcile.Format(p, o))
		if changes {
			text = strings.TrimSuffix(text, "\n") + " No changes made.\n"
		}
		fmt.Fprint(w, text)
	}
	if changes {
		return exitCode(exitChanges)
	}
	return stuck(p)
}
