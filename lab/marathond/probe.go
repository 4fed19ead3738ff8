package marathond

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// probes runs the wanted checks, each in a goroutine of its own.
type probes struct {
	wanted chan map[string]func(context.Context) // the newest set that nobody has looked at yet
}

func newProbes() *probes { return &probes{wanted: make(chan map[string]func(context.Context), 1)} }

// follow says which checks should run from now on. Only one caller at a time.
func (p *probes) follow(wanted map[string]func(context.Context)) {
	select {
	case <-p.wanted:
	default:
	}
	p.wanted <- wanted
}

// run starts what is wanted and stops what is not wanted any more, until ctx ends and every check has returned.
func (p *probes) run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	running := map[string]context.CancelFunc{}
	for {
		select {
		case <-ctx.Done():
			return
		case wanted := <-p.wanted:
			for key, cancel := range running {
				if wanted[key] == nil {
					cancel()
					delete(running, key)
				}
			}
			for key, probe := range wanted {
				if running[key] == nil {
					var probeCtx context.Context
					probeCtx, running[key] = context.WithCancel(ctx)
					group.Go(func() { probe(probeCtx) })
				}
			}
		}
	}
}

// probeClient follows no redirects (one is an answer) and trusts any certificate, as Marathon does.
var probeClient = &http.Client{
	Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a health check asks for an answer, not for an identity
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func probeHealth(ctx context.Context, t *mesosTask, h healthCheck) error {
	switch strings.TrimPrefix(h.Protocol, "MESOS_") {
	case "COMMAND":
		return probeCommand(ctx, t, h.Command.Value)
	case "TCP":
		return probeTCP(ctx, t, h)
	}
	return probeHTTP(ctx, t, h)
}

func (t *mesosTask) checkAddress(port, index *int) (string, error) {
	if port != nil {
		return net.JoinHostPort(t.IP, strconv.Itoa(*port)), nil
	}
	n := 0
	if index != nil {
		n = *index
	}
	if n >= len(t.Ports) {
		return "", fmt.Errorf("the task has no port %d", n)
	}
	return net.JoinHostPort(t.IP, strconv.Itoa(t.Ports[n])), nil
}

func probeTCP(ctx context.Context, t *mesosTask, h healthCheck) error {
	addr, err := t.checkAddress(h.Port, h.PortIndex)
	if err != nil {
		return err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return c.Close()
}

func probeHTTP(ctx context.Context, t *mesosTask, h healthCheck) error {
	addr, err := t.checkAddress(h.Port, h.PortIndex)
	if err != nil {
		return err
	}
	scheme := "http"
	if strings.HasSuffix(h.Protocol, "HTTPS") {
		scheme = "https"
	}
	resp, err := get(ctx, scheme+"://"+addr+"/"+strings.TrimPrefix(h.Path, "/"))
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("HTTP status %d", resp.StatusCode)
	}
	return nil
}

func get(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return probeClient.Do(req)
}

// probeCommand runs a command in the task's sandbox with the task's environment.
func probeCommand(ctx context.Context, t *mesosTask, command string) error {
	l, err := readLaunch(t.Folder)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Dir, cmd.Env = l.Dir, l.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("command health check: %w", err)
	}
	return nil
}

func probeReadiness(ctx context.Context, t *mesosTask, index int, c readinessCheck) *readinessResult {
	r := &readinessResult{Name: c.Name}
	addr, err := t.checkAddress(nil, &index)
	if err != nil {
		r.Body = err.Error()
		return r
	}
	resp, err := get(ctx, strings.ToLower(c.Protocol)+"://"+addr+"/"+strings.TrimPrefix(c.Path, "/"))
	if err != nil {
		r.Status, r.Type, r.Body = 502, "text/plain", err.Error()
		return r
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		r.Status, r.Type, r.Body = 502, "text/plain", err.Error()
		return r
	}
	r.Status, r.Type, r.Body = resp.StatusCode, resp.Header.Get("Content-Type"), string(body)
	r.Ready = slices.Contains(c.Codes, resp.StatusCode)
	return r
}
