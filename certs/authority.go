package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
	"unicode"
)

// Names of the files in the folder of an authority and of a part. A part's folder has the authority's certificate too.
const (
	authorityFile    = "ca.crt"
	authorityKeyFile = "ca.key"
	certFile         = "tls.crt"
	keyFile          = "tls.key"
)

const (
	authorityValidFor = 20 * 365 * 24 * time.Hour
	skew              = 5 * time.Minute // how far a verifier's clock may be behind the authority's
	maxName           = 64              // RFC 5280, ub-common-name
)

// Authority issues certificates, ECDSA on P-256.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  func() time.Time
}

// NewAuthority makes a new authority in dir (created if absent): ca.crt, and ca.key with mode 0600. It replaces nothing: the
// error wraps fs.ErrExist if there is one already.
func NewAuthority(dir string) (*Authority, error) {
	a, err := newAuthority(dir, time.Now())
	if err != nil {
		return nil, fmt.Errorf("new authority in %s: %w", dir, err)
	}
	return a, nil
}

func newAuthority(dir string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial := make([]byte, 4) // so that two authorities can be told apart in messages
	rand.Read(serial)         // never fails
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "drover authority " + hex.EncodeToString(serial)},
		NotBefore: now.Add(-skew), NotAfter: now.Add(authorityValidFor),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	// The key first: whoever finds a key finds an authority, and does not make another.
	if err := create(filepath.Join(dir, authorityKeyFile), keyPEM, 0o600); err != nil {
		return nil, err
	}
	if err := create(filepath.Join(dir, authorityFile), encodeCertificate(der), 0o644); err != nil {
		return nil, err
	}
	return OpenAuthority(dir)
}

// OpenAuthority opens the authority that NewAuthority made in dir. The error wraps fs.ErrNotExist if there is none.
func OpenAuthority(dir string) (*Authority, error) {
	pair, err := readPair(dir, authorityFile, authorityKeyFile)
	if err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("open authority: %s is not a certificate of an authority made by drover certs", filepath.Join(dir, authorityFile))
	}
	return &Authority{cert: pair.Leaf, key: key, now: time.Now}, nil
}

// Issue writes tls.crt, tls.key (mode 0600) and ca.crt for id into dir (created if absent), each replaced as a whole. A part
// that runs on dir uses the new certificate from its next connection on. An agent needs at least one host.
func (a *Authority) Issue(dir string, id Identity, validFor time.Duration) error {
	if err := a.issue(dir, id, validFor); err != nil {
		return fmt.Errorf("issue certificate for %s %q: %w", id.Role, id.Name, err)
	}
	return nil
}

func (a *Authority) issue(dir string, id Identity, validFor time.Duration) error {
	template, err := a.template(id, validFor)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(
		replace(filepath.Join(dir, authorityFile), encodeCertificate(a.cert.Raw), 0o644),
		replace(filepath.Join(dir, keyFile), keyPEM, 0o600),
		replace(filepath.Join(dir, certFile), encodeCertificate(der), 0o644),
	)
}

// template describes the certificate of id, or says what is wrong with id.
func (a *Authority) template(id Identity, validFor time.Duration) (*x509.Certificate, error) {
	if err := check(id); err != nil {
		return nil, err
	}
	now := a.now()
	end := now.Add(validFor)
	if validFor <= 0 || end.After(a.cert.NotAfter) {
		return nil, fmt.Errorf("valid for %s: must be above zero and end before the authority does (%s)", validFor, a.cert.NotAfter.Format(time.DateOnly))
	}
	t := &x509.Certificate{
		Subject:   pkix.Name{CommonName: id.Name, OrganizationalUnit: []string{string(id.Role)}},
		NotBefore: now.Add(-skew), NotAfter: end,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if id.Role != Operator {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, h := range id.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return t, nil
}

var dnsName = regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

func check(id Identity) error {
	printable := func(r rune) bool { return unicode.IsPrint(r) && r != unicode.ReplacementChar }
	switch {
	case !slices.Contains(roles, id.Role):
		return fmt.Errorf("role %q: want one of %v: %w", id.Role, roles, ErrRole)
	case id.Name == "" || len(id.Name) > maxName || slices.ContainsFunc([]rune(id.Name), func(r rune) bool { return !printable(r) }):
		return fmt.Errorf("name %q: want 1 to %d printable bytes", id.Name, maxName)
	case id.Role == Agent && len(id.Hosts) == 0:
		return errors.New("an agent needs the names or addresses under which it is called")
	}
	for _, h := range id.Hosts {
		if net.ParseIP(h) == nil && (len(h) > 253 || !dnsName.MatchString(h)) {
			return fmt.Errorf("host %q is neither an IP address nor a DNS name", h)
		}
	}
	return nil
}

// readPair reads a certificate and its key, and refuses a key that others may read.
func readPair(dir, cert, key string) (*tls.Certificate, error) {
	certPEM, err := os.ReadFile(filepath.Join(dir, cert))
	if err != nil {
		return nil, err
	}
	keyPath := filepath.Join(dir, key)
	keyPEM, err := readPrivate(keyPath)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s with its key %s: %w", filepath.Join(dir, cert), keyPath, err)
	}
	return &pair, nil
}

func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %#o, so others can use this key: chmod 600 it, or issue a new one", path, info.Mode().Perm())
	}
	return os.ReadFile(path)
}

func readCertificate(dir, name string) (*x509.Certificate, error) {
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s: no PEM certificate in it", path)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
