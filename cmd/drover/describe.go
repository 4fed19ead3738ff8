package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/state"
)

func (c *cli) describe() *cobra.Command {
	return &cobra.Command{
		Use:   "describe APP",
		Short: "show all that is known about one app, as JSON",
		Args:  exactly("APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.cluster(c.quiet())
			if err != nil {
				return err
			}
			v, err := see(cmd.Context(), cl)
			if err != nil {
				return err
			}
			return v.describe(cmd.OutOrStdout(), appID(args[0]))
		},
	}
}

// described is what is known about one app.
type described struct {
	App    *state.RunningApp             `json:",omitempty"`
	Now    *controller.AppStatus         `json:",omitempty"`
	Copies map[state.Hostname]state.Copy `json:",omitempty"`
	Routes []state.Route                 `json:",omitempty"`
	Moves  []controller.Move             `json:",omitempty"`
}

func (v *overview) describe(out io.Writer, id state.AppID) error {
	d := described{App: v.Observed.Marathon.Apps[id], Copies: map[state.Hostname]state.Copy{}}
	if v.Controller != nil {
		for i := range v.Controller.Apps {
			if v.Controller.Apps[i].App == id {
				d.Now = &v.Controller.Apps[i]
			}
		}
		for _, m := range v.Controller.Moves {
			if m.App == id {
				d.Moves = append(d.Moves, m)
			}
		}
	}
	for _, n := range v.Observed.Nodes {
		for _, c := range n.Copies {
			if usedBy(d.App, c) {
				d.Copies[n.Hostname] = c
			}
		}
		if len(d.Routes) == 0 {
			for _, r := range n.Gate.Routes {
				if r.App == id {
					d.Routes = append(d.Routes, r)
				}
			}
		}
	}
	if d.App == nil && d.Now == nil {
		return fmt.Errorf("%s is neither in Marathon nor known to the controller", id)
	}
	return writeJSON(out, d)
}

// usedBy reports whether an app's definition mounts a copy's folder.
func usedBy(app *state.RunningApp, c state.Copy) bool {
	return app != nil && c.Mountpoint != "" && strings.Contains(string(app.Definition), `"`+c.Mountpoint+"/")
}
