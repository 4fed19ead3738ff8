// Package registertest is the suite that every [register.Store] passes. A package that has one calls [Main] from its
// TestMain, because the suite starts copies of the test program as other processes and kills them, and [Run] in a test.
package registertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drover-project/drover/register"
	"github.com/drover-project/drover/state"
)

// patience is for what must come; a test that waits so long has failed. A killed ZooKeeper client leads until its session
// ends.
const patience = 60 * time.Second

// Run tests the stores at locations, each new and empty, that newLocation makes.
func Run(t *testing.T, newLocation func(t *testing.T) string) {
	tests := map[string]func(*testing.T, string){
		"CompareAndSet":       compareAndSet,
		"List":                list,
		"BadKeys":             badKeys,
		"CreateOnce":          createOnce,
		"CreateOnceProcesses": createOnceProcesses,
		"CountConcurrently":   countConcurrently,
		"CountProcesses":      countProcesses,
		"KilledWriter":        killedWriter,
		"LeadExclusively":     leadExclusively,
		"TermsOverKills":      termsOverKills,
		"Resign":              resign,
		"CancelledCampaign":   cancelledCampaign,
		"CancelledContext":    cancelledContext,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, newLocation(t)) })
	}
}

func opened(t *testing.T, location string) register.Store {
	t.Helper()
	s, err := open(location)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

func wantEntry(t *testing.T, s register.Store, key, data string, version int64) {
	t.Helper()
	e, err := s.Get(t.Context(), key)
	must(t, err)
	if string(e.Data) != data || e.Version != version {
		t.Errorf("%s is %q at version %d, want %q at %d", key, e.Data, e.Version, data, version)
	}
}

func compareAndSet(t *testing.T, location string) {
	s, other := opened(t, location), opened(t, location)
	ctx := t.Context()
	const key = "births/a"
	_, err := s.Get(ctx, key)
	wantErr(t, "get of none", err, register.ErrNotFound)
	_, err = s.Put(ctx, key, []byte("x"), 1)
	wantErr(t, "put of none at version 1", err, register.ErrConflict)
	wantErr(t, "delete of none", s.Delete(ctx, key, 1), register.ErrNotFound)

	v, err := s.Put(ctx, key, []byte("one"), 0)
	must(t, err)
	wantEntry(t, other, key, "one", v)
	_, err = other.Put(ctx, key, []byte("again"), 0)
	wantErr(t, "second create", err, register.ErrConflict)

	binary := "two\x00\n\xff"
	w, err := other.Put(ctx, key, []byte(binary), v)
	must(t, err)
	if v < 1 || w <= v {
		t.Errorf("versions %d, then %d", v, w)
	}
	_, err = s.Put(ctx, key, []byte("late"), v)
	wantErr(t, "put at an old version", err, register.ErrConflict)
	wantErr(t, "delete at an old version", s.Delete(ctx, key, v), register.ErrConflict)
	wantEntry(t, s, key, binary, w)

	u, err := s.Put(ctx, key, nil, w)
	must(t, err)
	wantEntry(t, other, key, "", u)
	must(t, s.Delete(ctx, key, u))
	_, err = other.Get(ctx, key)
	wantErr(t, "get after delete", err, register.ErrNotFound)
	_, err = other.Put(ctx, key, []byte("new"), 0)
	must(t, err)
}

func list(t *testing.T, location string) {
	s := opened(t, location)
	keys, err := s.List(t.Context(), "births")
	if err != nil || len(keys) > 0 {
		t.Errorf("a kind without entries: %v, %v", keys, err)
	}
	for _, key := range []string{"births/b", "marks/x", "births/a", "births/%2Ftodo%2Fdb", "births/c"} {
		_, err := s.Put(t.Context(), key, []byte(key), 0)
		must(t, err)
	}
	must(t, s.Delete(t.Context(), "births/c", 1))
	keys, err = opened(t, location).List(t.Context(), "births")
	must(t, err)
	if d := cmp.Diff([]string{"births/%2Ftodo%2Fdb", "births/a", "births/b"}, keys); d != "" {
		t.Errorf("keys (-want +got):\n%s", d)
	}
}

func badKeys(t *testing.T, location string) {
	s := opened(t, location)
	ctx := t.Context()
	for _, key := range []string{"", "a", "a/", "/a", "a/b/c", "../a", "a/..", "a/.", "a/.hidden", "a/b c", "a/b@c", "a/b\nc", "a/b\x00c", "a/é", "a/" + strings.Repeat("x", 300)} {
		_, getErr := s.Get(ctx, key)
		_, putErr := s.Put(ctx, key, []byte("x"), 0)
		for what, err := range map[string]error{"get": getErr, "put": putErr, "delete": s.Delete(ctx, key, 1)} {
			if err == nil || errors.Is(err, register.ErrNotFound) {
				t.Errorf("%s %q: %v, want a refusal", what, key, err)
			}
		}
	}
	if _, err := s.List(ctx, "../entries"); err == nil {
		t.Error("list ../entries: no error")
	}
}

func createOnce(t *testing.T, location string) {
	stores := []register.Store{opened(t, location), opened(t, location)}
	var wg sync.WaitGroup
	var won atomic.Int32
	start := make(chan struct{})
	for i := range 50 {
		wg.Go(func() {
			<-start
			_, err := stores[i%2].Put(t.Context(), "births/once", fmt.Append(nil, i), 0)
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, register.ErrConflict) {
				t.Error(err)
			}
		})
	}
	close(start)
	wg.Wait()
	if n := won.Load(); n != 1 {
		t.Errorf("%d of 50 created it", n)
	}
}

func createOnceProcesses(t *testing.T, location string) {
	var children []*child
	for i := range 10 {
		c := start(t, location, "create", "births/once", fmt.Sprint(i))
		c.expect("ready")
		children = append(children, c)
	}
	for _, c := range children {
		c.say("go")
	}
	var won []string
	for i, c := range children {
		if c.next() == "won" {
			won = append(won, fmt.Sprint(i))
		}
	}
	if len(won) != 1 {
		t.Fatalf("created by %v", won)
	}
	wantEntry(t, opened(t, location), "births/once", won[0], 1)
}

// add counts an entry up by one, as often as somebody else is faster.
func add(ctx context.Context, s register.Store, key string) error {
	for {
		e, err := s.Get(ctx, key)
		if err != nil && !errors.Is(err, register.ErrNotFound) {
			return err
		}
		if _, err = s.Put(ctx, key, append(e.Data, '+'), e.Version); !errors.Is(err, register.ErrConflict) {
			return err
		}
	}
}

func countConcurrently(t *testing.T, location string) {
	s := opened(t, location)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				if err := add(t.Context(), s, "marks/count"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantEntry(t, s, "marks/count", strings.Repeat("+", 40), 40)
}

func countProcesses(t *testing.T, location string) {
	var children []*child
	for range 4 {
		children = append(children, start(t, location, "add", "marks/count", "10"))
	}
	for _, c := range children {
		c.expect("done")
	}
	wantEntry(t, opened(t, location), "marks/count", strings.Repeat("+", 40), 40)
}

// killedWriter kills a process that writes without a break: what it was told is written is there, or something newer.
func killedWriter(t *testing.T, location string) {
	s := opened(t, location)
	for round := range 5 {
		key := fmt.Sprintf("births/k%d", round)
		c := start(t, location, "write", key)
		var told int
		for range 3 + round {
			if _, err := fmt.Sscan(c.next(), &told); err != nil {
				t.Fatal(err)
			}
		}
		c.kill()
		e, err := s.Get(t.Context(), key)
		must(t, err)
		var n int
		if _, err := fmt.Sscan(string(e.Data), &n); err != nil || n < told || string(e.Data) != numbered(n) {
			t.Errorf("%.20q... of %d bytes after %d was written: %v", e.Data, len(e.Data), told, err)
		}
		_, err = s.Put(t.Context(), key, []byte("next"), e.Version)
		must(t, err)
	}
}

// numbered is a value that shows whether it is whole.
func numbered(n int) string { return strings.Repeat(fmt.Sprintf("%d ", n), 1000) }

func leadExclusively(t *testing.T, location string) {
	stores := []register.Store{opened(t, location), opened(t, location)}
	var wg sync.WaitGroup
	var leading atomic.Int32
	var terms []state.Term // changed by who leads only
	for i := range 6 {
		wg.Go(func() {
			l, err := stores[i%2].Campaign(t.Context(), fmt.Sprint("c", i))
			if err != nil {
				t.Error(err)
				return
			}
			if n := leading.Add(1); n != 1 {
				t.Errorf("%d lead", n)
			}
			terms = append(terms, l.Term())
			leading.Add(-1)
			if err := l.Resign(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(terms) != 6 || !slices.IsSorted(terms) || len(slices.Compact(slices.Clone(terms))) != 6 {
		t.Errorf("terms %v, want 6 that grow", terms)
	}
}

func termsOverKills(t *testing.T, location string) {
	s := opened(t, location)
	lines := make(chan claim)
	stop := make(chan struct{})
	children := map[string]*child{}
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		c := start(t, location, "lead", name)
		children[name] = c
		wg.Go(func() {
			for line := range c.lines {
				select {
				case lines <- claim{name, line}:
				case <-stop:
				}
			}
		})
	}
	var last state.Term
	for range children {
		first := receive(t, lines)
		var term state.Term
		if _, err := fmt.Sscanf(first.line, "leads %d", &term); err != nil || term <= last {
			t.Errorf("%s says %q after term %d", first.name, first.line, last)
		}
		last = term
		holder, current, ok, err := s.Leader(t.Context())
		if err != nil || !ok || holder != first.name || current != term {
			t.Errorf("leader %q, %d, %v, %v; want %q, %d", holder, current, ok, err, first.name, term)
		}
		select {
		case second := <-lines:
			t.Errorf("%s says %q while %s leads", second.name, second.line, first.name)
		default:
		}
		children[first.name].kill()
	}
	close(stop)
	wg.Wait()
	if _, term, _, err := s.Leader(t.Context()); err != nil || term != last {
		t.Errorf("term %d, %v after all were killed, want %d", term, err, last)
	}
}

type claim struct{ name, line string }

func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v, ok := <-c:
		if !ok {
			t.Fatal("nothing more comes")
		}
		return v
	case <-time.After(patience):
		t.Fatal("nothing comes")
	}
	panic("not reached")
}

func resign(t *testing.T, location string) {
	s := opened(t, location)
	holder, term, ok, err := s.Leader(t.Context())
	if err != nil || ok || holder != "" || term != 0 {
		t.Errorf("leader of a new store: %q, %d, %v, %v", holder, term, ok, err)
	}
	l, err := s.Campaign(t.Context(), "a")
	must(t, err)
	select {
	case <-l.Lost():
		t.Error("lost at once")
	default:
	}
	must(t, l.Resign())
	select {
	case <-l.Lost():
	default:
		t.Error("not lost after resigning")
	}
	must(t, l.Resign())
	holder, term, ok, err = s.Leader(t.Context())
	if err != nil || ok || holder != "" || term != l.Term() {
		t.Errorf("leader after resigning: %q, %d, %v, %v", holder, term, ok, err)
	}
	next, err := s.Campaign(t.Context(), "b")
	must(t, err)
	defer func() { must(t, next.Resign()) }()
	if next.Term() <= l.Term() {
		t.Errorf("term %d after %d", next.Term(), l.Term())
	}
}

func cancelledCampaign(t *testing.T, location string) {
	s := opened(t, location)
	l, err := s.Campaign(t.Context(), "a")
	must(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := opened(t, location).Campaign(ctx, "b")
		done <- err
	}()
	why := errors.New("enough")
	cancel(why)
	wantErr(t, "cancelled campaign", receive(t, done), why)
	must(t, l.Resign())
	last, err := s.Campaign(t.Context(), "c") // the cancelled one is not in the way
	must(t, err)
	must(t, last.Resign())
}

func cancelledContext(t *testing.T, location string) {
	s := opened(t, location)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, getErr := s.Get(ctx, "births/a")
	_, putErr := s.Put(ctx, "births/a", nil, 0)
	_, listErr := s.List(ctx, "births")
	for what, err := range map[string]error{"get": getErr, "put": putErr, "list": listErr} {
		if err == nil || errors.Is(err, register.ErrNotFound) {
			t.Errorf("%s: %v, want the context's error", what, err)
		}
	}
}
