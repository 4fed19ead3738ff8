package marathon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Options configure a Client.
type Options struct {
	// URLs are the addresses of one Marathon cluster, such as "http://m1:8080" or "https://dcos/service/marathon".
	// Any of them can answer for all: those that do not lead pass requests on.
	URLs []string
	// MesosURL is the Mesos master's address; "" means what Marathon names in /v2/info. Any master will do: those that
	// do not lead redirect. It may carry its own "user:password@"; else it is sent the credentials below.
	MesosURL string
	// Framework is the name under which Marathon registered at Mesos; "" means what Marathon names in /v2/info.
	Framework string
	// User and Password are sent by basic authentication. An address may carry its own as "user:password@" instead.
	User, Password string
	// Token is sent as "Authorization: token=TOKEN", as DC/OS wants it. For another scheme use Header.
	Token string
	// Header is added to every request.
	Header http.Header
	// HTTP sends the requests: TLS, client certificates and proxies are set in its Transport. Its Timeout,
	// CheckRedirect and Jar are not used. nil means a client with http.DefaultTransport.
	HTTP *http.Client
	// Log gets failovers and the fate of the event stream; nil means no log.
	Log *slog.Logger
	// Timeout bounds one call to one address, answer included; 0 means 20 s. It does not apply to the event stream.
	Timeout time.Duration
	// Silence is after how much silence an event stream counts as dead; 0 means 30 s. Marathon sends something at least
	// every 10 s.
	Silence time.Duration
}

const (
	defaultTimeout = 20 * time.Second
	defaultSilence = 30 * time.Second
)

// Client talks to one Marathon cluster and its Mesos master. It is safe for concurrent use.
type Client struct {
	marathon *service
	mesos    *mesos
	log      *slog.Logger
	silence  time.Duration
	pulse    pulse // beats when an event says that deployments changed
}

// New returns a client. It makes no request; an address that cannot be used at all is an error.
func New(o Options) (*Client, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.HTTP == nil {
		o.HTTP = http.DefaultClient
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Silence <= 0 {
		o.Silence = defaultSilence
	}
	m, err := newMarathonService(o)
	if err != nil {
		return nil, err
	}
	z, err := newMesos(o, m)
	if err != nil {
		return nil, err
	}
	return &Client{marathon: m, mesos: z, log: o.Log, silence: o.Silence}, nil
}

func newMarathonService(o Options) (*service, error) {
	if len(o.URLs) == 0 {
		return nil, errors.New("no Marathon address given")
	}
	if o.User != "" && o.Token != "" {
		return nil, errors.New("both a user and a token given for Marathon: only one can be sent")
	}
	s := newService("Marathon", o)
	for _, u := range o.URLs {
		if err := s.add(u); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Info is what Marathon says about itself.
type Info struct {
	Version     string // of Marathon, such as "1.8.222"
	Leader      string // host:port, "" if there is none
	FrameworkID string // "" before registration at Mesos
	Framework   string // the name it registers under
	MesosURL    string // the leading master's, as Marathon knows it; it may not resolve from elsewhere
}

type infoJSON struct {
	Name           string
	Version        string
	Leader         string
	FrameworkID    string
	MarathonConfig *struct {
		FrameworkName    string `json:"framework_name"`
		MesosLeaderUIURL string `json:"mesos_leader_ui_url"`
	} `json:"marathon_config"`
}

// Info asks Marathon about itself.
func (c *Client) Info(ctx context.Context) (Info, error) { return readInfo(ctx, c.marathon) }

func readInfo(ctx context.Context, s *service) (Info, error) {
	var j infoJSON
	err := s.read(ctx, "/v2/info", nil, func(b []byte) error {
		j = infoJSON{}
		if err := json.Unmarshal(b, &j); err != nil {
			return err
		}
		if j.MarathonConfig == nil {
			return errMissing("marathon_config")
		}
		return nil
	})
	if err != nil {
		return Info{}, err
	}
	return Info{
		Version: j.Version, Leader: j.Leader, FrameworkID: j.FrameworkID,
		Framework: j.MarathonConfig.FrameworkName, MesosURL: j.MarathonConfig.MesosLeaderUIURL,
	}, nil
}

// Ping reports whether some leader is reachable. It says nothing about the node that was asked: a Marathon that does not
// lead passes the ping on.
func (c *Client) Ping(ctx context.Context) error {
	k := call{method: http.MethodGet, path: "/ping", accept: "text/plain"}
	return c.marathon.do(ctx, k, func(a answer) error {
		if strings.TrimSpace(string(a.body)) != "pong" {
			return errors.New("not a pong")
		}
		return nil
	})
}

// errMissing says that an answer lacks what makes it an answer. Without this check "{}" would read as an empty cluster.
func errMissing(field string) error { return fmt.Errorf("the answer has no %q", field) }

func flag(on bool) string {
	if on {
		return "true"
	}
	return "false"
}

func flags(pairs map[string]bool) url.Values {
	q := url.Values{}
	for k, v := range pairs {
		q.Set(k, flag(v))
	}
	return q
}
