package todo

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestKilledWhileWriting kills the database with signal 9 again and again while a load writes to it, and
// looks whether everything that was acknowledged is there.
func TestKilledWhileWriting(t *testing.T) {
	dir, ledger := t.TempDir(), filepath.Join(t.TempDir(), "ledger")
	db := startProgram(t, dbEnv(dir, "node1", "0"), "db")
	book, err := OpenLedger(ledger)
	if err != nil {
		t.Fatal(err)
	}
	load := Load{List: NewClient("http://"+db.addr, 0, webAttempt), Ledger: book, Run: "kills"}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan Report, 1)
	go func() {
		r, err := load.Do(ctx)
		if err != nil {
			t.Error("load:", err)
		}
		done <- r
	}()
	lines := func() int {
		entries, err := ReadLedger(ledger)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	const kills = 4
	for range kills {
		more := lines() + 40
		until(t, "the load goes on", func() bool { return lines() >= more })
		db.kill()
		db = startProgram(t, dbEnv(dir, "node2", db.port()), "db")
	}
	more := lines() + 10
	until(t, "the load goes on", func() bool { return lines() >= more })
	stop()
	report := <-done
	if err := book.Close(); err != nil {
		t.Error(err)
	}
	if report.Errors < 1 || len(report.Moves) != 1 || report.Moves[0].To.Node != "node2" || report.LongestGapMS < report.Moves[0].OutageMS {
		t.Errorf("report: %+v, want errors and one move", report)
	}
	check := startProgram(t, nil, "check", "-ledger", ledger, "-url", "http://"+db.addr)
	if err := check.wait(); err != nil {
		t.Errorf("check: %v\n%s", err, &check.out)
	}
}

// TestCheckNamesWhatIsMissing shows that the check can fail.
func TestCheckNamesWhatIsMissing(t *testing.T) {
	db := startDB(t, t.TempDir(), "127.0.0.1:0", "node1")
	path := filepath.Join(t.TempDir(), "ledger")
	load := startProgram(t, nil, "load", "-url", "http://"+db.addr, "-ledger", path, "-count", "5")
	if err := load.wait(); err != nil {
		t.Fatal("load:", err)
	}
	var report Report
	if err := json.Unmarshal(load.out.Bytes(), &report); err != nil || report.Acknowledged != 5 || report.Errors != 0 {
		t.Errorf("report %+v, %v", report, err)
	}
	entries, err := ReadLedger(path)
	if err != nil || len(entries) != 5 {
		t.Fatalf("ledger: %v %v", entries, err)
	}
	if _, err := testClient(db.addr).Remove(t.Context(), entries[2].ID); err != nil {
		t.Fatal(err)
	}
	check := startProgram(t, nil, "check", "-url", "http://"+db.addr, "-ledger", path)
	if err := check.wait(); err == nil {
		t.Error("check found everything")
	}
	if got := check.out.String(); len(got) == 0 || got[:len(entries[2].ID)] != entries[2].ID {
		t.Errorf("check printed %q, want first %s", got, entries[2].ID)
	}
}

// TestStopIsQuickAndTidy stops the database while somebody holds a connection open without a request, as
// gates and health checks do, and while another waits on a connection that it has used.
func TestStopIsQuickAndTidy(t *testing.T) {
	dir := t.TempDir()
	db := startProgram(t, dbEnv(dir, "node1", "0"), "db")
	silent, err := new(net.Dialer).DialContext(t.Context(), "tcp", db.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if _, _, err := testClient(db.addr).Add(t.Context(), Todo{ID: "a", Title: "x"}); err != nil {
		t.Fatal(err)
	}
	if err := db.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := db.wait(); err != nil {
		t.Error("exit:", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "todo.db-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestProgramRefuses(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "data")
	for name, c := range map[string]struct {
		env  []string
		args []string
	}{
		"no command":   {nil, nil},
		"no folder":    {[]string{"TODO_DATA=" + missing}, []string{"db"}},
		"no database":  {[]string{"TODO_DB="}, []string{"web"}},
		"no URL":       {nil, []string{"load"}},
		"no ledger":    {nil, []string{"check", "-url", "http://127.0.0.1:1"}},
		"extra words":  {nil, []string{"web", "now"}},
		"unknown flag": {nil, []string{"load", "-fast"}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := startProgram(t, c.env, c.args...).wait(); err == nil {
				t.Error("exit 0")
			}
		})
	}
	if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is there now: %v", err)
	}
}

// TestWebWaitsForTheDatabase takes the database away under requests, and brings it back elsewhere: the
// clients of web see a pause and no error.
func TestWebWaitsForTheDatabase(t *testing.T) {
	dir := t.TempDir()
	db := startDB(t, dir, "127.0.0.1:0", "node1")
	web := startWeb(t, db.addr, deadline)
	// Patience 0: whatever fails, fails the test.
	client := NewClient("http://"+web.addr, 0, deadline)
	if _, a, err := client.Add(t.Context(), Todo{ID: "before", Title: "x"}); err != nil || a.Node != "node1" {
		t.Fatal(a, err)
	}
	db.stop()
	answers := make(chan error, 3)
	go func() {
		_, a, err := client.Add(t.Context(), Todo{ID: "during", Title: "y"})
		if err == nil && a.Node != "node2" {
			err = errors.New("answer from " + a.Node)
		}
		answers <- err
	}()
	go func() {
		_, _, err := client.Get(t.Context(), "before")
		answers <- err
	}()
	go func() {
		_, _, err := client.Change(t.Context(), "before", Change{Title: new("z")})
		answers <- err
	}()
	if status, _, _ := request(t, "GET", "http://"+web.addr+"/healthz", ""); status != http.StatusOK {
		t.Errorf("web calls itself ill while the database moves: %d", status)
	}
	startDB(t, dir, db.addr, "node2")
	for range 3 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if todos, _, err := client.List(t.Context(), Query{}); err != nil || len(todos) != 2 || todos[0].Title != "z" {
		t.Errorf("list: %v %v, want the changed one and the new one", todos, err)
	}
}

func TestWebSaysSoWhenPatienceEnds(t *testing.T) {
	web := startWeb(t, "127.0.0.1:1", time.Millisecond)
	status, _, text := request(t, "GET", "http://"+web.addr+"/", "")
	var p problem
	if err := json.Unmarshal([]byte(text), &p); status != http.StatusServiceUnavailable || err != nil || p.Error == "" {
		t.Errorf("got %d %s, want 503 with a sentence", status, text)
	}
}

// TestLostAnswerIsRepeated drops the database's answer after the work is done: the repeated request must
// find it done, and do it no second time.
func TestLostAnswerIsRepeated(t *testing.T) {
	db := startDB(t, t.TempDir(), "127.0.0.1:0", "node1")
	lossy := &loseFirst{next: http.DefaultTransport}
	client := testClient(db.addr)
	client.HTTP = &http.Client{Transport: lossy}
	stored, a, err := client.Add(t.Context(), Todo{ID: "a", Title: "x"})
	if err != nil || stored.Title != "x" || a.Status != http.StatusOK {
		t.Errorf("add: %v %v %v, want 200 with what is stored", stored, a, err)
	}
	if todos, _, err := client.List(t.Context(), Query{}); err != nil || len(todos) != 1 {
		t.Errorf("list: %v %v, want one", todos, err)
	}
	if lossy.lost != 1 {
		t.Errorf("%d answers lost, want 1", lossy.lost)
	}
}

// loseFirst carries requests and throws the first answer away.
type loseFirst struct {
	next http.RoundTripper
	lost int
}

func (l *loseFirst) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	if err != nil || l.lost > 0 {
		return resp, err
	}
	l.lost++
	return nil, errors.Join(errors.New("connection reset"), resp.Body.Close())
}
