package zfs

import (
	"bytes"
	"context"
	"fmt"
	"os"
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

// appears waits for a file that a fake makes when it is ready.
func appears(t *testing.T, file string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not appear", file)
		}
	}
}

func readFile(t *testing.T, elem ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b)
}
