package usage

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/drover-project/drover/state"
)

// child starts a shell script in dir and returns when it has said "ready". The script ends when its standard input is closed.
func child(t *testing.T, dir, script string, args ...string) (*exec.Cmd, io.Closer) {
	t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "sh"}, args...)...)
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait() //nolint:errcheck // some scripts are ended by the test
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("child said %q, %v", line, err)
	}
	return cmd, in
}

func users(t *testing.T, target Target) []state.User {
	t.Helper()
	r, err := Find(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return r.Found[0].Users
}

// linked returns a folder, and a link to it as the stand-in mounts it.
func linked(t *testing.T) (real string, target Target) {
	t.Helper()
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	for _, err := range []error{os.Mkdir(real, 0o755), os.WriteFile(filepath.Join(real, "f"), nil, 0o644), os.Symlink(real, link)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return real, Target{Dataset: "tank/nowhere", Path: link}
}

const wait = "echo ready; read x"

func TestUsersByPath(t *testing.T) {
	for how, script := range map[string]string{
		"cwd":  `cd "$1"; ` + wait,
		"open": `exec 5<"$1/f"; ` + wait,
	} {
		t.Run(how, func(t *testing.T) {
			real, target := linked(t)
			if got := users(t, target); len(got) != 0 {
				t.Fatalf("before: %+v", got)
			}
			cmd, _ := child(t, "/", script, real)
			got := users(t, target)
			if len(got) != 1 || got[0].PID != cmd.Process.Pid || got[0].How != how || got[0].Command != "sh" {
				t.Errorf("got %+v, want pid %d %s", got, cmd.Process.Pid, how)
			}
		})
	}
}

// Below a dataset may be others, which are mounted somewhere of their own.
func TestUsersOfWhatIsBelow(t *testing.T) {
	real, target := linked(t)
	target.Below = []string{target.Path}
	target.Path = ""
	child(t, real, wait)
	if got := users(t, target); len(got) != 1 || got[0].How != "cwd" {
		t.Errorf("got %+v", got)
	}
}

func TestTargets(t *testing.T) {
	target := Target{Dataset: "tank/v", Path: "/v", Below: []string{"/v/c"}}
	for source, want := range map[string]bool{"tank/v": true, "tank/v/c": true, "tank/v-2": false, "tank/v@s": false, "tank": false} {
		if got := target.has(source); got != want {
			t.Errorf("%s: %v", source, got)
		}
	}
	if !target.Equal(target) || target.Equal(Target{Dataset: "tank/v", Path: "/v"}) {
		t.Error("equality")
	}
}

func TestDeletedFileStillCounts(t *testing.T) {
	real, target := linked(t)
	child(t, "/", `exec 5<"$1/f"; rm "$1/f"; `+wait, real)
	if got := users(t, target); len(got) != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestNeighboursAreNotUsers(t *testing.T) {
	real, target := linked(t)
	if err := os.Mkdir(real+"-not", 0o755); err != nil {
		t.Fatal(err)
	}
	child(t, real+"-not", wait)
	if got := users(t, target); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestAwaitEndsWhenTheLastUserHasGone(t *testing.T) {
	real, target := linked(t)
	_, in := child(t, real, wait)
	short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if r, err := Await(short, target); err != nil || len(r.Found[0].Users) != 1 {
		t.Fatalf("in use: %+v, %v", r, err)
	}
	done := make(chan Report, 1)
	go func() {
		r, err := Await(context.WithoutCancel(t.Context()), target)
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	in.Close()
	if r := <-done; len(r.Found[0].Users) != 0 {
		t.Errorf("got %+v", r)
	}
}

func TestWithin(t *testing.T) {
	for _, c := range []struct {
		path, root string
		want       bool
	}{
		{"/a/b", "/a/b", true}, {"/a/b/c", "/a/b", true}, {"/a/b (deleted)", "/a/b", true},
		{"/a/bc", "/a/b", false}, {"/a", "/a/b", false}, {"/a", "", false},
	} {
		if got := within(c.path, c.root); got != c.want {
			t.Errorf("within(%q, %q) = %v", c.path, c.root, got)
		}
	}
}
