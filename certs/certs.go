// Package certs is Drover's small certificate authority and the mutual TLS that every connection between Drover's parts
// uses. It issues one certificate per part, in which the organizational unit is the [Role] and the common name is the
// part's name, and it makes the [tls.Config] of both sides.
//
// It is not a general PKI: there is no revocation and no intermediate authority. To shut a certificate out, make a new
// authority, issue all certificates again and restart the parts; a renewed certificate of the same authority is picked up
// without a restart.
//
// Invariants:
//   - There is no configuration without verification of both sides, and none below TLS 1.3.
//   - A private key is written with mode 0600 and is not used when others may read it.
//   - What a role may do is decided by the server that asks [Peer]; this package only says who the other side is.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// Role is what a certificate's holder is in the cluster.
type Role string

// The roles.
const (
	Controller Role = "controller"
	Agent      Role = "agent"
	Operator   Role = "operator" // a person with the drover command; such a certificate cannot serve
)

var roles = []Role{Controller, Agent, Operator}

// Identity says who holds a certificate.
type Identity struct {
	Role  Role
	Name  string   // such as a node's hostname or an operator's login; at most 64 bytes
	Hosts []string // DNS names and IP addresses under which it serves; none for a part that only calls
}

var (
	// ErrNoPeer is returned by [Peer] for a connection whose other side showed no verified certificate.
	ErrNoPeer = errors.New("the other side showed no verified certificate")
	// ErrRole says that a verified certificate has another role than was asked for, or none of Drover's.
	ErrRole = errors.New("wrong role")
)

// Peer returns who the other side of a connection is. The error is ErrNoPeer or wraps ErrRole.
func Peer(cs tls.ConnectionState) (Identity, error) {
	if len(cs.VerifiedChains) == 0 || len(cs.PeerCertificates) == 0 {
		return Identity{}, ErrNoPeer
	}
	return identity(cs.PeerCertificates[0])
}

// Show returns the identity of the certificate in dir and when it ends. It does not need the key.
func Show(dir string) (Identity, time.Time, error) {
	leaf, err := readCertificate(dir, certFile)
	if err != nil {
		return Identity{}, time.Time{}, err
	}
	id, err := identity(leaf)
	return id, leaf.NotAfter, err
}

// identity reads role, name and hosts from a certificate that somebody else has verified.
func identity(c *x509.Certificate) (Identity, error) {
	id := Identity{Name: c.Subject.CommonName, Hosts: slices.Clone(c.DNSNames)}
	for _, ip := range c.IPAddresses {
		id.Hosts = append(id.Hosts, ip.String())
	}
	if ou := c.Subject.OrganizationalUnit; len(ou) == 1 {
		id.Role = Role(ou[0])
	}
	if !slices.Contains(roles, id.Role) {
		return id, fmt.Errorf("certificate of %q has role %q, want one of %v: %w", id.Name, c.Subject.OrganizationalUnit, roles, ErrRole)
	}
	return id, nil
}

// Explain adds to a TLS error what a person can do about it. Other errors are returned as they are.
func Explain(err error) error {
	if way := wayOut(err); way != "" {
		return fmt.Errorf("%w; %s", err, way)
	}
	return err
}

func wayOut(err error) string {
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var op *net.OpError
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "the other side's certificate is not of our authority: issue both with the same one (drover certs)"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "renew the other side's certificate (drover certs), and compare the clocks of both machines"
	case errors.As(err, &host):
		return fmt.Sprintf("call it by a name in its certificate, or issue the certificate again for %q (drover certs)", host.Host)
	case errors.As(err, &op) && op.Op == "remote error":
		return "the other side refused our certificate; its log says why, `drover certs` issues a new one"
	}
	return ""
}
