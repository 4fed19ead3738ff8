package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// ServerConfig returns the configuration of a server that holds the certificate in dir: TLS 1.3, a client certificate of
// the same authority and with a known role required. Ask [Peer] what the client is. A certificate that was renewed in dir
// is used from the next connection on.
func ServerConfig(dir string) (*tls.Config, error) {
	p, roots, err := open(dir, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              roots,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.current() },
		VerifyConnection:       func(cs tls.ConnectionState) error { _, err := Peer(cs); return err },
		SessionTicketsDisabled: true, // a resumed session would skip the certificate's end
	}, nil
}

// ClientConfig returns the configuration of a client that holds the certificate in dir and calls servers of role want. The
// server's certificate must have the DNS name or the IP address that is called among its hosts: a node that is called by IP,
// as in the lab, needs the IP there. A certificate that was renewed in dir is used from the next connection on.
func ClientConfig(dir string, want Role) (*tls.Config, error) {
	p, roots, err := open(dir, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		RootCAs:                roots,
		GetClientCertificate:   func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return p.current() },
		VerifyConnection:       func(cs tls.ConnectionState) error { return hasRole(cs, want) },
		SessionTicketsDisabled: true,
	}, nil
}

func hasRole(cs tls.ConnectionState, want Role) error {
	id, err := Peer(cs)
	if err != nil {
		return err
	}
	if id.Role != want {
		return fmt.Errorf("%q is %s, not %s: %w", id.Name, id.Role, want, ErrRole)
	}
	return nil
}

// part is one part's certificate on disk and the last good reading of it.
type part struct {
	dir   string
	roots *x509.CertPool
	usage x509.ExtKeyUsage

	mu   sync.Mutex
	pair *tls.Certificate
	seen stamp
}

// open reads the certificate in dir and checks it against the authority beside it, so that a mistake is found at the start
// and not by whoever calls first.
func open(dir string, usage x509.ExtKeyUsage) (*part, *x509.CertPool, error) {
	ca, err := readCertificate(dir, authorityFile)
	if err != nil {
		return nil, nil, err
	}
	p := &part{dir: dir, roots: x509.NewCertPool(), usage: usage}
	p.roots.AddCert(ca)
	_, err = p.current()
	return p, p.roots, err
}

// current returns the certificate to show now. While a renewal is half-written (one file is new, the other not yet) or is
// no good, the former certificate goes on being used for as long as it lasts.
func (p *part) current() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := stampOf(p.dir)
	if p.pair != nil && now == p.seen {
		return p.pair, nil
	}
	pair, err := p.read()
	if err == nil {
		p.pair, p.seen = pair, now
	} else if p.pair != nil && time.Now().Before(p.pair.Leaf.NotAfter) {
		return p.pair, nil
	}
	return pair, err
}

func (p *part) read() (*tls.Certificate, error) {
	pair, err := readPair(p.dir, certFile, keyFile)
	if err != nil {
		return nil, err
	}
	if _, err := identity(pair.Leaf); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(p.dir, certFile), err)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: p.roots, KeyUsages: []x509.ExtKeyUsage{p.usage}}); err != nil {
		return nil, fmt.Errorf("%s, checked against %s: %w", filepath.Join(p.dir, certFile), authorityFile, err)
	}
	return pair, nil
}

// stamp changes when a file of the pair is replaced or written.
type stamp struct{ cert, key fileStamp }

type fileStamp struct {
	size int64
	time time.Time
}

// stampOf does not fail: a file that cannot be seen has the zero stamp, and reading it says why.
func stampOf(dir string) stamp {
	of := func(name string) fileStamp {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return fileStamp{}
		}
		return fileStamp{info.Size(), info.ModTime()}
	}
	return stamp{of(certFile), of(keyFile)}
}
