package agent

import (
	"fmt"
	"slices"
	"testing"

	"github.com/drover-project/drover/state"
)

const (
	here  state.NodeID = "here"
	there state.NodeID = "there"
	other state.NodeID = "other"
)

func ep(f, n uint64) state.Epoch { return state.Epoch{F: f, N: n} }

// row is one row of the table with a request that it accepts.
type row struct {
	name string
	from state.Copy
	step state.Step
	f    facts
	peer *state.Copy
	ask  func(c *state.Copy, s state.Step, f facts, peer *state.Copy) (*change, *Error)
	to   state.Copy // role, epoch, readonly, release afterwards
}

// base is a copy in a role, with one snapshot and nothing written since.
func base(r state.Role, e state.Epoch) state.Copy {
	return state.Copy{Dataset: "tank/drover/v", Volume: "v", UUID: "u", Role: r, Epoch: e, Filesystem: state.Filesystem{Readonly: r != state.Primary,
		Snapshots: []state.Snapshot{{Name: "s1", GUID: 11}, {Name: "s2", GUID: 12}}}}
}

func given(c state.Copy, r state.Release) state.Copy {
	c.Release = &r
	return c
}

func request(kind state.StepKind, r state.Role, e state.Epoch) state.Step {
	return state.Step{Kind: kind, Volume: "v", UUID: "u", Lead: "v", Expect: state.Expect{Role: r, Epoch: e}}
}

func with(s state.Step, f func(*state.Step)) state.Step {
	f(&s)
	return s
}

// rows are the table's rows, each with a request that it accepts, at epoch 0.3.
func rows() []row {
	e, n := ep(0, 3), ep(0, 5)
	toThere := state.Release{From: here, To: there, Epoch: n, GUID: 12}
	toHere := state.Release{From: there, To: here, Epoch: n, GUID: 12}
	primary := base(state.Primary, n)
	return []row{
		{name: "fence", from: base(state.Primary, e), to: base(state.Fenced, e),
			step: with(request(state.Fence, state.Primary, e), func(s *state.Step) { s.Snapshot = "final" }),
			ask:  func(c *state.Copy, s state.Step, f facts, _ *state.Copy) (*change, *Error) { return fence(c, s, f) }},
		{name: "release", from: base(state.Fenced, e), to: given(base(state.Released, e), toThere),
			step: with(request(state.ReleaseVolume, state.Fenced, e), func(s *state.Step) { s.Peer, s.Epoch, s.Release = there, n, &toThere }),
			ask:  func(c *state.Copy, s state.Step, f facts, _ *state.Copy) (*change, *Error) { return release(c, s, f) }},
		{name: "promote", from: base(state.Standby, e), to: base(state.Primary, n), f: facts{refused: ep(0, 4)},
			step: with(request(state.Promote, state.Standby, e), func(s *state.Step) { s.Epoch, s.Release = n, &toHere }),
			ask:  func(c *state.Copy, s state.Step, f facts, _ *state.Copy) (*change, *Error) { return promote(c, s, f) }},
		{name: "retire", from: given(base(state.Released, e), toThere), to: given(base(state.Retired, e), toThere),
			step: with(request(state.Retire, state.Released, e), func(s *state.Step) { s.Taken = &state.Taken{Node: there, Epoch: n} }),
			ask:  func(c *state.Copy, s state.Step, _ facts, _ *state.Copy) (*change, *Error) { return retire(c, s) }},
		{name: "back from fenced", from: base(state.Fenced, e), to: base(state.Primary, e.Next()),
			step: with(request(state.GoBack, state.Fenced, e), func(s *state.Step) { s.Epoch = e.Next() }),
			ask:  func(c *state.Copy, s state.Step, f facts, _ *state.Copy) (*change, *Error) { return goBack(c, s, f) }},
		{name: "back from released", from: given(base(state.Released, e), toThere), to: base(state.Primary, n.Next()),
			step: with(request(state.GoBack, state.Released, e), func(s *state.Step) { s.Epoch, s.Refusal = n.Next(), &state.Refusal{Node: there, Epoch: n} }),
			ask:  func(c *state.Copy, s state.Step, f facts, _ *state.Copy) (*change, *Error) { return goBack(c, s, f) }},
		{name: "rejoin", from: base(state.Retired, e), to: base(state.Standby, e), peer: &primary,
			step: with(request(state.Rejoin, state.Retired, e), func(s *state.Step) { s.Base = 12 }),
			ask:  func(c *state.Copy, s state.Step, _ facts, p *state.Copy) (*change, *Error) { return rejoin(c, s, p) }},
	}
}

func (r row) facts() facts {
	f := r.f
	f.node = here
	return f
}

func same(a, b *state.Copy) bool {
	if (a.Release == nil) != (b.Release == nil) || a.Release != nil && *a.Release != *b.Release {
		return false
	}
	return a.Role == b.Role && a.Epoch == b.Epoch && a.Readonly == b.Readonly
}

func TestEveryRowDoesItsChangeOnce(t *testing.T) {
	for _, r := range rows() {
		t.Run(r.name, func(t *testing.T) {
			c := r.from
			ch, err := r.ask(&c, r.step, r.facts(), r.peer)
			if err != nil || ch == nil {
				t.Fatalf("refused: %v", err)
			}
			ch.applyTo(&c)
			if !same(&c, &r.to) {
				t.Errorf("became (%s, %s, readonly %v, %+v), want (%s, %s, readonly %v, %+v)", c.Role, c.Epoch, c.Readonly, c.Release, r.to.Role, r.to.Epoch, r.to.Readonly, r.to.Release)
			}
			if again, err := r.ask(&c, r.step, r.facts(), r.peer); err != nil || again != nil {
				t.Errorf("the second time: %+v, %v; want nothing to do", again, err)
			}
		})
	}
}

// Every other (role, epoch) pair, and no copy at all, is refused and left alone, except where the effect is there already.
func TestEveryRowRefusesEveryOtherPair(t *testing.T) {
	for _, r := range rows() {
		for _, role := range everyRole {
			for n := uint64(1); n <= 7; n++ {
				for f := uint64(0); f <= 1; f++ {
					c := r.from
					c.Role, c.Epoch = role, ep(f, n)
					if c.Role == r.from.Role && c.Epoch == r.from.Epoch {
						continue
					}
					ch, err := r.ask(&c, r.step, r.facts(), r.peer)
					done := c.Role == r.to.Role && c.Epoch == r.to.Epoch
					if ch != nil || err == nil && !done {
						t.Errorf("%s accepted (%s, %s)", r.name, c.Role, c.Epoch)
					}
					if err != nil && err.Code != CodeUnexpected {
						t.Errorf("%s at (%s, %s): %s", r.name, c.Role, c.Epoch, err.Code)
					}
				}
			}
		}
		if ch, err := r.ask(nil, r.step, r.facts(), r.peer); ch != nil || err == nil || err.Code != CodeUnexpected {
			t.Errorf("%s without a copy: %+v, %v", r.name, ch, err)
		}
		c := r.from
		c.UUID = "another"
		if ch, err := r.ask(&c, r.step, r.facts(), r.peer); ch != nil || err == nil {
			t.Errorf("%s changed another volume's copy", r.name)
		}
		wrong := with(r.step, func(s *state.Step) { s.Expect = state.Expect{} })
		c = r.from
		if ch, err := r.ask(&c, wrong, r.facts(), r.peer); ch != nil || err == nil {
			t.Errorf("%s without an expectation was accepted", r.name)
		}
	}
}

// Each condition of each row, broken alone.
func TestEveryConditionCounts(t *testing.T) {
	user := []state.User{{PID: 7, Command: "mongod", How: "open"}}
	lead := func(r state.Role, e state.Epoch, rel *state.Release) *state.Copy {
		return &state.Copy{Role: r, Epoch: e, Release: rel}
	}
	follower := func(s *state.Step) { s.Lead = "l" }
	type breakage struct {
		row, what string
		code      Code
		copy      func(*state.Copy)
		step      func(*state.Step)
		facts     func(*facts)
		peer      func(*state.Copy)
	}
	for _, b := range []breakage{
		{row: "fence", what: "users", code: CodeBusy, facts: func(f *facts) { f.users = user }},
		{row: "fence", what: "its snapshot is there from before", code: CodeRefused, step: func(s *state.Step) { s.Snapshot = "s1" }},
		{row: "release", what: "no evidence", code: CodeBadRequest, step: func(s *state.Step) { s.Release = nil }},
		{row: "release", what: "another newest snapshot", code: CodeRefused, step: func(s *state.Step) { s.Release = &state.Release{GUID: 11} }},
		{row: "release", what: "no snapshot named", code: CodeBadRequest, step: func(s *state.Step) { s.Release = &state.Release{} }},
		{row: "release", what: "no snapshot there", code: CodeRefused, copy: func(c *state.Copy) { c.Snapshots = nil }},
		{row: "release", what: "written since", code: CodeRefused, copy: func(c *state.Copy) { c.Written = 1 }},
		{row: "release", what: "fence lifted by hand", code: CodeRefused, copy: func(c *state.Copy) { c.Readonly = false }},
		{row: "release", what: "to itself", code: CodeRefused, step: func(s *state.Step) { s.Peer = here }},
		{row: "release", what: "epoch not above", code: CodeRefused, step: func(s *state.Step) { s.Epoch = ep(0, 3) }},
		{row: "release", what: "follower without lead", code: CodeRefused, step: follower},
		{row: "release", what: "follower, lead only fenced", code: CodeRefused, step: follower, facts: func(f *facts) { f.lead = lead(state.Fenced, ep(0, 3), nil) }},
		{row: "release", what: "follower, lead to another node", code: CodeRefused, step: follower, facts: func(f *facts) {
			f.lead = lead(state.Released, ep(0, 3), &state.Release{To: other, Epoch: ep(0, 5)})
		}},
		{row: "release", what: "follower, lead at another epoch", code: CodeRefused, step: follower, facts: func(f *facts) {
			f.lead = lead(state.Released, ep(0, 3), &state.Release{To: there, Epoch: ep(0, 6)})
		}},
		{row: "promote", what: "no release", code: CodeBadRequest, step: func(s *state.Step) { s.Release = nil }},
		{row: "promote", what: "released to another", code: CodeRefused, facts: func(f *facts) { f.node = other }},
		{row: "promote", what: "another epoch", code: CodeRefused, step: func(s *state.Step) { s.Epoch = ep(0, 6) }},
		{row: "promote", what: "sworn off", code: CodeRefused, facts: func(f *facts) { f.refused = ep(0, 5) }},
		{row: "promote", what: "had it before", code: CodeRefused, facts: func(f *facts) { f.taken = ep(0, 5) }},
		{row: "promote", what: "newest is another", code: CodeRefused, copy: func(c *state.Copy) { c.Snapshots = c.Snapshots[:1] }},
		{row: "promote", what: "written before somebody's snapshot", code: CodeRefused, copy: func(c *state.Copy) {
			c.Snapshots = append(slices.Clone(c.Snapshots), state.Snapshot{Name: "by-somebody", GUID: 13, Written: 1})
		}},
		{row: "promote", what: "written since", code: CodeRefused, copy: func(c *state.Copy) { c.Written = 1 }},
		{row: "promote", what: "receiving", code: CodeBusy, copy: func(c *state.Copy) { c.Receiving = true }},
		{row: "promote", what: "half-received", code: CodeBusy, copy: func(c *state.Copy) { c.ResumeToken = "1-a-b-c" }},
		{row: "promote", what: "used", code: CodeBusy, facts: func(f *facts) { f.users = user }},
		{row: "promote", what: "mounted", code: CodeBusy, copy: func(c *state.Copy) { c.Mounted = true }},
		{row: "promote", what: "mounted elsewhere", code: CodeBusy, facts: func(f *facts) { f.mounts = []string{"/x of pid 7"} }},
		{row: "promote", what: "follower without lead", code: CodeRefused, step: follower},
		{row: "promote", what: "follower, lead beyond", code: CodeRefused, step: follower, facts: func(f *facts) { f.lead = lead(state.Primary, ep(0, 6), nil) }},
		{row: "promote", what: "follower, lead fenced", code: CodeRefused, step: follower, facts: func(f *facts) { f.lead = lead(state.Fenced, ep(0, 5), nil) }},
		{row: "retire", what: "no fact", code: CodeBadRequest, step: func(s *state.Step) { s.Taken = nil }},
		{row: "retire", what: "another node is primary", code: CodeRefused, step: func(s *state.Step) { s.Taken = &state.Taken{Node: other, Epoch: ep(0, 5)} }},
		{row: "retire", what: "primary before", code: CodeRefused, step: func(s *state.Step) { s.Taken = &state.Taken{Node: there, Epoch: ep(0, 4)} }},
		{row: "back from fenced", what: "skips an epoch", code: CodeRefused, step: func(s *state.Step) { s.Epoch = ep(0, 5) }},
		{row: "back from fenced", what: "same epoch", code: CodeRefused, step: func(s *state.Step) { s.Epoch = ep(0, 3) }},
		{row: "back from fenced", what: "forced epoch", code: CodeRefused, step: func(s *state.Step) { s.Epoch = ep(1, 4) }},
		{row: "back from fenced", what: "follower, lead away", code: CodeRefused, step: follower, facts: func(f *facts) { f.lead = lead(state.Released, ep(0, 3), nil) }},
		{row: "back from released", what: "no refusal", code: CodeRefused, step: func(s *state.Step) { s.Refusal = nil }},
		{row: "back from released", what: "another's refusal", code: CodeRefused, step: func(s *state.Step) { s.Refusal = &state.Refusal{Node: other, Epoch: ep(0, 5)} }},
		{row: "back from released", what: "an earlier refusal", code: CodeRefused, step: func(s *state.Step) { s.Refusal = &state.Refusal{Node: there, Epoch: ep(0, 4)} }},
		{row: "back from released", what: "a refusal of a later epoch", code: CodeRefused, step: func(s *state.Step) {
			s.Epoch, s.Refusal = ep(0, 7), &state.Refusal{Node: there, Epoch: ep(0, 6)}
		}},
		{row: "back from released", what: "the released epoch", code: CodeRefused, step: func(s *state.Step) { s.Epoch = ep(0, 5) }},
		{row: "back from released", what: "unreadable release", code: CodeRefused, copy: func(c *state.Copy) { c.Release = nil }},
		{row: "back from released", what: "follower, lead not at it", code: CodeRefused, step: follower, facts: func(f *facts) { f.lead = lead(state.Primary, ep(0, 5), nil) }},
		{row: "back from released", what: "follower, lead came by another way", code: CodeRefused,
			step:  func(s *state.Step) { s.Lead, s.Refusal = "l", nil },
			facts: func(f *facts) { f.lead = lead(state.Primary, ep(0, 6), nil) }},
		{row: "rejoin", what: "another base", code: CodeRefused, step: func(s *state.Step) { s.Base = 13 }},
		{row: "rejoin", what: "written before its newest snapshot", code: CodeRefused, step: func(s *state.Step) { s.Base = 11 },
			copy: func(c *state.Copy) { c.Snapshots = slices.Clone(c.Snapshots); c.Snapshots[1].Written = 1 }},
		{row: "rejoin", what: "no base", code: CodeBadRequest, step: func(s *state.Step) { s.Base = 0 }},
		{row: "rejoin", what: "written since", code: CodeRefused, copy: func(c *state.Copy) { c.Written = 1 }},
		{row: "rejoin", what: "primary lacks it", code: CodeRefused, peer: func(p *state.Copy) { p.Snapshots = p.Snapshots[:1] }},
		{row: "rejoin", what: "peer is not primary", code: CodeRefused, peer: func(p *state.Copy) { p.Role = state.Fenced }},
		{row: "rejoin", what: "peer is not above", code: CodeRefused, peer: func(p *state.Copy) { p.Epoch = ep(0, 3) }},
		{row: "rejoin", what: "peer has another volume", code: CodeRefused, peer: func(p *state.Copy) { p.UUID = "x" }},
	} {
		t.Run(b.row+": "+b.what, func(t *testing.T) {
			r := find(t, b.row)
			f := r.facts()
			var p state.Copy
			if r.peer != nil {
				p = *r.peer
			}
			breakIt(b.copy, &r.from)
			breakIt(b.step, &r.step)
			breakIt(b.facts, &f)
			breakIt(b.peer, &p)
			ch, err := r.ask(&r.from, r.step, f, &p)
			if ch != nil || err == nil || err.Code != b.code {
				t.Errorf("got %+v, %v; want %s", ch, err, b.code)
			}
		})
	}
}

// An empty snapshot that somebody takes of a standby between its last increment and its promotion is in nobody's way.
func TestAnEmptySnapshotKeepsNothingFromBeingPromoted(t *testing.T) {
	r := find(t, "promote")
	r.from.Snapshots = append(slices.Clone(r.from.Snapshots), state.Snapshot{Name: "by-somebody", GUID: 13})
	if ch, err := r.ask(&r.from, r.step, r.facts(), r.peer); ch == nil || err != nil {
		t.Errorf("refused: %v", err)
	}
}

// Who uses a copy that is fenced, or has it mounted, does not keep it from going back: the app would be down for as long as he likes.
func TestGoingBackWaitsForNobody(t *testing.T) {
	for _, name := range []string{"back from fenced", "back from released"} {
		r := find(t, name)
		f := r.facts()
		f.users, f.mounts = []state.User{{PID: 7, Command: "mongod", How: "open"}}, []string{"/x of pid 7"}
		r.from.Mounted = true
		if ch, err := r.ask(&r.from, r.step, f, r.peer); ch == nil || err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func breakIt[T any](f func(*T), v *T) {
	if f != nil {
		f(v)
	}
}

func find(t *testing.T, name string) row {
	t.Helper()
	for _, r := range rows() {
		if r.name == name {
			return r
		}
	}
	t.Fatalf("no row %q", name)
	return row{}
}

func TestFollowersFollow(t *testing.T) {
	follower := func(s *state.Step) { s.Lead = "l" }
	ask := func(name string, step func(*state.Step), f func(*facts)) *Error {
		r := find(t, name)
		facts := r.facts()
		follower(&r.step)
		step(&r.step)
		f(&facts)
		_, err := r.ask(&r.from, r.step, facts, r.peer)
		return err
	}
	nothing := func(*state.Step) {}
	for name, err := range map[string]*Error{
		"released after its lead": ask("release", nothing, func(f *facts) {
			f.lead = &state.Copy{Role: state.Released, Release: &state.Release{To: there, Epoch: ep(0, 5), GUID: 99}}
		}),
		"promoted after its lead": ask("promote", nothing, func(f *facts) { f.lead = &state.Copy{Role: state.Primary, Epoch: ep(0, 5)} }),
		"back from fenced to where the lead is": ask("back from fenced", func(s *state.Step) { s.Epoch = ep(0, 6) },
			func(f *facts) { f.lead = &state.Copy{Role: state.Primary, Epoch: ep(0, 6)} }),
		"back from released with the refusal": ask("back from released", nothing,
			func(f *facts) { f.lead = &state.Copy{Role: state.Primary, Epoch: ep(0, 6)} }),
		"back from released on the lead's word": ask("back from released", func(s *state.Step) { s.Refusal = nil }, func(f *facts) {
			f.lead, f.leadBack = &state.Copy{Role: state.Primary, Epoch: ep(0, 6)}, &state.Release{To: there, Epoch: ep(0, 5)}
		}),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSwearOff(t *testing.T) {
	for _, c := range []struct {
		name string
		copy *state.Copy
		f    facts
		want state.Epoch
		code Code
	}{
		{name: "no copy", want: ep(0, 5)},
		{name: "standby", copy: ref(base(state.Standby, ep(0, 3))), want: ep(0, 5)},
		{name: "retired before", copy: ref(base(state.Retired, ep(0, 3))), want: ep(0, 5)},
		{name: "sworn already", f: facts{refused: ep(0, 5)}},
		{name: "sworn more already", copy: ref(base(state.Standby, ep(0, 3))), f: facts{refused: ep(0, 6)}},
		{name: "sworn more already, but was primary at it", copy: ref(base(state.Standby, ep(0, 5))), f: facts{refused: ep(0, 6)}, code: CodeUnexpected},
		{name: "sworn more already, but had it", f: facts{taken: ep(0, 5), refused: ep(0, 6)}, code: CodeUnexpected},
		{name: "primary at it", copy: ref(base(state.Primary, ep(0, 5))), code: CodeUnexpected},
		{name: "primary later", copy: ref(base(state.Primary, ep(0, 6))), code: CodeUnexpected},
		{name: "primary before", copy: ref(base(state.Primary, ep(0, 3))), code: CodeUnexpected},
		{name: "fenced at it", copy: ref(base(state.Fenced, ep(0, 5))), code: CodeUnexpected},
		{name: "was primary at it, retired", copy: ref(base(state.Retired, ep(0, 5))), code: CodeUnexpected},
		{name: "was primary at it, standby again", copy: ref(base(state.Standby, ep(0, 5))), code: CodeUnexpected},
		{name: "was primary at it, deleted", f: facts{taken: ep(0, 5)}, code: CodeUnexpected},
	} {
		got, err := swearOff(c.copy, with(request(state.SwearOff, "", state.Epoch{}), func(s *state.Step) { s.Epoch = ep(0, 5) }), c.f)
		if got != c.want || (err == nil) != (c.code == "") || err != nil && err.Code != c.code {
			t.Errorf("%s: %s, %v", c.name, got, err)
		}
	}
}

func ref(c state.Copy) *state.Copy { return &c }

func TestDeletable(t *testing.T) {
	primary := base(state.Primary, ep(0, 5))
	step := with(request(state.DeleteOld, state.Retired, ep(0, 3)), func(s *state.Step) { s.Grace = 10 })
	for name, c := range map[string]struct {
		copy func(*state.Copy)
		peer func(*state.Copy)
		f    facts
		code Code
	}{
		"may go":               {},
		"grace":                {copy: func(c *state.Copy) { c.GraceServed = 9 }, code: CodeRefused},
		"written":              {copy: func(c *state.Copy) { c.Written = 1 }, code: CodeRefused},
		"half-received":        {copy: func(c *state.Copy) { c.ResumeToken = "1-a-b-c" }, code: CodeRefused},
		"no snapshot":          {copy: func(c *state.Copy) { c.Snapshots = nil }, code: CodeRefused},
		"not retired":          {copy: func(c *state.Copy) { c.Role = state.Released }, code: CodeUnexpected},
		"used":                 {f: facts{users: []state.User{{PID: 1}}}, code: CodeBusy},
		"mounted elsewhere":    {f: facts{mounts: []string{"/x"}}, code: CodeBusy},
		"primary lacks newest": {peer: func(p *state.Copy) { p.Snapshots = p.Snapshots[:1] }, code: CodeRefused},
		"peer is fenced":       {peer: func(p *state.Copy) { p.Role = state.Fenced }, code: CodeRefused},
		"peer is not above":    {peer: func(p *state.Copy) { p.Epoch = ep(0, 3) }, code: CodeRefused},
		"peer has another":     {peer: func(p *state.Copy) { p.UUID = "x" }, code: CodeRefused},
	} {
		old, peer := base(state.Retired, ep(0, 3)), primary
		old.GraceServed = 10
		if c.copy != nil {
			c.copy(&old)
		}
		if c.peer != nil {
			c.peer(&peer)
		}
		err := deletable(&old, step, c.f, &peer)
		if (err == nil) != (c.code == "") || err != nil && err.Code != c.code {
			t.Errorf("%s: %v, want %q", name, err, c.code)
		}
	}
	if err := deletable(ref(base(state.Retired, ep(0, 3))), step, facts{}, nil); err == nil {
		t.Error("deleted though the primary has no copy")
	}
}

func TestPeopleNamesAFew(t *testing.T) {
	var users []state.User
	for i := range 5 {
		users = append(users, state.User{PID: i, Command: fmt.Sprint("p", i), How: "open"})
	}
	if got, want := people(users), "pid 0 p0 (open), pid 1 p1 (open), pid 2 p2 (open), 2 more"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
