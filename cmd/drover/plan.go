package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
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
		Args:  cobra.NoArgs,
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

// look observes the cluster and plans.
func look(ctx context.Context, cl *controller.Cluster, d *state.Desired) (*state.Observed, state.Plan) {
	o := cl.Observe(ctx, false)
	return o, reconcile.Plan(d, o, time.Now())
}

func printPlan(w io.Writer, output string, o *state.Observed, p state.Plan) error {
	if output == "json" {
		if err := writeJSON(w, p); err != nil {
			return err
		}
	} else {
		fmt.Fprint(w, reconcile.Format(p, o))
	}
	if reconcile.Changes(p) {
		if output == "text" {
			fmt.Fprintln(w, "No changes made.")
		}
		return exitCode(exitChanges)
	}
	return nil
}
