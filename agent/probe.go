package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/drover-project/drover/state"
)

// probing is how often an app that does not answer yet is asked, and how long one question may take. An app is down while this
// goes on, so it is asked much more often than Marathon's health checks do.
const (
	probeEvery   = 10 * time.Millisecond
	probeTimeout = 2 * time.Second
)

// awaitAnswers serves the question whether an app answers.
func awaitAnswers(r *http.Request) (any, error) {
	var q question
	d := json.NewDecoder(io.LimitReader(r.Body, maxRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		return nil, errorf(CodeBadRequest, "probes: %w", err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), min(q.Wait, maxWait))
	defer cancel()
	p := newProber()
	defer p.close()
	err := p.until(ctx, q.Probes)
	if err != nil {
		return answersReply{Why: err.Error()}, nil
	}
	return answersReply{Answers: true}, nil
}

type prober struct{ http *http.Client }

func newProber() *prober {
	t := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // as Marathon's checks; nothing is sent
	return &prober{&http.Client{Transport: t, Timeout: probeTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (p *prober) close() { p.http.CloseIdleConnections() }

// until asks until every probe was answered, each once, and returns nil; or, when ctx ends, what the last one failed with.
func (p *prober) until(ctx context.Context, probes []state.Probe) error {
	for _, probe := range probes {
		for {
			err := p.ask(ctx, probe)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return err
			case <-time.After(probeEvery):
			}
		}
	}
	return nil
}

func (p *prober) ask(ctx context.Context, probe state.Probe) error {
	if probe.Path == "" {
		conn, err := (&net.Dialer{Timeout: probeTimeout}).DialContext(ctx, "tcp", probe.Address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	scheme := "http://"
	if probe.TLS {
		scheme = "https://"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+probe.Address+probe.Path, nil)
	if err != nil {
		return err
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return unwrapURL(err)
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("%s%s answers %s", probe.Address, probe.Path, resp.Status)
	}
	return nil
}
