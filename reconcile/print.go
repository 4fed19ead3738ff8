package reconcile

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/drover-project/drover/state"
)

// Format writes a plan for people. The form is a contract: golden files hold it. Several steps that belong together, such as
// those of a cutover, are one line; the JSON form of the plan has each.
func Format(p state.Plan, o *state.Observed) string {
	var b strings.Builder
	names := newView(&state.Desired{}, o, time.Time{})
	for _, a := range p.Apps {
		formatApp(&b, a, names)
	}
	b.WriteString(total(p))
	return b.String()
}

func formatApp(b *strings.Builder, a state.AppPlan, names *view) {
	fmt.Fprintln(b, strings.TrimRight(fmt.Sprintf("%-10s %-22s %s", a.App, a.Summary, a.Reason), " "))
	w := lineWriter{names: names, app: a}
	for _, s := range a.Steps {
		w.step(s)
	}
	w.endCutover()
	number := 0
	for _, l := range w.lines {
		mark := ""
		if !l.beside {
			number++
			mark = strconv.Itoa(number)
		}
		fmt.Fprintln(b, strings.TrimRight(fmt.Sprintf("%3s  %s", mark, l.text), " "))
	}
	if a.Stalled != "" {
		fmt.Fprintf(b, "  stalled: %s\n", a.Stalled)
	}
	if a.Waiting != "" {
		fmt.Fprintf(b, "  waits: %s\n", a.Waiting)
	}
	for _, n := range a.Notes {
		fmt.Fprintf(b, "  note: %s\n", n)
	}
}

// lineWriter gathers an app's steps into lines.
type lineWriter struct {
	names *view
	app   state.AppPlan
	lines []planLine
	cut   *outage // the cutover being gathered
	timer timer
	round map[state.VolumeName]bool // those whose catch-up has its line
}

// planLine is one line of a plan. One that is about what is done at the same time as the line before it has no number.
type planLine struct {
	text   string
	beside bool
}

// outage is the predicted parts of one cutover.
type outage struct{ stop, delta, promote, start time.Duration }

func (o outage) total() time.Duration { return o.stop + o.delta + o.promote + o.start }

// cutoverPart maps each step of a cutover to the part of the outage that it is counted in.
func (o *outage) part(k state.StepKind) *time.Duration {
	switch k {
	case state.HoldConnections, state.StopApp:
		return &o.stop
	case state.LastIncrement:
		return &o.delta
	case state.Fence, state.ReleaseVolume, state.Promote, state.SwearOff, state.GoBack:
		return &o.promote
	case state.StartApp:
		return &o.start
	default:
		return nil
	}
}

func (w *lineWriter) step(s state.Step) {
	begins := s.Kind == state.HoldConnections || s.Kind == state.StopApp || s.Kind == state.Fence || s.Kind == state.ReleaseVolume ||
		s.Kind == state.Promote || s.Kind == state.SwearOff || s.Kind == state.GoBack || s.Kind == state.LastIncrement
	if w.cut == nil && begins {
		w.cut = &outage{}
	}
	more := w.timer.adds(s)
	if s.Kind != state.CatchUp {
		w.round = nil
	}
	if w.cut != nil {
		if part := w.cut.part(s.Kind); part != nil {
			*part += more
			return
		}
		if s.Kind == state.MountVolume {
			return
		}
		w.endCutover()
	}
	if l := w.line(s); l != "" {
		w.lines = append(w.lines, planLine{l, s.Beside})
	}
}

func (w *lineWriter) endCutover() {
	if w.cut == nil {
		return
	}
	head := fmt.Sprintf("predicted outage %s of %s:", Seconds(w.cut.total()), budgetText(w.app.Budget))
	text := fmt.Sprintf("%-10s  %-36s stop %s  last delta %s  promote %s  start %s", "cutover", head,
		tenths(w.cut.stop), tenths(w.cut.delta), tenths(w.cut.promote), tenths(w.cut.start))
	w.lines = append(w.lines, planLine{text: text})
	w.cut = nil
}

func tenths(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()) }

func budgetText(d time.Duration) string {
	if d%time.Second == 0 && d < time.Minute {
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return Seconds(d)
}

const running = "app keeps running"

func (w *lineWriter) line(s state.Step) string {
	vol := string(s.Volume)
	switch s.Kind {
	case state.ClaimVolume, state.RecordBirth, state.Retire, state.KeepBase, state.SaveGrace:
		return "" // said by the line of the step that they belong to
	case state.SetRoutes:
		return ""
	case state.CreateVolume:
		return row("create", vol+" on "+w.names.name(s.Node), "", quotaText(s.Quota))
	case state.AdoptVolume:
		return row("adopt", vol+" from "+s.Dataset+" on "+w.names.name(s.Node), "", running)
	case state.SetProperties:
		return row("set", vol+" on "+w.names.name(s.Node), "", propertiesText(s))
	case state.MountVolume:
		return row("mount", vol+" on "+w.names.name(s.Node), "", "")
	case state.Replicate, state.Resume:
		return row(string(s.Kind), vol+sizeText(s.Bytes)+" to "+w.names.name(s.Peer), about(s.Took), running+datasetsText(s.Datasets))
	case state.CatchUp:
		if w.round[s.Volume] {
			return "" // more rounds of it are part of that line
		}
		if w.round == nil {
			w.round = map[state.VolumeName]bool{}
		}
		w.round[s.Volume] = true
		return row("catch-up", vol+"  until a round fits "+budgetText(w.app.Budget), about(s.Took), running)
	case state.Rejoin:
		return row("rejoin", vol+" on "+w.names.name(s.Node), "", s.Why)
	case state.SetAside:
		return row("set aside", strings.TrimSuffix(vol+"/"+s.Child, "/")+" on "+w.names.name(s.Node), "", s.Why)
	case state.AbortRecv:
		return row("abort", "half-received "+vol+" on "+w.names.name(s.Node), "", s.Why)
	case state.VerifyReady:
		return row("verify", strings.TrimSpace(vol+"  readiness"), "", "")
	case state.DeleteOld:
		return row("delete old", vol+" on "+w.names.name(s.Node), "", w.whenDeleted(s))
	case state.StartApp:
		return row("start", "on "+w.names.name(s.Node), about(s.Took), s.Why)
	case state.DeployApp:
		return row("deploy", plural(s.Instances, "instance"), about(s.Took), s.Why)
	case state.ScaleApp:
		return row("scale", "to "+plural(s.Instances, "instance"), "", s.Why)
	case state.RemoveApp:
		return row("remove", "from Marathon", "", s.Why)
	default:
		return row(string(s.Kind), vol, about(s.Took), s.Why)
	}
}

// whenDeleted says when an old copy goes: with a move that is yet to come its grace is too, otherwise it is served.
func (w *lineWriter) whenDeleted(s state.Step) string {
	if promotes(w.app.Steps) {
		return "after " + Seconds(s.Grace) + ", revert possible until then"
	}
	return s.Why
}

// datasetsText writes how many datasets a volume has, if it has more than its own.
func datasetsText(n int) string {
	if n == 0 {
		return ""
	}
	return "; " + plural(n, "dataset")
}

// sizeText writes how much is to be sent. Of a dataset that is yet to be adopted it is not known.
func sizeText(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return "  " + Bytes(bytes)
}

func row(verb, what, took, remark string) string {
	return fmt.Sprintf("%-10s  %-36s %-9s %s", verb, what, took, remark)
}

func about(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return "~ " + Seconds(d)
}

func quotaText(q int64) string {
	if q == 0 {
		return "no quota"
	}
	return "quota " + Bytes(q)
}

func propertiesText(s state.Step) string {
	var parts []string
	for _, k := range sortedKeys(s.Properties) {
		parts = append(parts, k+"="+s.Properties[k])
	}
	parts = append(parts, quotaText(s.Quota))
	return strings.Join(parts, " ")
}

// total sums a plan up in one sentence.
func total(p state.Plan) string {
	words := []struct{ prefix, text string }{{"move", "to move"}, {"create", "to create"}, {"adopt", "to adopt"}, {"deploy", "to deploy"},
		{"start", "to start"}, {"prepare", "to prepare for a move"}, {"update", "to update"}, {"scale", "to scale"}, {"go back", "to go back"}, {"remove", "to remove"}}
	var parts []string
	counted := 0
	for _, w := range words {
		n := 0
		for _, a := range p.Apps {
			if len(a.Steps) > 0 && strings.HasPrefix(a.Summary, w.prefix) {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, plural(n, "app")+" "+w.text)
		}
		counted += n
	}
	changed, stuck, bytes, down := tally(p)
	if other := changed - counted; other > 0 {
		parts = append(parts, plural(other, "app")+" to settle")
	}
	if bytes > 0 {
		parts = append(parts, Bytes(bytes)+" to copy")
	}
	if down > 0 {
		parts = append(parts, Seconds(down)+" of outage")
	}
	if stuck > 0 {
		parts = append(parts, plural(stuck, "app")+" stalled or waiting")
	}
	if len(parts) == 0 {
		return "Plan: nothing to do, the cluster is as the manifests want it.\n"
	}
	return "Plan: " + strings.Join(parts, ", ") + ".\n"
}

// tally counts apps with steps and apps that cannot go on, and sums bytes to copy and time of outage.
func tally(p state.Plan) (changed, stuck int, bytes int64, down time.Duration) {
	for _, a := range p.Apps {
		var timer timer
		if len(a.Steps) > 0 {
			changed++
		}
		if a.Stalled != "" || a.Waiting != "" {
			stuck++
		}
		for _, s := range a.Steps {
			if s.Kind == state.Replicate || s.Kind == state.Resume || s.Kind == state.CatchUp {
				bytes += s.Bytes
			}
			if more := timer.adds(s); s.Outage {
				down += more
			}
		}
	}
	return changed, stuck, bytes, down
}
