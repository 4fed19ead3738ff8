package agent

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/drover-project/drover/certs"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// post sends a raw body with a role's certificate.
func (b *bench) post(n *node, role certs.Role, path, body string) (int, *Error) {
	b.t.Helper()
	config, err := certs.ClientConfig(b.certificate(role, string(role)), certs.Agent)
	if err != nil {
		b.t.Fatal(err)
	}
	c := &http.Client{Transport: newTransport(config)}
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, "https://"+n.addr()+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	e := new(Error)
	if resp.StatusCode != http.StatusOK {
		if err := json.Unmarshal(text, e); err != nil {
			b.t.Fatalf("%s: %s: %v", path, text, err)
		}
	}
	return resp.StatusCode, e
}

func TestWhoMayDoWhat(t *testing.T) {
	b := newBench(t)
	n := b.node("node1")
	for _, c := range []struct {
		role certs.Role
		path string
		code Code
	}{
		{certs.Agent, pathStep, CodeForbidden}, {certs.Controller, pathReceive, CodeForbidden}, {certs.Operator, pathReceive, CodeForbidden},
		{certs.Controller, pathStep, CodeBadRequest}, {certs.Operator, pathStep, CodeBadRequest}, {certs.Agent, pathReceive, CodeBadRequest},
	} {
		if _, e := b.post(n, c.role, c.path, "{}"); e.Code != c.code {
			t.Errorf("%s %s: %s (%s), want %s", c.role, c.path, e.Code, e.Message, c.code)
		}
	}
	if _, err := b.clientOf(certs.Agent).Node(t.Context(), n.addr()); err != nil {
		t.Errorf("agents may look: %v", err)
	}
	if _, err := b.clientOf(certs.Agent).AwaitUnused(t.Context(), n.addr(), todo.uuid, 0); !isKind(err, ErrForbidden) {
		t.Errorf("agents may not wait: %v", err)
	}
	stranger := newBench(t)
	if _, err := stranger.client.Node(t.Context(), n.addr()); !isKind(err, ErrUnreachable) {
		t.Errorf("a certificate of another authority: %v", err)
	}
	bare := &http.Client{Transport: newTransport(&tls.Config{InsecureSkipVerify: true})} //nolint:gosec // without a certificate of its own
	if resp, err := bare.Get("https://" + n.addr() + pathNode); err == nil {
		resp.Body.Close()
		t.Error("served without a certificate")
	}
	if resp, err := http.Get("http://" + n.addr() + pathHealth); err == nil {
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Error("served in plain text")
		}
	}
}

func TestRequestsAreReadStrictly(t *testing.T) {
	good, err := json.Marshal(Request{Term: 1, Step: state.Step{Kind: state.Fence, Volume: "v", UUID: "u", Snapshot: "s", Why: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeRequest(bytes.NewReader(good)); err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{
		"empty": "", "not JSON": "fence it", "null step kind": `{"Term":1,"Step":{}}`, "unknown field": strings.Replace(string(good), `"Term"`, `"Force":1,"Term"`, 1),
		"goes on": string(good) + "{}", "huge": `{"Term":1,"Step":{"Why":"` + strings.Repeat("x", maxRequest) + `"}}`,
		"negative term": `{"Term":-1}`, "Marathon's step": `{"Term":1,"Step":{"Kind":"start app"}}`, "unknown step": `{"Term":1,"Step":{"Kind":"destroy"}}`,
	} {
		if _, err := decodeRequest(strings.NewReader(body)); !isKind(err, ErrBadRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHostileNamesAreRefused(t *testing.T) {
	for name, change := range map[string]func(*state.Step){
		"volume": func(s *state.Step) { s.Volume = "../x" }, "option": func(s *state.Step) { s.Volume = "-r" },
		"lead": func(s *state.Step) { s.Lead = "a/b" }, "uuid": func(s *state.Step) { s.UUID = "../../etc/passwd" },
		"dots": func(s *state.Step) { s.UUID = ".." }, "peer": func(s *state.Step) { s.Peer = "a/0.1/5" },
		"dataset": func(s *state.Step) { s.Dataset = "tank/x@y" }, "dataset option": func(s *state.Step) { s.Dataset = "-rf" },
		"snapshot": func(s *state.Step) { s.Snapshot = "a@b" }, "newline": func(s *state.Step) { s.Snapshot = "a\nb" },
		"address": func(s *state.Step) { s.PeerAddress = "evil.example/?x=:1" }, "userinfo": func(s *state.Step) { s.PeerAddress = "a@b:1" },
		"role":       func(s *state.Step) { s.Properties = map[string]string{"drover:role": "primary"} },
		"readonly":   func(s *state.Step) { s.Properties = map[string]string{"readonly": "off"} },
		"mountpoint": func(s *state.Step) { s.Properties = map[string]string{"mountpoint": "/"} },
		"property":   func(s *state.Step) { s.Properties = map[string]string{"-o x": "1"} },
		"quota":      func(s *state.Step) { s.Quota = -1 }, "grace": func(s *state.Step) { s.Grace = -time.Second },
		"reclaim": func(s *state.Step) { s.Reclaim = "Destroy" },
	} {
		s := state.Step{Kind: state.Fence, Volume: "v", UUID: "u"}
		change(&s)
		if err := checkStep(s); err == nil || err.Code != CodeBadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := checkStep(state.Step{Volume: "todo-data_1.x", UUID: "0a-1", PeerAddress: "[::1]:80", Properties: map[string]string{"recordsize": "16K", "com.sun:auto-snapshot": "false"}}); err != nil {
		t.Error(err)
	}
}

func TestTermsOnlyGrow(t *testing.T) {
	b := newBench(t)
	n := b.node("node1")
	b.term = 5
	n.create(todo)
	n.restart()
	b.term = 4
	if _, err := n.try(n.step(state.MountVolume, todo, state.Primary, "0.1")); !isKind(err, ErrStaleTerm) {
		t.Errorf("a former leader: %v", err)
	}
	b.term = 6
	n.do(n.step(state.MountVolume, todo, state.Primary, "0.1"))
	if seen, err := b.client.Node(t.Context(), n.addr()); err != nil || seen.Term != 6 {
		t.Errorf("%+v, %v", seen, err)
	}
	wrong := n.step(state.MountVolume, todo, state.Primary, "0.1")
	wrong.Node = "another"
	if _, err := n.try(wrong); !isKind(err, ErrRefused) {
		t.Errorf("a step for another node: %v", err)
	}
}

func TestErrorsKeepTheirKindOverTheWire(t *testing.T) {
	for code, kind := range kinds {
		b, err := json.Marshal(errorf(code, "it: %w", io.ErrUnexpectedEOF).about(&state.Copy{Volume: "v"}))
		if err != nil {
			t.Fatal(err)
		}
		e := new(Error)
		if err := json.Unmarshal(b, e); err != nil || !isKind(e, kind) || e.Copy.Volume != "v" || e.Error() != "it: unexpected EOF" {
			t.Errorf("%s: %+v, %v", code, e, err)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"Term":1,"Step":{"Kind":"fence","Volume":"v","UUID":"u","Snapshot":"s","Expect":{"Role":"primary","Epoch":"0.1"},"Why":""}}`))
	f.Add([]byte(`{"Term":1,"Step":{"Kind":"promote","Release":{"From":"a","To":"b","Epoch":"0.2","GUID":"12"}}}`))
	f.Add([]byte(`{"Step":{"Kind":"release","Epoch":"18446744073709551615.0"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := decodeRequest(bytes.NewReader(body))
		if err != nil {
			if !isKind(err, ErrBadRequest) {
				t.Fatal(err)
			}
			return
		}
		s := req.Step
		if strings.ContainsAny(string(s.Volume)+string(s.UUID)+s.Snapshot+string(s.Peer), "/@# \n\t") || strings.HasPrefix(s.Dataset, "-") {
			t.Fatalf("hostile names pass: %+v", s)
		}
	})
}

// That a target is too old for a stream reaches who has asked for it, as what no further try can help.
func TestATargetThatIsTooOldIsTold(t *testing.T) {
	err := new(receiver).explain(&zfs.Error{Command: []string{"zfs", "receive"}, Exit: 1, Stderr: "cannot receive: stream has unsupported feature", Kind: zfs.ErrFeature}, "tank/v")
	if e := asError(fmt.Errorf("send s to node n: %w", err)); e.Code != CodeUnsupported || !errors.Is(e, ErrUnsupported) || !strings.Contains(e.Message, "upgrade it") {
		t.Errorf("got %s: %v", e.Code, e)
	}
}
