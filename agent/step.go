package agent

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// deed is how a step is carried out under the volume's lock.
type deed struct {
	do     func(*visit, context.Context) error
	synced bool  // the pool is synced before the copy is read, so that its Written is true
	beside []ask // what is found out beside reading the copy
	quick  bool  // an app is down meanwhile, and whose holds there are does not matter: they are not read
}

// ask finds something out that does not depend on the copy, beside reading it: an app is down meanwhile.
type ask func(*visit, context.Context) error

// deeds are the steps that agents do. Those without a function are not about one copy under its lock.
var deeds map[state.StepKind]deed

func init() { // a literal would refer to itself through the functions
	deeds = map[state.StepKind]deed{
		state.CreateVolume:  {do: (*visit).create},
		state.AdoptVolume:   {do: (*visit).adopt},
		state.SetProperties: {do: (*visit).setProperties},
		state.MountVolume:   {do: (*visit).mountVolume},
		state.SetAside:      {do: (*visit).setAside},
		state.Rejoin:        {do: (*visit).rejoin, synced: true},
		state.AbortRecv:     {do: (*visit).abortReceive},
		state.Fence:         {do: (*visit).fence, quick: true, beside: []ask{(*visit).lookAhead}},
		state.ReleaseVolume: {do: (*visit).release, quick: true, synced: true},
		state.Promote:       {do: (*visit).promote, quick: true, synced: true, beside: []ask{(*visit).lookAhead, (*visit).rootAhead}},
		state.Retire:        {do: (*visit).retire, quick: true},
		state.SwearOff:      {do: (*visit).swearOff, quick: true},
		state.GoBack:        {do: (*visit).goBack, quick: true},
		state.SaveGrace:     {do: (*visit).saveGrace},
		state.KeepBase:      {do: (*visit).keepBase},
		state.DeleteOld:     {do: (*visit).deleteOld, synced: true},

		state.Replicate: {}, state.Resume: {}, state.CatchUp: {}, state.LastIncrement: {}, // send.go
		state.HoldConnections: {}, state.SetRoutes: {},
	}
}

// visit is one step at one copy: what it was read as, and what the step leaves behind.
type visit struct {
	a *Agent
	z *zfs.ZFS // its children hold the volume's lock
	s state.Step
	t uint64      // the turn of the volume's lock
	c *state.Copy // read under the lock; nil if there is none
	r Result

	ahead ahead
}

// step serves one request. Its context is work, so that a sender that goes away does not end the step half-way.
func (a *Agent) step(work, streams context.Context, r *http.Request) (any, error) {
	req, err := decodeRequest(r.Body)
	if err != nil {
		return nil, err
	}
	s := req.Step
	if s.Node != "" && s.Node != a.id {
		return nil, errorf(CodeRefused, "%s is for node %s; this is node %s on %s", s.Kind, s.Node, a.id, a.o.Hostname)
	}
	if err := a.admit(work, req.Term); err != nil {
		return nil, a.phrase(s, err)
	}
	log := a.log.With("step", s.Kind, "app", s.App, "volume", s.Volume, "epoch", s.Epoch, "snapshot", s.Snapshot, "node", a.o.Hostname)
	log.Info("step starts")
	began := time.Now()
	result, err := a.carryOut(work, streams, r.Context(), s)
	if err != nil {
		log.Warn("step ends", "took", time.Since(began), "err", err)
		return nil, a.phrase(s, err)
	}
	log.Info("step ends", "took", time.Since(began), "notes", result.Notes)
	return result, nil
}

// phrase makes an error a sentence that says which step, volume and node it is about.
func (a *Agent) phrase(s state.Step, err error) error {
	e := *asError(err)
	e.Message = fmt.Sprintf("%s %s on %s: %s", s.Kind, s.Volume, a.o.Hostname, e.Message)
	return &e
}

func (a *Agent) carryOut(work, streams, asked context.Context, s state.Step) (Result, error) {
	a.closeLines(s)
	switch d := deeds[s.Kind]; {
	case s.Kind == state.HoldConnections || s.Kind == state.SetRoutes:
		return a.setRoutes(s)
	case s.Volume == "" || s.UUID == "":
		return Result{}, errorf(CodeBadRequest, "the step names no volume and uuid")
	case d.do == nil:
		return a.send(streams, asked, s)
	default:
		return a.underLock(work, s, d)
	}
}

// closeLines closes the idle lines that would keep a step waiting for its volume's lock: the one that waits here for an increment, and the
// one from here that only the last increment needs.
func (a *Agent) closeLines(s state.Step) {
	if s.UUID == "" {
		return
	}
	a.under.letGo(s.UUID)
	if s.Kind != state.Fence && s.Kind != state.LastIncrement {
		a.lines.drop(s.UUID)
	}
}

// underLock locks the volume, reads its copy and does the deed.
func (a *Agent) underLock(ctx context.Context, s state.Step, d deed) (Result, error) {
	lock, err := a.locks.take(ctx, s.UUID, "the step "+string(s.Kind))
	if err != nil {
		return Result{}, err
	}
	defer lock.release()
	v := &visit{a: a, z: lock.zfs(a.zfs), s: s, t: lock.turn}
	if d.quick {
		v.z = v.z.WithoutHolds()
	}
	if err := v.read(ctx, d); err != nil {
		return Result{}, err
	}
	if err := d.do(v, ctx); err != nil {
		return Result{}, err
	}
	if v.r.Copy == nil && !v.r.Gone {
		v.r.Copy = v.c
	}
	return v.r, nil
}

// note keeps what did not matter enough to fail.
func (v *visit) note(format string, args ...any) {
	v.r.Notes = append(v.r.Notes, fmt.Sprintf(format, args...))
}

// reread reads the copy again, after changes that cannot be predicted.
func (v *visit) reread(ctx context.Context) (err error) {
	if v.c, err = v.a.find(ctx, v.z, v.s.UUID, v.s.Volume); err == nil && v.c == nil {
		err = errorf(CodeUnexpected, "its copy has gone meanwhile")
	}
	return err
}

// apply writes a row's change in one `zfs set`, which is durable when it returns, and brings the copy at hand up to it.
func (v *visit) apply(ctx context.Context, ch *change) error {
	if err := v.z.Set(ctx, v.c.Dataset, ch.properties()); err != nil {
		return err
	}
	ch.applyTo(v.c)
	return nil
}

// properties are what a change is on the dataset. Grace starts anew with every role.
func (ch *change) properties() map[string]string {
	props := map[string]string{
		zfs.PropRole:        string(ch.role),
		zfs.PropEpoch:       ch.epoch.String(),
		zfs.PropReleased:    zfs.FormatReleased(ch.release),
		zfs.PropGraceServed: "0",
		"readonly":          onOff(ch.readonly),
		"canmount":          "noauto",
	}
	if ch.back != nil {
		props[propBack] = string(ch.back.To) + "/" + ch.back.Epoch.String()
	}
	return props
}

func (ch *change) applyTo(c *state.Copy) {
	for i := range c.Children {
		if d := &c.Children[i]; d.Properties["readonly"] == "" {
			d.Readonly = ch.readonly // inherited, if not from one between
		}
	}
	c.Role, c.Epoch, c.Readonly, c.Release, c.GraceServed = ch.role, ch.epoch, ch.readonly, ch.release, 0
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// facts gathers what the rows rest on beside the copy.
func (v *visit) facts(ctx context.Context) (facts, error) {
	f := facts{node: v.a.id}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		root, err := v.root(ctx)
		f.refused, f.taken = root.refused[v.s.UUID], root.taken[v.s.UUID]
		return err
	})
	g.Go(func() error { return v.use(ctx, &f) })
	if follows(v.s) {
		g.Go(func() (err error) { f.lead, f.leadBack, err = v.lead(ctx); return err })
	}
	return f, g.Wait()
}

// lead reads this node's copy of the app's leading volume, and from which release it has gone back.
func (v *visit) lead(ctx context.Context) (*state.Copy, *state.Release, error) {
	lead, err := v.a.findNamed(ctx, v.s.Lead)
	if err != nil || lead == nil || v.s.Kind != state.GoBack {
		return lead, nil, err
	}
	props, err := v.a.zfs.LocalProperties(ctx, lead.Dataset)
	if err != nil {
		return nil, nil, err
	}
	back, err := parseBack(props[propBack])
	return lead, back, err
}

// peer asks the agent of the step's peer for its copy, afresh. Nil if it has none.
func (v *visit) peer(ctx context.Context) (*state.Copy, error) {
	if v.s.PeerAddress == "" {
		return nil, errorf(CodeBadRequest, "the step names no address of the primary to ask")
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	c, err := v.a.peers.Copy(ctx, v.s.PeerAddress, v.s.UUID)
	if isNotFound(err) {
		return nil, nil
	}
	return c, err
}

func (v *visit) saveGrace(ctx context.Context) error {
	if err := expected(v.c, v.s, state.Retired); err != nil {
		return err
	}
	if v.s.Grace <= v.c.GraceServed {
		return nil // it only grows
	}
	seconds := strconv.FormatInt(int64(v.s.Grace/time.Second), 10)
	if err := v.z.Set(ctx, v.c.Dataset, map[string]string{zfs.PropGraceServed: seconds}); err != nil {
		return err
	}
	v.c.GraceServed = v.s.Grace.Truncate(time.Second)
	return nil
}

// routesMu keeps two changes of the gate's table from losing each other.
var routesMu sync.Mutex

// setRoutes replaces the routes of the apps that the step names, and keeps those of all others.
func (a *Agent) setRoutes(s state.Step) (Result, error) {
	routesMu.Lock()
	defer routesMu.Unlock()
	replaced := map[state.AppID]bool{s.App: true}
	wanted := make([]state.Route, 0, len(s.Routes))
	for _, r := range s.Routes {
		replaced[r.App] = true
		r.Held = r.Held || s.Kind == state.HoldConnections
		wanted = append(wanted, r)
	}
	for _, r := range a.gate.State().Routes {
		if !replaced[r.App] {
			wanted = append(wanted, r)
		}
	}
	if err := a.gate.Set(wanted); err != nil {
		return Result{}, fmt.Errorf("set routes: %w", err)
	}
	now := a.gate.State()
	return Result{Gate: &now}, nil
}
