package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/reconcile"
	"github.com/drover-project/drover/state"
)

func (v *overview) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	v.printController(w)
	v.printSources(w)
	v.printApps(w)
	v.printVolumes(w)
	v.printNodes(w)
	v.printStreams(w)
	v.printMoves(w)
	return w.Flush()
}

func (v *overview) printController(w io.Writer) {
	switch {
	case v.Controller == nil && v.Leading:
		fmt.Fprintln(w, "CONTROLLER\tleads, and has not reported yet")
	case v.Controller == nil:
		fmt.Fprintln(w, "CONTROLLER\tnone runs, and the register knows of none before: nothing is done until `drover controller` or `drover apply` is started")
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
			fmt.Fprintf(w, "%s\tdoes not answer: %s\n", s.name, plain(s.src.Err))
		}
	}
}

func (v *overview) printApps(w io.Writer) {
	fmt.Fprintln(w, "\nAPP\tRUNS ON\tSTATE\tNOW")
	notes := map[state.AppID]controller.AppStatus{}
	if v.Controller != nil {
		for _, a := range v.Controller.Apps {
			if !v.Leading {
				a = controller.AppStatus{App: a.App} // what its last controller was at is over
			}
			notes[a.App] = a
		}
	}
	for _, id := range sorted(v.Observed.Marathon.Apps) {
		app := v.Observed.Marathon.Apps[id]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", id, hosts(app), taskState(app), v.now(id, notes[id]))
		delete(notes, id)
	}
	absent := "not deployed"
	if !v.Observed.Marathon.Answered() {
		absent = "unknown"
	}
	for _, id := range sorted(notes) {
		fmt.Fprintf(w, "%s\t-\t%s\t%s\n", id, absent, v.now(id, notes[id]))
	}
}

// now says what is going on with an app, a person's word included.
func (v *overview) now(id state.AppID, a controller.AppStatus) string {
	text := now(a)
	mark, ok := v.Observed.Register.Marks[id]
	if !ok || strings.Contains(text, string(mark.Kind)) {
		return text
	}
	return strings.TrimSuffix(fmt.Sprintf("%s (go on with: drover resume %s); %s", mark.Kind, id, text), "; ")
}

func now(a controller.AppStatus) string {
	switch {
	case a.Stalled != "":
		return "stalled: " + plain(a.Stalled)
	case a.Waiting != "":
		return "waits: " + plain(a.Waiting)
	case a.Step != "":
		return plain(strings.Join(append([]string{string(a.Step)}, a.Notes...), "; "))
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
	rows := map[state.VolumeName][]string{}
	for _, n := range v.nodes() {
		for _, c := range n.Copies {
			newest := "-"
			if s := c.Newest(); s != nil {
				newest = s.Name
			}
			rows[c.Volume] = append(rows[c.Volume], fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s", c.Volume, n.Hostname, c.Role, c.Epoch,
				reconcile.Bytes(c.Used), newest, c.Dataset))
		}
	}
	for name := range v.Observed.Register.Births {
		if rows[name] == nil {
			rows[name] = []string{string(name) + "\t?\tno copy on a node that answers"}
		}
	}
	for _, name := range sorted(rows) {
		for _, row := range rows[name] {
			fmt.Fprintln(w, row)
		}
	}
}

// nodes returns the nodes by hostname.
func (v *overview) nodes() []*state.Node {
	var out []*state.Node
	for _, n := range v.Observed.Nodes {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *state.Node) int {
		return cmp.Or(cmp.Compare(a.Hostname, b.Hostname), cmp.Compare(a.ID, b.ID))
	})
	return out
}

func (v *overview) printNodes(w io.Writer) {
	fmt.Fprintln(w, "\nNODE\tAGENT\tPOOL\tFREE\tATTRIBUTES\tSEEN")
	for _, n := range v.nodes() {
		if !n.Answered() {
			fmt.Fprintf(w, "%s\t%s\t?\t?\t%s\t%s\n", n.Hostname, n.Address, v.attributes(n.Hostname), plain(strings.TrimPrefix(n.Err, "agent "+n.Address+" ")))
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s %s\t%s of %s\t%s\tnow\n", n.Hostname, n.Address, n.Pool.Name, n.Pool.Health,
			reconcile.Bytes(n.Pool.Free), reconcile.Bytes(n.Pool.Size), v.attributes(n.Hostname))
		for _, name := range sorted(n.Gate.Errors) {
			fmt.Fprintf(w, "\t\tgate: %s: %s\n", name, n.Gate.Errors[name])
		}
	}
}

// plain says in a person's words what the network's errors say in Go's.
func plain(err string) string {
	return strings.NewReplacer("context deadline exceeded", "nothing within "+patience.String(), "connect: connection refused", "connection refused").Replace(err)
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
	if !v.Observed.Mesos.Answered() {
		return "?"
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

// ago writes how long ago something was.
func ago(t time.Time) string { return time.Since(t).Round(time.Second).String() + " ago" }
