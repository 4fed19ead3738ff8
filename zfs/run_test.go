package zfs

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCommandThatHangsEndsOnTerm(t *testing.T) {
	z, dir := fake(t, "trap 'echo x >$DIR/term; exit 3' TERM; echo x >$DIR/ready; while :; do sleep 0.01; done")
	ctx, cancel := context.WithCancel(testContext(t))
	go func() { appears(t, filepath.Join(dir, "ready")); cancel() }()
	within(t, "set", func() {
		err := z.Set(ctx, "tank/v", map[string]string{PropRole: "primary"})
		if !errors.Is(err, ErrTimeout) || !errors.Is(err, ErrUnknown) || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want an unknown outcome caused by the cancel", err)
		}
	})
	readFile(t, dir, "term")
}

func TestCommandThatIgnoresTermIsKilled(t *testing.T) {
	z, dir := fake(t, "trap '' TERM; echo $$ >$DIR/pid; while :; do sleep 0.01; done")
	z.timeout = 50 * time.Millisecond
	within(t, "snapshot", func() {
		err := z.Snapshot(t.Context(), "s", nil, "tank/v")
		if !errors.Is(err, ErrTimeout) {
			t.Errorf("got %v, want ErrTimeout", err)
		}
		if want := "not done in 50ms"; !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	})
	gone(t, dir)
}

func TestCommandThatCannotBeKilledIsLeft(t *testing.T) {
	z := New(Options{})
	z.grace = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	asleep := make(chan struct{})
	defer close(asleep)
	within(t, "bounded", func() {
		if err := z.bounded(ctx, func() error { <-asleep; return nil }); !errors.Is(err, errGivenUp) {
			t.Errorf("got %v, want errGivenUp", err)
		}
	})
}

func TestCommandThatIsKilledByOthers(t *testing.T) {
	z, _ := fake(t, "kill -9 $$")
	err := z.Destroy(testContext(t), "tank/v")
	if !errors.Is(err, ErrKilled) || !errors.Is(err, ErrUnknown) || errors.Is(err, ErrTimeout) {
		t.Errorf("got %v, want ErrKilled", err)
	}
}

func TestCommandThatIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := New(Options{}).Sync(testContext(t), "tank")
	if !errors.Is(err, exec.ErrNotFound) || errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "zpool") {
		t.Errorf("got %v, want a missing zpool", err)
	}
}

func TestFolderOfTheOptionsComesFirst(t *testing.T) {
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "zpool"), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", other+":"+os.Getenv("PATH"))
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	z, dir := fake(t, `echo "$LC_ALL $MACHINE $PATH" >$DIR/env`)
	z.env = []string{"MACHINE=7"}
	if err := z.Sync(testContext(t), "tank"); err != nil {
		t.Fatal(err)
	}
	if got, want := string(readFile(t, dir, "env")), "C 7 "+dir+":"+other+":"; !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q first", got, want)
	}
}

func TestLongMessageIsKeptAtBothEnds(t *testing.T) {
	z, _ := fake(t, `echo "cannot open 'tank/v': dataset does not exist" >&2
		i=0; while [ $i -lt 3000 ]; do echo "usage text that nobody reads" >&2; i=$((i+1)); done; echo "the end" >&2; exit 2`)
	err := z.Snapshot(testContext(t), "s", nil, "tank/v")
	var its *Error
	if !errors.As(err, &its) || !errors.Is(err, ErrNotFound) || its.Exit != 2 {
		t.Fatalf("got %v, want ErrNotFound and exit 2", err)
	}
	if n := len(its.Stderr); n > maxStderr+20 || !strings.HasSuffix(its.Stderr, "the end\n") {
		t.Errorf("%d bytes kept, want %d with the end", n, maxStderr)
	}
}

func TestOutputIsBounded(t *testing.T) {
	o := &output{max: 10}
	for range 3 {
		if n, err := o.Write([]byte("12345")); n != 5 || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
	}
	if o.String() != "1234512345" || !o.cut {
		t.Errorf("kept %q, cut %v", o, o.cut)
	}
}

func TestWarningOfACommandThatSucceedsIsLogged(t *testing.T) {
	z, _ := fake(t, `echo "cannot mount 'tank/w': directory is not empty" >&2`)
	var log bytes.Buffer
	z.log = slog.New(slog.NewTextHandler(&log, nil))
	if err := z.Rename(testContext(t), "tank/v", "tank/w"); err != nil {
		t.Fatal(err)
	}
	if want := "directory is not empty"; !strings.Contains(log.String(), want) {
		t.Errorf("log %q does not say %q", &log, want)
	}
}

// TestLockLivesAsLongAsTheChild takes a lock, lets a child that outlives the call inherit it, and lets go: the lock is free
// only when the child has ended.
func TestLockLivesAsLongAsTheChild(t *testing.T) {
	z, dir := fake(t, `(while [ ! -e $DIR/end ]; do sleep 0.01; done) >/dev/null 2>&1 & exit 0`)
	file := filepath.Join(t.TempDir(), "lock")
	lock := open(t, file)
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	if err := z.Holding(lock).Set(testContext(t), "tank/v", map[string]string{PropRole: "primary"}); err != nil {
		t.Fatal(err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	second := open(t, file)
	if err := syscall.Flock(int(second.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
		t.Error("the lock is free though a child has it")
	}
	if err := os.WriteFile(filepath.Join(dir, "end"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	within(t, "lock", func() {
		if err := syscall.Flock(int(second.Fd()), syscall.LOCK_EX); err != nil {
			t.Error(err)
		}
	})
}

func open(t *testing.T, file string) *os.File {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}
