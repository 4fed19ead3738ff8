package zfs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen; it decides nothing while all is well.
const patience = 20 * time.Second

// fake writes a zfs and a zpool that are this shell script, and returns an adapter that runs them. $DIR is the folder that
// they are in; each appends its words to $DIR/argv.
func fake(t testing.TB, script string) (*ZFS, string) {
	t.Helper()
	dir := t.TempDir()
	body := fmt.Sprintf("#!/bin/sh\nDIR='%s'\n(IFS='|'; echo \"${0##*/}|$*\") >>\"$DIR/argv\"\n%s\n", dir, script)
	for _, name := range []string{"zfs", "zpool"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	z := New(Options{Path: dir})
	z.grace = 200 * time.Millisecond
	return z, dir
}

// prints is a script that prints a file of testdata, or the text itself, and succeeds.
func prints(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return "cat '" + file + "'"
}

// argv returns the commands that were run.
func argv(t *testing.T, dir string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "argv"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// within fails the test if f does not return.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s: does not return", what)
	}
}

// eventually waits until something is so, and marks the test as failed if it never is. It may be called by any goroutine.
func eventually(t *testing.T, what string, so func() bool) bool {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if so() {
			return true
		}
	}
	t.Errorf("waited in vain: %s", what)
	return false
}

// appears waits for a file that a fake makes when it is ready.
func appears(t *testing.T, file string) bool {
	t.Helper()
	return eventually(t, file, func() bool { _, err := os.Stat(file); return err == nil })
}

// gone waits for the process of a fake, which has told its number in $DIR/pid, to end.
func gone(t *testing.T, dir string) bool {
	t.Helper()
	return eventually(t, "the end of zfs", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "pid"))
		pid, ended := strings.CutSuffix(string(b), "\n")
		return err == nil && ended && exec.Command("kill", "-0", pid).Run() != nil
	})
}

func readFile(t *testing.T, elem ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b)
}
