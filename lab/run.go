package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Run starts everything, calls ready when Marathon and all agents answer and the controller is deployed, and keeps it
// running until ctx ends: a part that dies is started again. Then it stops the tasks and all parts; apps and data stay for the
// next time.
func (l *Lab) Run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, p := range l.parts() {
		wg.Go(func() { l.keep(ctx, p) })
	}
	if err := l.deployController(ctx); err != nil {
		cancel(err)
	} else {
		ready()
	}
	<-ctx.Done()
	wg.Wait()
	err := context.Cause(ctx)
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, l.lock.Close())
}

// part is one process of the lab.
type part struct {
	name string
	args []string
	env  []string
}

func (l *Lab) parts() []part {
	parts := []part{{name: "marathon", args: []string{"lab", "marathon", "--dir", l.o.Dir}, env: []string{"PATH=" + l.taskPath()}}}
	for _, n := range l.plan.Nodes {
		args := []string{"agent", "--hostname", string(n.Hostname), "--root", l.pool(n) + "/drover", "--mounts", l.nodeDir(n, "volumes"),
			"--listen", n.Agent, "--certs", l.path("certs", string(n.Hostname)), "--dir", l.nodeDir(n, "agent")}
		path := os.Getenv("PATH")
		if !l.plan.Native {
			path = l.o.Tools + string(filepath.ListSeparator) + path
		}
		parts = append(parts, part{name: string(n.Hostname), args: args, env: append(l.nodeEnv(n), "PATH="+path)})
	}
	return parts
}

// taskPath is the PATH of tasks: they find todo and drover.
func (l *Lab) taskPath() string {
	return strings.Join([]string{l.o.Tools, filepath.Dir(l.o.Program), os.Getenv("PATH")}, string(filepath.ListSeparator))
}

// keep runs one part again and again until ctx ends.
func (l *Lab) keep(ctx context.Context, p part) {
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	for ctx.Err() == nil {
		begun := time.Now()
		err := l.once(ctx, p)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) > 10*time.Second {
			pause.Reset()
		}
		wait := pause.NextBackOff()
		l.o.Log.WarnContext(ctx, "a part of the lab ended and is started again", "part", p.name, "err", err, "log", l.logFile(p), "wait", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (l *Lab) logFile(p part) string { return l.path("logs", p.name+".log") }

// once runs a part until it ends. When ctx ends it is asked to stop, and killed if it does not within 10 s.
func (l *Lab) once(ctx context.Context, p part) error {
	if err := os.MkdirAll(l.path("logs"), 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(l.logFile(p), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, l.o.Program, p.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), p.env...), log, log
	cmd.Dir = l.o.Dir
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	release := dieWithParent(cmd)
	defer release()
	if err := cmd.Start(); err != nil {
		return err
	}
	l.o.Log.DebugContext(ctx, "part started", "part", p.name, "pid", cmd.Process.Pid)
	if err := os.WriteFile(l.path("logs", p.name+".pid"), fmt.Appendf(nil, "%d", cmd.Process.Pid), 0o644); err != nil {
		l.o.Log.WarnContext(ctx, "process id was not written", "part", p.name, "err", err)
	}
	return cmd.Wait()
}

// deployController has Marathon run the controller, as it would on a real cluster.
func (l *Lab) deployController(ctx context.Context) error {
	for _, n := range l.plan.Nodes {
		if err := l.answers(ctx, n.Agent, string(n.Hostname)); err != nil {
			return err
		}
	}
	if err := l.answers(ctx, l.plan.Marathon, "marathon"); err != nil {
		return err
	}
	app, err := json.Marshal(map[string]any{
		"id": "/drover/controller", "cmd": "exec drover controller -f " + shellQuote(l.o.Manifests),
		"cpus": 0.1, "mem": 128, "instances": 1, "portDefinitions": []any{},
		"env":             map[string]string{"DROVER_CONFIG": l.path("controller.yaml")},
		"upgradeStrategy": map[string]int{"minimumHealthCapacity": 0, "maximumOverCapacity": 0},
		"backoffSeconds":  1, "backoffFactor": 1.0,
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+l.plan.Marathon+"/v2/apps/drover/controller?force=true&partialUpdate=false", bytes.NewReader(app))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("deploy the controller: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		said, rerr := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return errors.Join(fmt.Errorf("deploy the controller: Marathon answered %s: %s", resp.Status, said), rerr)
	}
	return nil
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// answers waits until a part accepts connections.
func (l *Lab) answers(ctx context.Context, addr, name string) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not answer at %s; its log is %s", name, addr, l.path("logs", name+".log"))
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}
