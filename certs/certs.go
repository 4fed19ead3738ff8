// Package certs is Drover's small certificate authority and the mutual TLS that every connection between Drover's parts
// uses. It issues one certificate per part, in which the organizational unit is the [Role] and the common name is the
// part's name, and it makes the [tls.Config] of both sides.
//
// It is not a general PKI: there is no revocation and no intermediate authority. To shut a certificate out, make a new
// authority and issue all certificates again.
//
// Invariants:
//   - There is no configuration without verification of both sides, and none below TLS 1.3.
//   - A private key is written with mode 0600 and is not used when others may read it.
//   - What a role may do is decided by the server that asks [Peer]; this package only says who the other side is.
package certs

import (
	"crypto/tls"
	"errors"
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

// Identity says who holds a certificate.
type Identity struct {
	Role  Role
	Name  string   // such as a node's hostname or an operator's login
	Hosts []string // DNS names and IP addresses under which it serves; none for a part that only calls
}

var (
	// ErrNoPeer is returned by [Peer] for a connection whose other side showed no verified certificate.
	ErrNoPeer = errors.New("the other side showed no verified certificate")
	// ErrRole says that a verified certificate has another role than was asked for, or none of Drover's.
	ErrRole = errors.New("wrong role")
)

var errSkeleton = errors.New("not built yet")

// Authority issues certificates.
type Authority struct{}

// NewAuthority makes a new authority in dir (created if absent): ca.crt and ca.key. It refuses to replace one that is there.
func NewAuthority(dir string) (*Authority, error) { return nil, errSkeleton }

// OpenAuthority opens the authority that NewAuthority made in dir.
func OpenAuthority(dir string) (*Authority, error) { return nil, errSkeleton }

// Issue writes tls.crt, tls.key and ca.crt for id into dir (created if absent), replacing what is there.
func (a *Authority) Issue(dir string, id Identity, validFor time.Duration) error { return errSkeleton }

// ServerConfig returns the TLS configuration of a server that holds the certificate in dir.
func ServerConfig(dir string) (*tls.Config, error) { return nil, errSkeleton }

// ClientConfig returns the TLS configuration of a client that holds the certificate in dir and talks to servers of role want.
func ClientConfig(dir string, want Role) (*tls.Config, error) { return nil, errSkeleton }

// Peer returns who the other side of a connection is. The error is ErrNoPeer or wraps ErrRole.
func Peer(cs tls.ConnectionState) (Identity, error) { return Identity{}, ErrNoPeer }

// Show returns the identity of the certificate in dir and when it ends.
func Show(dir string) (Identity, time.Time, error) { return Identity{}, time.Time{}, errSkeleton }

// Explain adds to a TLS error what a person can do about it. Other errors are returned as they are.
func Explain(err error) error { return err }
