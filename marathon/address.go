package marathon

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// address is one server, with its base path.
type address struct {
	base *url.URL // without credentials
	user *url.Userinfo
}

// parseAddress reads an absolute http or https URL. Its errors do not repeat a password.
func parseAddress(s string) (address, error) {
	u, err := url.Parse(strings.TrimSpace(s))
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return address{}, fmt.Errorf("unusable address: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return address{}, fmt.Errorf("address %q: want http://host:port or https://host:port", u.Redacted())
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return address{}, fmt.Errorf("address %q: neither a query nor a fragment belongs here", u.Redacted())
	}
	a := address{user: u.User, base: u}
	u.User = nil
	return a, nil
}

// String returns the address without credentials.
func (a address) String() string { return a.base.String() }

func (a address) url(k call) *url.URL {
	u := a.base.JoinPath(k.path)
	u.RawQuery = k.query.Encode()
	return u
}

func (s *service) add(raw string) error {
	a, err := parseAddress(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	s.addresses = append(s.addresses, a)
	return nil
}

func (s *service) has(host string) bool {
	return slices.ContainsFunc(s.addresses, func(a address) bool { return a.base.Host == host })
}

// authorize makes the credentials a header of every request; those within an address override it.
func (s *service) authorize(o Options) {
	switch {
	case o.Token != "":
		s.header.Set("Authorization", "token="+o.Token)
	case o.User != "":
		var r http.Request
		r.Header = s.header
		r.SetBasicAuth(o.User, o.Password)
	}
}
