package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/drover-project/drover/reconcile"
	"github.com/drover-project/drover/register"
	"github.com/drover-project/drover/state"
)

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func (c *cli) pause() *cobra.Command {
	return c.markCommand("pause APP", "let an app's move wait, caught up, before its cutover", "its move is paused; go on with: drover resume %s",
		func(*state.Desired, state.AppID) (*state.Mark, error) { return &state.Mark{Kind: state.Paused}, nil })
}

func (c *cli) resume() *cobra.Command {
	return c.markCommand("resume APP", "go on with a paused or cancelled move", "its move goes on when a controller looks next (%s)",
		func(*state.Desired, state.AppID) (*state.Mark, error) { return nil, nil })
}

func (c *cli) cancel() *cobra.Command {
	cmd := c.markCommand("cancel APP", "give up an app's move: it stays, or goes back to, where its data is", "its move is cancelled; it is tried again when its placement in the manifest changes, or with: drover resume %s",
		func(d *state.Desired, id state.AppID) (*state.Mark, error) {
			app, ok := d.Apps[id]
			if !ok {
				return nil, fmt.Errorf("%s is not in the manifests", id)
			}
			return &state.Mark{Kind: state.Cancelled, Digest: reconcile.PlacementDigest(app)}, nil
		})
	c.manifestFlag(cmd)
	return cmd
}

// markCommand is a command that sets a person's word on one app.
func (c *cli) markCommand(use, short, said string, mark func(*state.Desired, state.AppID) (*state.Mark, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d := &state.Desired{}
			if cmd.Flags().Lookup("file") != nil {
				var err error
				if d, err = c.desired(false); err != nil {
					return err
				}
			}
			id := state.AppID(args[0])
			m, err := mark(d, id)
			if err != nil {
				return err
			}
			cl, err := c.cluster(c.quiet())
			if err != nil {
				return err
			}
			if err := known(cmd.Context(), cl.Marathon, id); err != nil {
				return err
			}
			if err := cl.Register.SetMark(cmd.Context(), id, m); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: "+said+"\n", id, id)
			return nil
		},
	}
}

// known refuses an app that Marathon does not have, most likely a typing mistake.
func known(ctx context.Context, m interface {
	App(context.Context, state.AppID) (*state.RunningApp, error)
}, id state.AppID) error {
	if _, err := m.App(ctx, id); err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	return nil
}

func (c *cli) node() *cobra.Command {
	cmd := &cobra.Command{Use: "node", Short: "what a person may say about a node"}
	var sure bool
	forget := &cobra.Command{
		Use:   "forget NODE",
		Short: "a node (hostname or id) is gone for good: stop waiting for it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.cluster(c.quiet())
			if err != nil {
				return err
			}
			o := cl.Observe(cmd.Context(), false)
			id, err := pick(o, args[0])
			if err != nil {
				return err
			}
			if o.Nodes[id].Answered() {
				return fmt.Errorf("%s answers; stop its agent first, or it is a member again at the next look", args[0])
			}
			if !sure {
				return fmt.Errorf("whatever only %s holds is given up by this: if it is cut off but alive, its apps go on writing there; say that it is gone for good with --yes", args[0])
			}
			if err := cl.Register.ForgetMember(cmd.Context(), id); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s (%s) is forgotten\n", args[0], id)
			return nil
		},
	}
	forget.Flags().BoolVarP(&sure, "yes", "y", false, "it is gone for good")
	cmd.AddCommand(forget)
	return cmd
}

// pick finds a member by hostname or id.
func pick(o *state.Observed, name string) (state.NodeID, error) {
	var found []state.NodeID
	for _, id := range sorted(o.Nodes) {
		if string(id) == name || string(o.Nodes[id].Hostname) == name {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("no node %s is known", name)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%s is the name of several nodes; say the id: %v", name, found)
}

func (c *cli) volume() *cobra.Command {
	cmd := &cobra.Command{Use: "volume", Short: "what a person may say about a volume"}
	var sure bool
	forget := &cobra.Command{
		Use:   "forget VOLUME",
		Short: "a volume's data is gone for good: let it be created anew",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.cluster(c.quiet())
			if err != nil {
				return err
			}
			name := state.VolumeName(args[0])
			if where := copyOf(cl.Observe(cmd.Context(), false), name); where != "" {
				return fmt.Errorf("volume %s has a copy on %s: nothing is forgotten; destroy or rename that dataset yourself if it is not wanted", name, where)
			}
			if !sure {
				return fmt.Errorf("volume %s will be created empty if an app wants it: say that its data is gone for good with --yes", name)
			}
			err = cl.Register.ForgetVolume(cmd.Context(), name)
			if errors.Is(err, register.ErrNotFound) {
				return fmt.Errorf("volume %s is not in the register", name)
			} else if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "volume %s is forgotten\n", name)
			return nil
		},
	}
	forget.Flags().BoolVarP(&sure, "yes", "y", false, "the data is gone for good")
	cmd.AddCommand(forget)
	return cmd
}

// copyOf names a node that has a copy of a volume, or one that does not answer and might.
func copyOf(o *state.Observed, v state.VolumeName) state.Hostname {
	for _, id := range sorted(o.Nodes) {
		n := o.Nodes[id]
		if !n.Answered() {
			return n.Hostname + " (which does not answer: perhaps)"
		}
		for _, c := range n.Copies {
			if c.Volume == v {
				return n.Hostname
			}
		}
	}
	return ""
}
