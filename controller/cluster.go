package controller

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/drover-project/drover/agent"
	"github.com/drover-project/drover/marathon"
	"github.com/drover-project/drover/register"
	"github.com/drover-project/drover/state"
)

// Marathon is what the controller asks of Marathon and Mesos; *marathon.Client answers it.
type Marathon interface {
	Observe(ctx context.Context) (state.Marathon, state.Mesos)
	App(ctx context.Context, id state.AppID) (*state.RunningApp, error)
	PutApp(ctx context.Context, id state.AppID, definition json.RawMessage, o marathon.PutOptions) (state.Deployment, error)
	DeleteApp(ctx context.Context, id state.AppID, force bool) (state.Deployment, error)
	Deployments(ctx context.Context) ([]state.Deployment, error)
}

// Agents is what the controller asks of the nodes' agents; *agent.Client answers it.
type Agents interface {
	Node(ctx context.Context, addr string) (*state.Node, error)
	Do(ctx context.Context, addr string, term state.Term, step state.Step) (agent.Result, error)
	AwaitUnused(ctx context.Context, addr string, uuid state.UUID, wait time.Duration) ([]state.User, error)
	AwaitAnswers(ctx context.Context, addr string, probes []state.Probe, wait time.Duration) (answers bool, why string, err error)
	Streams(ctx context.Context, addr string) ([]state.Stream, error)
	SetLimits(ctx context.Context, addr string, term state.Term, limits state.Limits) error
}

// Cluster is the sources of what is observed, and the means to change it.
type Cluster struct {
	Marathon Marathon
	Agents   Agents
	Register *register.Register

	// Addresses are where agents listen, by the hostname that Mesos has for their node. For every other Mesos agent the
	// Drover agent is looked for at the hostname and AgentPort, if that is not 0.
	Addresses map[state.Hostname]string
	AgentPort int

	Log *slog.Logger

	questions questions
}

// Observe asks every source, side by side. A source that does not answer is marked as silent; that is no error. With record,
// nodes that were not members yet become members, because only who is known can be missed.
func (c *Cluster) Observe(ctx context.Context, record bool) *state.Observed {
	var o state.Observed
	var wg sync.WaitGroup
	wg.Go(func() { o.Marathon, o.Mesos = c.Marathon.Observe(ctx) })
	wg.Go(func() { o.Register = c.Register.Observe(ctx, time.Now()) })
	wg.Go(func() { o.Past = c.timings(ctx) })
	wg.Wait()
	o.Nodes = c.nodes(ctx, &o, record)
	return &o
}

// timings are only for predictions: without them they start from guesses.
func (c *Cluster) timings(ctx context.Context) map[state.AppID]state.Timing {
	past, err := c.Register.Timings(ctx)
	if err != nil {
		c.Log.DebugContext(ctx, "past timings are unknown", "err", err)
	}
	return past
}

// nodes asks every agent that is known to the register, to the configuration or to Mesos.
func (c *Cluster) nodes(ctx context.Context, o *state.Observed, record bool) map[state.NodeID]*state.Node {
	answers := c.askAll(ctx, c.addresses(o))
	nodes := make(map[state.NodeID]*state.Node, len(answers))
	for _, a := range answers {
		if a.node != nil {
			a.node.Address, a.node.At = a.address, a.asked
			nodes[a.node.ID] = a.node
			c.remember(ctx, o, a.node, record)
		}
	}
	for id, m := range o.Register.Members {
		if nodes[id] == nil {
			nodes[id] = &state.Node{ID: id, Hostname: m.Hostname, Address: m.Address,
				Source: state.Source{At: time.Now(), Err: silence(answers, m)}}
		}
	}
	return nodes
}

// remember makes a node that answered a member.
func (c *Cluster) remember(ctx context.Context, o *state.Observed, n *state.Node, record bool) {
	m := state.Member{ID: n.ID, Hostname: n.Hostname, Address: n.Address}
	if !record || !o.Register.Answered() || o.Register.Members[n.ID] == m {
		return
	}
	if err := c.Register.PutMember(ctx, m); err != nil {
		c.Log.WarnContext(ctx, "a new node could not be recorded as a member", "node", n.Hostname, "err", err)
	}
}

// silence says why a member is silent.
func silence(answers []answer, m state.Member) string {
	for _, a := range answers {
		if a.address == m.Address && a.err != nil {
			return a.err.Error()
		}
		if a.address == m.Address && a.node != nil {
			return "another node, " + string(a.node.Hostname) + " (" + string(a.node.ID) + "), answers at " + m.Address
		}
	}
	return "it was not asked"
}

// addresses returns where agents may be, each once.
func (c *Cluster) addresses(o *state.Observed) []string {
	seen := map[string]bool{}
	var out []string
	add := func(addr string) {
		if addr != "" && !seen[addr] {
			seen[addr] = true
			out = append(out, addr)
		}
	}
	known := map[state.Hostname]bool{}
	for host, addr := range c.Addresses {
		known[host] = true
		add(addr)
	}
	for _, m := range o.Register.Members {
		known[m.Hostname] = true
		add(m.Address)
	}
	for _, a := range o.Mesos.Agents {
		if c.AgentPort != 0 && !known[a.Hostname] {
			add(net.JoinHostPort(string(a.Hostname), strconv.Itoa(c.AgentPort)))
		}
	}
	return out
}

type answer struct {
	address string
	asked   time.Time
	node    *state.Node
	err     error
}

func (c *Cluster) askAll(ctx context.Context, addrs []string) []answer {
	answers := make([]answer, len(addrs))
	var wg sync.WaitGroup
	for i, addr := range addrs {
		wg.Go(func() { answers[i] = c.ask(ctx, addr) })
	}
	wg.Wait()
	return answers
}
