package register_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drover-project/drover/register"
	"github.com/drover-project/drover/state"
)

func newRegister(t testing.TB) *register.Register {
	t.Helper()
	r, err := register.Open("file://" + filepath.ToSlash(filepath.Join(t.TempDir(), "register")))
	must(t, err)
	return r
}

func TestObserve(t *testing.T) {
	r, ctx := newRegister(t), t.Context()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	empty := state.Register{Source: state.Source{At: at}, Births: map[state.VolumeName]state.Birth{},
		Members: map[state.NodeID]state.Member{}, Forced: map[state.UUID]uint64{}, Marks: map[state.AppID]state.Mark{}}
	if d := cmp.Diff(empty, r.Observe(ctx, at)); d != "" {
		t.Errorf("empty (-want +got):\n%s", d)
	}
	birth := state.Birth{Volume: "tododata", UUID: "u1", Node: "n1"}
	member := state.Member{ID: "n1", Hostname: "node 1", Address: "[::1]:7070"}
	mark := state.Mark{Kind: state.Cancelled, Digest: "d"}
	_, err := r.Claim(ctx, birth)
	must(t, errors.Join(err, r.RecordCreated(ctx, "tododata", "u1"), r.PutMember(ctx, member),
		r.SetMark(ctx, "/todo/db", &mark), r.SetMark(ctx, "/todo/web", &mark), r.SetMark(ctx, "/todo/web", nil), r.ClaimForced(ctx, "u1", 2)))
	birth.Created = true
	want := state.Register{
		Source:  state.Source{At: at},
		Births:  map[state.VolumeName]state.Birth{"tododata": birth},
		Members: map[state.NodeID]state.Member{"n1": member},
		Forced:  map[state.UUID]uint64{"u1": 2},
		Marks:   map[state.AppID]state.Mark{"/todo/db": mark},
	}
	if d := cmp.Diff(want, r.Observe(ctx, at)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	must(t, errors.Join(r.ForgetVolume(ctx, "tododata"), r.ForgetMember(ctx, "n1"), r.SetMark(ctx, "/todo/db", nil), r.SetMark(ctx, "/never", nil)))
	want = empty
	want.Forced = map[state.UUID]uint64{"u1": 2} // outlives everything
	if d := cmp.Diff(want, r.Observe(ctx, at)); d != "" {
		t.Errorf("after forgetting (-want +got):\n%s", d)
	}
}

func TestClaimIsMadeOnce(t *testing.T) {
	r := newRegister(t)
	var wg sync.WaitGroup
	got := make([]state.Birth, 50)
	for i := range got {
		wg.Go(func() {
			var err error
			got[i], err = r.Claim(t.Context(), state.Birth{Volume: "v", UUID: state.UUID(fmt.Sprint(i)), Node: "n"})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	in := r.Observe(t.Context(), time.Now()).Births["v"]
	for i, b := range got {
		if b != in {
			t.Errorf("claim %d returned %v, in force is %v", i, b, in)
		}
	}
}

func TestRefusals(t *testing.T) {
	r, ctx := newRegister(t), t.Context()
	_, err := r.Claim(ctx, state.Birth{Volume: "v", UUID: "u1"})
	must(t, errors.Join(err, r.ClaimForced(ctx, "u1", 1)))
	_, statusErr := r.Status(ctx)
	_, nameless := r.Claim(ctx, state.Birth{})
	if nameless == nil {
		t.Error("a claim of no volume: no error")
	}
	for what, c := range map[string]struct{ err, want error }{
		"created, never claimed":   {r.RecordCreated(ctx, "w", "u1"), register.ErrNotFound},
		"created, of another uuid": {r.RecordCreated(ctx, "v", "u2"), register.ErrConflict},
		"forget an unknown volume": {r.ForgetVolume(ctx, "w"), register.ErrNotFound},
		"forget an unknown member": {r.ForgetMember(ctx, "w"), register.ErrNotFound},
		"forced, the same again":   {r.ClaimForced(ctx, "u1", 1), register.ErrConflict},
		"forced, lower":            {r.ClaimForced(ctx, "u1", 0), register.ErrConflict},
		"status, none":             {statusErr, register.ErrNotFound},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", what, c.err, c.want)
		}
	}
}

func TestDesiredIsKept(t *testing.T) {
	r, ctx := newRegister(t), t.Context()
	if _, err := r.Desired(ctx); !errors.Is(err, register.ErrNotFound) {
		t.Errorf("before any was kept: %v, want ErrNotFound", err)
	}
	want := &state.Desired{Digest: "d", Apps: map[state.AppID]state.App{"/a": {ID: "/a", Definition: json.RawMessage(`{"cpus":1.50}`),
		Cutover: state.Cutover{MaxOutage: 5 * time.Second}}}, Volumes: map[state.VolumeName]state.Volume{"v": {Name: "v", Quota: 1 << 40}}}
	must(t, r.KeepDesired(ctx, want))
	got, err := r.Desired(ctx)
	must(t, err)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestAnyNameIsKept(t *testing.T) {
	r, ctx := newRegister(t), t.Context()
	want := map[state.AppID]state.Timing{}
	for i, app := range []state.AppID{"/a", "/a/b", "/a%2Fb", ".", "..", ".hidden", "a b", "ü\n@", "/a//b"} {
		want[app] = state.Timing{Stop: time.Duration(i) * time.Second}
		must(t, r.SetTiming(ctx, app, want[app]))
	}
	got, err := r.Timings(ctx)
	must(t, err)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if err := r.SetTiming(ctx, state.AppID(strings.Repeat("x", 300)), state.Timing{}); err == nil {
		t.Error("a name of 300 bytes: no error")
	}
}

func TestStatus(t *testing.T) {
	r, ctx := newRegister(t), t.Context()
	must(t, errors.Join(r.PublishStatus(ctx, []byte(`{"a":1}`)), r.PublishStatus(ctx, []byte(`{"a":2}`))))
	if got, err := r.Status(ctx); err != nil || string(got) != `{"a":2}` {
		t.Errorf("got %s, %v", got, err)
	}
	if err := r.PublishStatus(ctx, []byte("{")); err == nil {
		t.Error("half a status: no error")
	}
}

func TestLeadershipIsPassedThrough(t *testing.T) {
	r, ctx := newRegister(t), t.Context()
	l, err := r.Campaign(ctx, "me")
	must(t, err)
	defer func() { must(t, l.Resign()) }()
	if holder, term, ok, err := r.Leader(ctx); holder != "me" || term != l.Term() || !ok || err != nil {
		t.Errorf("leader %q, %d, %v, %v", holder, term, ok, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for location, want := range map[string]string{
		"zk://zk1:2181/drover": "not built in yet",
		"/var/lib/drover":      "want file:///PATH",
		"file://host/path":     "want file:///PATH",
		"file:relative":        "want file:///PATH",
		"":                     "want file:///PATH",
		"http://x":             "want file:///PATH",
	} {
		if _, err := register.Open(location); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("open %q: %v, want %q in it", location, err, want)
		}
	}
}

// BenchmarkObserve is a whole observation of 1,000 births.
func BenchmarkObserve(b *testing.B) {
	r := newRegister(b)
	for i := range 1000 {
		_, err := r.Claim(b.Context(), state.Birth{Volume: state.VolumeName(fmt.Sprint("v", i)), UUID: "u", Node: "n"})
		must(b, err)
	}
	for b.Loop() {
		if o := r.Observe(b.Context(), time.Now()); len(o.Births) != 1000 {
			b.Fatal(o.Err)
		}
	}
}
