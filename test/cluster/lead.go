package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"sync"
	"syscall"

	"github.com/drover-project/drover/agent"
	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/state"
)

// Controller is a controller that runs in this process.
type Controller struct {
	// Done is closed when it has ended.
	Done <-chan struct{}

	c      *Cluster
	cancel context.CancelFunc
	err    error

	mu     sync.Mutex
	events []controller.Event
	onStep func(controller.Event)
}

// Lead starts a controller. It ends with the test, or by Stop. onEvent, which may be nil, is called for each event as it
// happens, before the step that it is about goes on.
func (c *Cluster) Lead(onEvent func(controller.Event)) *Controller {
	c.t.Helper()
	done := make(chan struct{})
	l := &Controller{Done: done, c: c, onStep: onEvent}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	cl := c.Open(c.logger("controller"))
	ctl := controller.New(controller.Options{Cluster: cl, Name: "test", Every: c.o.Every, OnEvent: l.event, Log: c.logger("controller")})
	go func() {
		defer close(done)
		l.err = ctl.Run(ctx, []string{c.Manifests})
		closeIdle(cl)
	}()
	c.t.Cleanup(l.Stop)
	return l
}

// closeIdle closes a cluster's connections, as the end of a process would: agents that stop wait for unused ones.
func closeIdle(cl *controller.Cluster) {
	if a, ok := cl.Agents.(*agent.Client); ok {
		a.Close()
	}
}

func (l *Controller) event(e controller.Event) {
	l.mu.Lock()
	l.events = append(l.events, e)
	l.mu.Unlock()
	l.c.witness.look()
	if l.onStep != nil {
		l.onStep(e)
	}
}

// Cancel ends the controller at once, in the middle of whatever it does, without waiting for it.
func (l *Controller) Cancel() { l.cancel() }

// Stop ends the controller and waits for it.
func (l *Controller) Stop() {
	l.cancel()
	<-l.Done
	if !errors.Is(l.err, context.Canceled) && !errors.Is(l.err, controller.ErrLeadershipLost) {
		l.c.t.Errorf("controller: %v", l.err)
	}
}

// Steps are the kinds of the steps of an app that were done, in order. Steps that wait in slices are named once.
func (l *Controller) Steps(app state.AppID) []state.StepKind {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []state.StepKind
	for _, e := range l.events {
		if e.Kind == controller.EventDone && e.Step.App == app && (len(out) == 0 || out[len(out)-1] != e.Step.Kind) {
			out = append(out, e.Step.Kind)
		}
	}
	return out
}

// Forget forgets the events so far.
func (l *Controller) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = nil
}

// Move is the last move of an app that ended; nil if there was none.
func (l *Controller) Move(app state.AppID) *controller.Move {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range slices.Backward(l.events) {
		if e.Kind == controller.EventMoved && e.Move.App == app {
			return e.Move
		}
	}
	return nil
}

// Process is a controller in a process of its own, to be killed.
type Process struct {
	c      *Cluster
	cmd    *exec.Cmd
	Events <-chan Told // closed when the process ends
}

// Told is what a controller in another process says of an event, before the step that it is about goes on.
type Told struct {
	Kind controller.EventKind
	Step state.StepKind
	App  state.AppID
}

// LeadAlone starts a controller in a process of its own. It waits after each event until that was read from Events.
func (c *Cluster) LeadAlone() *Process {
	c.t.Helper()
	cmd := exec.CommandContext(context.Background(), os.Args[0], roleController, c.ConfigFile(), c.Manifests)
	cmd.Stderr = testWriter{c.t}
	out, err := cmd.StdoutPipe()
	c.must(err)
	goOn, err := cmd.StdinPipe()
	c.must(err)
	c.must(cmd.Start())
	events := make(chan Told)
	go func() {
		defer close(events)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var t Told
			if json.Unmarshal(lines.Bytes(), &t) == nil {
				events <- t
			}
			if _, err := goOn.Write([]byte{'\n'}); err != nil {
				return // it was killed
			}
		}
	}()
	p := &Process{c: c, cmd: cmd, Events: events}
	c.t.Cleanup(p.Kill)
	return p
}

// Kill kills the process with SIGKILL and waits until it is gone. Events not read yet are lost.
func (p *Process) Kill() {
	if p.cmd.ProcessState != nil {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.c.t.Errorf("kill the controller: %v", err)
	}
	for range p.Events { // what is left is read so that the reader ends
	}
	if err := p.cmd.Wait(); err == nil {
		p.c.t.Error("the controller ended by itself")
	}
}

// leadAlone is a controller's process.
func leadAlone(config string, manifests []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg, err := controller.ReadConfig(config)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	cl, err := cfg.Open(log)
	if err != nil {
		return err
	}
	tell, goOn := json.NewEncoder(os.Stdout), make([]byte, 1)
	return controller.New(controller.Options{Cluster: cl, Name: fmt.Sprintf("process %d", os.Getpid()), Log: log, OnEvent: func(e controller.Event) {
		if err := tell.Encode(Told{Kind: e.Kind, Step: e.Step.Kind, App: e.Step.App}); err != nil {
			log.Error("nobody listens", "err", err)
		}
		if _, err := os.Stdin.Read(goOn); err != nil {
			log.Error("nobody answers", "err", err)
		}
	}}).Run(ctx, manifests)
}
