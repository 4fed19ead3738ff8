package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/reconcile"
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

// statusLine says in one line what an app is at; "" if there is nothing to say.
func statusLine(a controller.AppStatus) string {
	switch {
	case a.Stalled != "":
		return fmt.Sprintf("%s is stalled: %s", a.App, a.Stalled)
	case a.Waiting != "":
		return fmt.Sprintf("%s waits: %s", a.App, a.Waiting)
	case a.Step != "":
		return fmt.Sprintf("%s: %s (%s)", a.App, a.Step, a.Why)
	}
	return ""
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
		Args:  cobra.NoArgs,
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
	v := &overview{Observed: cl.Observe(ctx, false)}
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

func (v *overview) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	v.printController(w)
	v.printSources(w)
	v.printApps(w)
	v.printVolumes(w)
	v.printNodes(w)
	v.printMoves(w)
	return w.Flush()
}

func (v *overview) printController(w io.Writer) {
	switch {
	case v.Controller == nil && v.Leading:
		fmt.Fprintln(w, "CONTROLLER\tleads, and has not reported yet")
	case v.Controller == nil:
		fmt.Fprintln(w, "CONTROLLER\tnone runs, and none ever did: nothing is done until `drover controller` or `drover apply` is started")
	case !v.Leading:
		fmt.Fprintf(w, "CONTROLLER\tnone runs; the last one was %s, %s\n", v.Controller.Leader, ago(v.Controller.At))
	default:
		fmt.Fprintf(w, "CONTROLLER\t%s, term %d, looked %s\n", v.Controller.Leader, v.Controller.Term, ago(v.Controller.At))
	}
	if v.Controller != nil && v.Controller.Refusal != "" {
		fmt.Fprintln(w, "MANIFESTS\trefused; the last good set stays in force:")
		for line := range strings.Lines(v.Controller.Refusal) {
			fmt.Fprintf(w, "\t%s", line)
		}
		fmt.Fprintln(w)
	}
}

// printSources names the sources that did not answer.
func (v *overview) printSources(w io.Writer) {
	for _, s := range []struct {
		name string
		src  state.Source
	}{{"MARATHON", v.Observed.Marathon.Source}, {"MESOS", v.Observed.Mesos.Source}, {"REGISTER", v.Observed.Register.Source}} {
		if !s.src.Answered() {
			fmt.Fprintf(w, "%s\tdoes not answer: %s\n", s.name, s.src.Err)
		}
	}
}

func (v *overview) printApps(w io.Writer) {
	fmt.Fprintln(w, "\nAPP\tRUNS ON\tSTATE\tNOW")
	notes := map[state.AppID]controller.AppStatus{}
	if v.Controller != nil && v.Leading {
		for _, a := range v.Controller.Apps {
			notes[a.App] = a
		}
	}
	for _, id := range sorted(v.Observed.Marathon.Apps) {
		app := v.Observed.Marathon.Apps[id]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", id, hosts(app), taskState(app), now(notes[id]))
		delete(notes, id)
	}
	for _, id := range sorted(notes) {
		fmt.Fprintf(w, "%s\t-\tnot deployed\t%s\n", id, now(notes[id]))
	}
}

func now(a controller.AppStatus) string {
	switch {
	case a.Stalled != "":
		return "stalled: " + a.Stalled
	case a.Waiting != "":
		return "waits: " + a.Waiting
	case a.Step != "":
		return string(a.Step)
	}
	return strings.Join(a.Notes, "; ")
}

func hosts(app *state.RunningApp) string {
	var out []string
	for _, t := range app.Tasks {
		out = append(out, string(t.Host))
	}
	if len(out) == 0 {
		return "-"
	}
	return strings.Join(out, ",")
}

func taskState(app *state.RunningApp) string {
	if len(app.Tasks) == 0 {
		return fmt.Sprintf("0 of %d", app.Instances)
	}
	var out []string
	for _, t := range app.Tasks {
		out = append(out, strings.TrimSpace(string(t.State)+" "+string(t.Health)))
	}
	return strings.Join(out, ",")
}

func (v *overview) printVolumes(w io.Writer) {
	fmt.Fprintln(w, "\nVOLUME\tNODE\tROLE\tEPOCH\tSIZE\tNEWEST SNAPSHOT\tDATASET")
	for _, id := range sorted(v.Observed.Nodes) {
		n := v.Observed.Nodes[id]
		for _, c := range n.Copies {
			newest := "-"
			if s := c.Newest(); s != nil {
				newest = s.Name
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Volume, n.Hostname, c.Role, c.Epoch, reconcile.Bytes(c.Used), newest, c.Dataset)
		}
	}
}

func (v *overview) printNodes(w io.Writer) {
	fmt.Fprintln(w, "\nNODE\tAGENT\tPOOL\tFREE\tATTRIBUTES\tSEEN")
	for _, id := range sorted(v.Observed.Nodes) {
		n := v.Observed.Nodes[id]
		if !n.Answered() {
			fmt.Fprintf(w, "%s\t%s\t?\t?\t%s\tdoes not answer: %s\n", n.Hostname, n.Address, v.attributes(n.Hostname), n.Err)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s %s\t%s of %s\t%s\tnow\n", n.Hostname, n.Address, n.Pool.Name, n.Pool.Health,
			reconcile.Bytes(n.Pool.Free), reconcile.Bytes(n.Pool.Size), v.attributes(n.Hostname))
		for _, name := range sorted(n.Gate.Errors) {
			fmt.Fprintf(w, "\t\tgate: %s: %s\n", name, n.Gate.Errors[name])
		}
	}
}

func (v *overview) attributes(h state.Hostname) string {
	for _, a := range v.Observed.Mesos.Agents {
		if a.Hostname != h {
			continue
		}
		var out []string
		for _, k := range sorted(a.Attributes) {
			out = append(out, k+"="+a.Attributes[k])
		}
		return strings.Join(out, " ")
	}
	return "not in Mesos"
}

func (v *overview) printMoves(w io.Writer) {
	if v.Controller == nil || len(v.Controller.Moves) == 0 {
		return
	}
	fmt.Fprintln(w, "\nMOVE\tSTARTED\tSENT\tOUTAGE\tRESULT")
	for _, m := range v.Controller.Moves {
		result := "done"
		switch {
		case m.Ended.IsZero():
			result = "running"
		case m.Back:
			result = "went back"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.ID, m.Started.Local().Format(time.DateTime), reconcile.Bytes(m.Bytes), outageText(m), result)
	}
}

func outageText(m controller.Move) string {
	if m.Ended.IsZero() {
		return "-"
	}
	return fmt.Sprintf("%.2f s", m.Outage.Seconds())
}

func (c *cli) describe() *cobra.Command {
	return &cobra.Command{
		Use:   "describe APP",
		Short: "show all that is known about one app, as JSON",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.cluster(c.quiet())
			if err != nil {
				return err
			}
			v, err := see(cmd.Context(), cl)
			if err != nil {
				return err
			}
			return v.describe(cmd.OutOrStdout(), state.AppID(args[0]))
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
