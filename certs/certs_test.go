package certs

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func authority(t *testing.T) *Authority {
	t.Helper()
	a, err := NewAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *Authority, id Identity) string {
	t.Helper()
	dir := t.TempDir()
	if err := a.Issue(dir, id, time.Hour); err != nil {
		t.Fatal(err)
	}
	return dir
}

var (
	node1 = Identity{Agent, "node1", []string{"node1.example", "127.0.0.1"}}
	ctl   = Identity{Controller, "drover-1", []string{"127.0.0.1"}}
	ann   = Identity{Operator, "ann", nil}
)

// call makes one connection on loopback, and one byte each way. It returns whom each side saw and its error.
func call(t *testing.T, server, client *tls.Config) (atServer, atClient Identity, serverErr, clientErr error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			serverErr = err
			return
		}
		atServer, serverErr = exchange(tls.Server(conn, server))
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if client.ServerName == "" {
		client = client.Clone()
		client.ServerName = "127.0.0.1"
	}
	atClient, clientErr = exchange(tls.Client(conn, client))
	<-done
	return atServer, atClient, serverErr, clientErr
}

func exchange(c *tls.Conn) (Identity, error) {
	defer c.Close()
	if err := c.Handshake(); err != nil {
		return Identity{}, err
	}
	if _, err := c.Write([]byte{1}); err != nil {
		return Identity{}, err
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return Identity{}, err
	}
	return Peer(c.ConnectionState())
}

func configs(t *testing.T, server, client string, want Role) (*tls.Config, *tls.Config) {
	t.Helper()
	s, err := ServerConfig(server)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ClientConfig(client, want)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func TestBothSidesKnowEachOther(t *testing.T) {
	a := authority(t)
	for _, client := range []Identity{ctl, ann, {Agent, "node2", []string{"::1"}}} {
		s, c := configs(t, issue(t, a, node1), issue(t, a, client), Agent)
		atServer, atClient, serr, cerr := call(t, s, c)
		if serr != nil || cerr != nil {
			t.Fatalf("%s: server: %v, client: %v", client.Name, serr, cerr)
		}
		if d := cmp.Diff(client, atServer); d != "" {
			t.Errorf("server saw (-want +got):\n%s", d)
		}
		if d := cmp.Diff(node1, atClient); d != "" {
			t.Errorf("client saw (-want +got):\n%s", d)
		}
	}
}

func TestRefused(t *testing.T) {
	a, foreign := authority(t), authority(t)
	old := *a
	old.now = func() time.Time { return time.Now().Add(-2 * time.Hour) }
	noRole := func(dir string) string { // a certificate of the right authority, for something else
		template, err := a.template(ctl, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		template.Subject.OrganizationalUnit = []string{"printer"}
		writeLeaf(t, a, dir, template)
		return dir
	}
	raw := func(dir string) *tls.Config { // a client that does not check its own certificate first
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true}
	}
	// A client offers only certificates of an authority that the server named, unless told otherwise.
	insist := func(c *tls.Config) *tls.Config {
		pair := c.Certificates[0]
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		return c
	}
	good := issue(t, a, node1)
	client := issue(t, a, ctl)
	server := func(dir string) *tls.Config { // likewise for a server
		c := raw(dir)
		c.ClientAuth = tls.RequireAnyClientCert
		return c
	}
	ours := func(want Role, name string) *tls.Config {
		c, err := ClientConfig(client, want)
		if err != nil {
			t.Fatal(err)
		}
		c.ServerName = name
		return c
	}
	theirs, err := ServerConfig(good)
	if err != nil {
		t.Fatal(err)
	}
	expired := func(id Identity) string {
		dir := t.TempDir()
		if err := old.Issue(dir, id, time.Hour); err != nil {
			t.Fatal(err)
		}
		return dir
	}

	tests := []struct {
		name           string
		server, client *tls.Config
		atServer       string // what the server's error says
		atClient       string // what the client's error says, explained
	}{
		{"client of another authority", theirs, insist(raw(issue(t, foreign, ctl))), "signed by unknown authority", "the other side refused our certificate"},
		{"client expired", theirs, insist(raw(expired(ctl))), "expired", "the other side refused our certificate"},
		{"client of no role", theirs, insist(raw(noRole(t.TempDir()))), `certificate of "drover-1" has role ["printer"]`, "refused our certificate"},
		{"client without a certificate", theirs, &tls.Config{InsecureSkipVerify: true}, "didn't provide a certificate", "refused our certificate"},
		{"client of TLS 1.2", theirs, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}, "unsupported versions", "protocol version"},
		{"server of another authority", server(issue(t, foreign, node1)), ours(Agent, ""), "bad certificate", "issue both with the same one"},
		{"server expired", server(expired(node1)), ours(Agent, ""), "bad certificate", "renew the other side's certificate"},
		{"server of the wrong role", theirs, ours(Controller, ""), "bad certificate", `"node1" is agent, not controller: wrong role`},
		{"server of the wrong name", theirs, ours(Agent, "node2.example"), "bad certificate", `issue the certificate again for "node2.example"`},
		{"server of the wrong address", theirs, ours(Agent, "127.0.0.2"), "bad certificate", `issue the certificate again for "127.0.0.2"`},
		{"an operator that serves", server(issue(t, a, ann)), ours(Operator, ""), "bad certificate", "127.0.0.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, serr, cerr := call(t, tt.server, tt.client)
			if serr == nil || !strings.Contains(serr.Error(), tt.atServer) {
				t.Errorf("server said %v, want %q in it", serr, tt.atServer)
			}
			if cerr == nil || !strings.Contains(Explain(cerr).Error(), tt.atClient) {
				t.Errorf("client said %v, want %q in it", Explain(cerr), tt.atClient)
			}
		})
	}
}

func writeLeaf(t *testing.T, a *Authority, dir string, template *x509.Certificate) {
	t.Helper()
	if err := a.Issue(dir, ctl, time.Hour); err != nil { // for the key and ca.crt
		t.Fatal(err)
	}
	pair, err := readPair(dir, certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, pair.Leaf.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := replace(filepath.Join(dir, certFile), encodeCertificate(der), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestWrongRoleIsErrRole(t *testing.T) {
	a := authority(t)
	s, c := configs(t, issue(t, a, node1), issue(t, a, ann), Controller)
	if _, _, _, err := call(t, s, c); !errors.Is(err, ErrRole) {
		t.Errorf("got %v, want ErrRole", err)
	}
}

func TestRenewedCertificateIsUsedWithoutRestart(t *testing.T) {
	a := authority(t)
	server, client := issue(t, a, node1), issue(t, a, ctl)
	s, c := configs(t, server, client, Agent)
	renamed := func(id Identity, name string) Identity { id.Name = name; return id }
	want := func(atServer, atClient string) {
		t.Helper()
		seen, saw, serr, cerr := call(t, s, c)
		if serr != nil || cerr != nil {
			t.Fatalf("server: %v, client: %v", serr, cerr)
		}
		if seen.Name != atServer || saw.Name != atClient {
			t.Errorf("server saw %q, client saw %q; want %q, %q", seen.Name, saw.Name, atServer, atClient)
		}
	}
	want("drover-1", "node1")
	if err := errors.Join(a.Issue(server, renamed(node1, "node1b"), time.Hour), a.Issue(client, renamed(ctl, "drover-2"), time.Hour)); err != nil {
		t.Fatal(err)
	}
	want("drover-2", "node1b")

	t.Run("half-written renewal", func(t *testing.T) {
		key := filepath.Join(server, keyFile)
		whole, err := os.ReadFile(key)
		if err != nil {
			t.Fatal(err)
		}
		other, err := os.ReadFile(filepath.Join(client, keyFile))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(key, other[:len(other)/2], 0o600); err != nil {
			t.Fatal(err)
		}
		want("drover-2", "node1b")
		if err := os.WriteFile(key, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		want("drover-2", "node1b")
	})
	t.Run("a renewal by another authority is not taken", func(t *testing.T) {
		if err := authority(t).Issue(server, renamed(node1, "stranger"), time.Hour); err != nil {
			t.Fatal(err)
		}
		want("drover-2", "node1b")
	})
}

func TestBadFolders(t *testing.T) {
	a := authority(t)
	old := *a
	old.now = func() time.Time { return time.Now().Add(-2 * time.Hour) }
	tests := []struct {
		name string
		make func(dir string) error
		want string
	}{
		{"empty", func(string) error { return nil }, "no such file"},
		{"key for everyone", func(dir string) error {
			return errors.Join(a.Issue(dir, node1, time.Hour), os.Chmod(filepath.Join(dir, keyFile), 0o644))
		}, "chmod 600"},
		{"key of another", func(dir string) error {
			if err := a.Issue(dir, node1, time.Hour); err != nil {
				return err
			}
			b, err := os.ReadFile(filepath.Join(issue(t, a, node1), keyFile))
			return errors.Join(err, os.WriteFile(filepath.Join(dir, keyFile), b, 0o600))
		}, "private key does not match"},
		{"expired", func(dir string) error { return old.Issue(dir, node1, time.Hour) }, "expired"},
		{"operator", func(dir string) error { return a.Issue(dir, ann, time.Hour) }, "incompatible key usage"},
		{"garbage", func(dir string) error {
			return errors.Join(a.Issue(dir, node1, time.Hour), os.WriteFile(filepath.Join(dir, authorityFile), []byte("x"), 0o644))
		}, "no PEM certificate"},
		{"authority of another", func(dir string) error {
			return errors.Join(a.Issue(dir, node1, time.Hour), replace(filepath.Join(dir, authorityFile), encodeCertificate(authority(t).cert.Raw), 0o644))
		}, "unknown authority"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := tt.make(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := ServerConfig(dir); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v, want %q and the folder in it", err, tt.want)
			}
		})
	}
}

func TestIssueRefuses(t *testing.T) {
	a := authority(t)
	tests := []struct {
		name  string
		id    Identity
		valid time.Duration
		want  string
	}{
		{"unknown role", Identity{"root", "x", nil}, time.Hour, "want one of"},
		{"no name", Identity{Operator, "", nil}, time.Hour, "1 to 64"},
		{"long name", Identity{Operator, strings.Repeat("x", 300), nil}, time.Hour, "1 to 64"},
		{"newline", Identity{Operator, "a\nb", nil}, time.Hour, "printable"},
		{"agent without hosts", Identity{Agent, "n", nil}, time.Hour, "under which it is called"},
		{"host with a space", Identity{Agent, "n", []string{"a b"}}, time.Hour, "neither"},
		{"host with a port", Identity{Agent, "n", []string{"node1:7070"}}, time.Hour, "neither"},
		{"no time", ann, 0, "above zero"},
		{"longer than the authority", ann, 2 * authorityValidFor, "before the authority"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "part")
			if err := a.Issue(dir, tt.id, tt.valid); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a refused issue left %s: %v", dir, err)
			}
		})
	}
}

func TestKeysArePrivateAndKept(t *testing.T) {
	dir := t.TempDir()
	a, err := NewAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	part := issue(t, a, node1)
	for _, path := range []string{filepath.Join(dir, authorityKeyFile), filepath.Join(part, keyFile)} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
	}
	if _, err := NewAuthority(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second authority in the same folder: %v, want fs.ErrExist", err)
	}
	again, err := OpenAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, c := configs(t, part, issue(t, again, ctl), Agent)
	if _, _, serr, cerr := call(t, s, c); serr != nil || cerr != nil {
		t.Errorf("certificates of before and after a restart of the authority: %v, %v", serr, cerr)
	}
	if _, err := OpenAuthority(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no authority: %v, want fs.ErrNotExist", err)
	}
	if id, end, err := Show(part); err != nil || id.Name != "node1" || time.Until(end) > time.Hour {
		t.Errorf("Show: %v, %v, %v", id, end, err)
	}
}

func TestPeerOfPlainConnection(t *testing.T) {
	if _, err := Peer(tls.ConnectionState{}); !errors.Is(err, ErrNoPeer) {
		t.Errorf("got %v, want ErrNoPeer", err)
	}
}

// An HTTP server and client, as the agent has them: the configuration must not get in the way of HTTP/2.
func TestHTTP(t *testing.T) {
	a := authority(t)
	s, c := configs(t, issue(t, a, node1), issue(t, a, ctl), Agent)
	answer := func(w http.ResponseWriter, r *http.Request) {
		id, err := Peer(*r.TLS)
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		io.WriteString(w, string(id.Role)+" "+r.Proto)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(answer), TLSConfig: s}
	served := make(chan error, 1)
	go func() { served <- srv.ServeTLS(ln, "", "") }()
	defer func() {
		srv.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("https://" + ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(body), "controller HTTP/2.0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
