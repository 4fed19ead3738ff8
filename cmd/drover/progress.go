package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
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
	bar  map[streamKey]*streamBar
	said map[string]time.Time   // when a stream was last spoken of
	went map[state.AppID]string // the failure that an app was last said to have
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out, bar: map[streamKey]*streamBar{}, said: map[string]time.Time{}, went: map[state.AppID]string{}}
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
		b.bar.Abort(false)
	}
	p.bars.Wait()
}

func (p *progress) event(e controller.Event) {
	switch e.Kind {
	case controller.EventWaiting:
		p.line("%s", e.Text)
	case controller.EventStarted:
		if p.went[e.Step.App] == "" {
			p.line("%-10s %-15s %s", e.Step.App, e.Step.Kind, detail(e.Step))
		}
	case controller.EventFailed:
		p.failed(e)
	case controller.EventProgress:
		p.stream(*e.Stream)
	case controller.EventDone:
		delete(p.went, e.Step.App)
		p.finishAll(func(k streamKey) bool { return k.volume == e.Step.UUID })
	case controller.EventMoved:
		p.moved(e.Move)
	}
}

// failed says that a step did not work: once, however often it is tried.
func (p *progress) failed(e controller.Event) {
	text := fmt.Sprintf("%-10s %-15s did not work, it is tried again: %v", e.Step.App, e.Step.Kind, e.Err)
	if p.went[e.Step.App] != text {
		p.line("%s", text)
	}
	p.went[e.Step.App] = text
}

// moved gives the outage that was measured.
func (p *progress) moved(m *controller.Move) {
	what := "is up again"
	if m.Back {
		what = "went back"
	}
	p.line("%-10s %s: outage %s (stop %s, last delta %s, promote %s, start %s)", m.App, what, seconds(m.Outage),
		seconds(m.Parts["stop"]), seconds(m.Parts["last delta"]), seconds(m.Parts["promote"]), seconds(m.Parts["start"]))
}

// streamKey says of which dataset of which volume a stream is.
type streamKey struct {
	volume state.UUID
	child  string
}

func keyOf(s state.Stream) streamKey { return streamKey{s.UUID, s.Child} }

func (p *progress) finishAll(over func(streamKey) bool) {
	for k := range p.bar {
		if over(k) {
			p.finish(k)
		}
	}
}

// finish replaces the bar of a stream that is over by a line.
func (p *progress) finish(k streamKey) {
	b := p.bar[k]
	if b == nil {
		return
	}
	b.bar.SetTotal(-1, true)
	delete(p.bar, k)
	s := b.now.Load()
	p.line("%-10s %-15s sent, at %s/s", s.Name(), s.Snapshot, reconcile.Bytes(int64(s.Rate)))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// detail says what a step is about in a few words.
func detail(s state.Step) string {
	words := []string{string(s.Volume)}
	if s.Bytes > 0 {
		words = append(words, reconcile.Bytes(s.Bytes))
	}
	words = append(words, reason(s.Why))
	return strings.TrimSpace(strings.Join(words, " "))
}

func reason(why string) string {
	if why == "" {
		return ""
	}
	return "(" + why + ")"
}

// streamBar is the bar of one stream. It is drawn by a goroutine of its own.
type streamBar struct {
	bar *mpb.Bar
	now atomic.Pointer[state.Stream]
}

// stream moves a stream's bar, or says every few seconds how far it is.
func (p *progress) stream(s state.Stream) {
	if p.bars == nil {
		p.mention(s)
		return
	}
	b := p.bar[keyOf(s)]
	if b != nil && b.now.Load().Snapshot != s.Snapshot {
		p.finish(keyOf(s))
		b = nil
	}
	if b == nil {
		b = p.addBar(s)
	}
	b.now.Store(&s)
	b.bar.SetTotal(max(s.Total, s.Bytes+1), false)
	b.bar.SetCurrent(s.Bytes)
}

func (p *progress) addBar(s state.Stream) *streamBar {
	b := &streamBar{}
	b.now.Store(&s)
	amount := func(decor.Statistics) string {
		now := b.now.Load()
		return reconcile.Bytes(now.Bytes) + " of " + reconcile.Bytes(now.Total) + " "
	}
	b.bar = p.bars.AddBar(max(s.Total, 1), mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(fmt.Sprintf("  %s %s  ", s.Name(), s.Snapshot)), decor.Any(amount)),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return pace(*b.now.Load()) })))
	p.bar[keyOf(s)] = b
	return b
}

// everyFew is how often a stream is spoken of where there is no bar.
const everyFew = 5 * time.Second

func (p *progress) mention(s state.Stream) {
	key := string(s.UUID) + s.Child + "@" + s.Snapshot
	if s.Bytes == 0 || time.Since(p.said[key]) < everyFew {
		return
	}
	p.said[key] = time.Now()
	p.line("%-10s %-15s %s of %s, %s", s.Name(), s.Snapshot, reconcile.Bytes(s.Bytes), reconcile.Bytes(s.Total), pace(s))
}

// pace is a stream's rate, and how long it will still take.
func pace(s state.Stream) string {
	text := reconcile.Bytes(int64(s.Rate)) + "/s"
	if s.Rate > 0 && s.Total > s.Bytes {
		text += ", " + reconcile.Seconds(time.Duration(float64(s.Total-s.Bytes)/s.Rate*float64(time.Second))) + " left"
	}
	return text
}

func (p *progress) line(format string, args ...any) {
	w := p.out
	if p.bars != nil {
		w = p.bars
	}
	fmt.Fprintf(w, "  %s  %s\n", time.Now().Format("15:04:05.0"), fmt.Sprintf(format, args...))
}
