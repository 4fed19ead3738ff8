package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/reconcile"
	"github.com/drover-project/drover/state"
)

// progress shows what a controller does: one line for each step, and a bar for each stream where the output is a terminal.
type progress struct {
	out  io.Writer
	bars *mpb.Progress // nil if the output is no terminal
	bar  map[state.UUID]*mpb.Bar
	said map[string]time.Time
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out, bar: map[state.UUID]*mpb.Bar{}, said: map[string]time.Time{}}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.bars = mpb.New(mpb.WithOutput(out), mpb.WithWidth(40))
	}
	return p
}

func (p *progress) close() {
	if p.bars == nil {
		return
	}
	for _, b := range p.bar {
		b.Abort(false)
	}
	p.bars.Wait()
}

func (p *progress) event(e controller.Event) {
	switch e.Kind {
	case controller.EventWaiting:
		p.line("%s", e.Text)
	case controller.EventStarted:
		p.line("%-10s %-15s %s", e.Step.App, e.Step.Kind, detail(e.Step))
	case controller.EventFailed:
		p.line("%-10s %-15s did not work, it is tried again: %v", e.Step.App, e.Step.Kind, e.Err)
	case controller.EventProgress:
		p.stream(e)
	case controller.EventDone:
		if b := p.bar[e.Step.UUID]; b != nil {
			b.SetTotal(-1, true)
			delete(p.bar, e.Step.UUID)
		}
	case controller.EventMoved:
		p.line("%-10s is up again: outage %s (stop %s, last delta %s, promote %s, start %s)", e.Move.App, seconds(e.Move.Outage),
			seconds(e.Move.Parts["stop"]), seconds(e.Move.Parts["last delta"]), seconds(e.Move.Parts["promote"]), seconds(e.Move.Parts["start"]))
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// detail says what a step is about in a few words.
func detail(s state.Step) string {
	words := []string{string(s.Volume)}
	if s.Bytes > 0 {
		words = append(words, reconcile.Bytes(s.Bytes))
	}
	if s.Why != "" {
		words = append(words, "("+s.Why+")")
	}
	return strings.TrimSpace(strings.Join(words, " "))
}

// stream moves a stream's bar, or says every few seconds how far it is.
func (p *progress) stream(e controller.Event) {
	s := e.Stream
	if p.bars == nil {
		key := string(s.UUID) + s.Snapshot
		if time.Since(p.said[key]) < 5*time.Second {
			return
		}
		p.said[key] = time.Now()
		left := ""
		if s.Rate > 0 && s.Total > s.Bytes {
			left = ", " + reconcile.Seconds(time.Duration(float64(s.Total-s.Bytes)/s.Rate*float64(time.Second))) + " left"
		}
		p.line("%-10s %-15s %s of %s, %s/s%s", e.Step.App, e.Step.Kind, reconcile.Bytes(s.Bytes), reconcile.Bytes(s.Total), reconcile.Bytes(int64(s.Rate)), left)
		return
	}
	b := p.bar[s.UUID]
	if b == nil {
		b = p.bars.AddBar(max(s.Total, 1),
			mpb.PrependDecorators(decor.Name(fmt.Sprintf("  %s %s ", e.Step.Kind, s.Volume)), decor.CountersKibiByte("% .1f / % .1f")),
			mpb.AppendDecorators(decor.AverageSpeed(decor.SizeB1024(0), "% .1f"), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)))
		p.bar[s.UUID] = b
	}
	b.SetTotal(max(s.Total, s.Bytes+1), false)
	b.SetCurrent(s.Bytes)
}

func (p *progress) line(format string, args ...any) {
	w := p.out
	if p.bars != nil {
		w = p.bars
	}
	fmt.Fprintf(w, "  %s  %s\n", time.Now().Format("15:04:05.0"), fmt.Sprintf(format, args...))
}
