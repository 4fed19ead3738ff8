package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/register"
	"github.com/drover-project/drover/state"
)

func readStatus(ctx context.Context, r *register.Register) (controller.Status, error) {
	var st controller.Status
	b, err := r.Status(ctx)
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(b, &st); err != nil {
		return st, fmt.Errorf("the status in the register: %w", err)
	}
	return st, nil
}

// overview is everything that `drover status` shows.
type overview struct {
	Controller *controller.Status `json:",omitempty"`
	Leading    bool
	Observed   *state.Observed
}

func (c *cli) status() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "show apps, volumes, nodes, moves in flight and what is stalled",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			cl, err := c.cluster(c.quiet())
			if err != nil {
				return err
			}
			v, err := see(cmd.Context(), cl)
			if err != nil {
				return err
			}
			if output == "json" {
				return writeJSON(cmd.OutOrStdout(), v)
			}
			return v.print(cmd.OutOrStdout())
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func see(ctx context.Context, cl *controller.Cluster) (*overview, error) {
	v := &overview{Observed: observe(ctx, cl)}
	_, _, leading, err := cl.Register.Leader(ctx)
	if err != nil {
		return nil, err
	}
	v.Leading = leading
	st, err := readStatus(ctx, cl.Register)
	switch {
	case errors.Is(err, register.ErrNotFound):
	case err != nil:
		return nil, err
	default:
		v.Controller = &st
	}
	return v, nil
}
