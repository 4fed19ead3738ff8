package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-project/drover/marathon"
	"github.com/drover-project/drover/reconcile"
	"github.com/drover-project/drover/register"
	"github.com/drover-project/drover/state"
)

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func (c *cli) pause() *cobra.Command {
	return c.markCommand("pause APP", "let an app's move wait, caught up, before its cutover", "its move, now or later, waits before the cutover; go on with: drover resume %[1]s",
		func(*state.Desired, state.AppID) (*state.Mark, error) { return &state.Mark{Kind: state.Paused}, nil })
}

func (c *cli) resume() *cobra.Command {
	return c.markCommand("resume APP", "go on with a paused or cancelled move", "its move goes on when a controller looks next, within 30 s",
		func(*state.Desired, state.AppID) (*state.Mark, error) { return nil, nil })
}

func (c *cli) cancel() *cobra.Command {
	cmd := c.markCommand("cancel APP", "give up an app's move: it stays, or goes back to, where its data is", "its move is cancelled; it is tried again when its placement in the manifest changes, or with: drover resume %[1]s",
		func(d *state.Desired, id state.AppID) (*state.Mark, error) {
			app, ok := d.Apps[id]
			if !ok {
				return nil, fmt.Errorf("%s is not in the manifests", id)
			}
			if len(app.Volumes) == 0 {
				return nil, fmt.Errorf("%s has no volumes, so it has no move to cancel", id)
			}
			return &state.Mark{Kind: state.Cancelled, Digest: reconcile.PlacementDigest(app)}, nil
		})
	c.manifestFlag(cmd)
	return cmd
}

// markCommand is a command that sets a person's word on one app.
func (c *cli) markCommand(use, short, said string, mark func(*state.Desired, state.AppID) (*state.Mark, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: exactly("APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d := &state.Desired{}
			if cmd.Flags().Lookup("file") != nil {
				var err error
				if d, err = c.desired(false); err != nil {
					return err
				}
			}
			id := appID(args[0])
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
			fmt.Fprintf(cmd.OutOrStdout(), "%[1]s: "+said+"\n", id)
			return nil
		},
	}
}

// known refuses an app that Marathon does not have, most likely a typing mistake.
func known(ctx context.Context, m interface {
	App(context.Context, state.AppID) (*state.RunningApp, error)
}, id state.AppID) error {
	_, err := m.App(ctx, id)
	if errors.Is(err, marathon.ErrNotFound) {
		return fmt.Errorf("%s is no app that Marathon has; drover status lists them", id)
	}
	return err
}

func (c *cli) node() *cobra.Command {
	var sure bool
	forget := &cobra.Command{
		Use:   "forget NODE",
		Short: "a node (hostname or id) is gone for good: stop waiting for it",
		Args:  exactly("NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.cluster(c.quiet())
			if err != nil {
				return err
			}
			o := observe(cmd.Context(), cl)
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
	return group("node", "what a person may say about a node", forget)
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
		return "", fmt.Errorf("no node %s is known; known are: %s", name, cmp.Or(strings.Join(hostnames(o), ", "), "none"))
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%s is the name of several nodes; say the id: %v", name, found)
}

func (c *cli) volume() *cobra.Command {
	var sure bool
	forget := &cobra.Command{
		Use:   "forget VOLUME",
		Short: "a volume's data is gone for good: let it be created anew",
		Args:  exactly("VOLUME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.cluster(c.quiet())
			if err != nil {
				return err
			}
			name := state.VolumeName(args[0])
			o := observe(cmd.Context(), cl)
			if _, born := o.Register.Births[name]; o.Register.Answered() && !born {
				return fmt.Errorf("volume %s is not in the register; known are: %s", name, cmp.Or(strings.Join(volumeNames(o), ", "), "none"))
			}
			if where := copyOf(o, name); where != "" {
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
	return group("volume", "what a person may say about a volume", forget)
}

func hostnames(o *state.Observed) []string {
	var out []string
	for _, n := range o.Nodes {
		out = append(out, string(n.Hostname))
	}
	slices.Sort(out)
	return out
}

func volumeNames(o *state.Observed) []string {
	var out []string
	for _, name := range sorted(o.Register.Births) {
		out = append(out, string(name))
	}
	return out
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
