package conformance

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// prelude are the functions that scripts may use.
const prelude = `set -o pipefail
pools= thin=
pool() { local name=$1 size=${2:-96M}; shift; shift; pools="$name $pools"
  truncate -s "$size" "$R/disk-$name" && zpool create "$@" -O mountpoint="$R/$name" "$name" "$R/disk-$name"; }
thin() { local name=$1; shift; thin="$name $thin" pools="$name $pools"; mkdir under-$name && mount -t tmpfs -o size=24M tmpfs under-$name &&
  truncate -s 200M under-$name/disk && zpool create "$@" -O mountpoint="$R/$name" "$name" "$R/under-$name/disk"; }
thicken() { mount -o remount,size=300M "$R/under-$1" && zpool clear "$1"; }
within() { local i n=$(($1 * 10)); shift; "$@" & for i in $(seq $n); do kill -0 $! 2>/dev/null || { wait $!; return; }; sleep 0.1; done; echo has not ended; }
token() { zfs get -Hp -o value receive_resume_token "$1"; }
await() { until eval "$1"; do sleep 0.02; done; }
can_write() { if (echo written >"$1") 2>/dev/null; then echo yes; else echo no; fi; }
fill() { dd if=/dev/urandom of="$1" bs=64k count="$2" 2>/dev/null; }
answer() { local n=$1; eval "$2" >"$R.answers/$n.out" 2>"$R.answers/$n.err" </dev/null; echo $? >"$R.answers/$n.rc"; }
setup() { eval "$2" </dev/null || { echo "line $1: exit code $?: $2" >&2; end 9; }; }
end() { trap - EXIT; cd /; local p; for p in $thin; do thicken "$p"; done; for p in $(jobs -p); do kill "$p"; done; wait
  for p in $pools; do zpool destroy -f "$p" || set -- 7; done; for p in $thin; do umount "$R/under-$p"; done; exit "$1"; }
trap 'end 8' EXIT
trap 'exit 6' TERM
`

// bash makes one script of a scenario.
func (s Scenario) bash() string {
	var b strings.Builder
	b.WriteString(prelude)
	n := 0
	for _, it := range s.Items {
		switch {
		case it.Setup:
			fmt.Fprintf(&b, "setup %d %s\n", it.Line, quote(it.Text))
		case it.Command:
			fmt.Fprintf(&b, "answer %d %s\n", n, quote(it.Text))
			n++
		}
	}
	return b.String() + "end 0\n"
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Run runs a scenario in a folder, with the zfs and zpool of that environment, and returns the answers, normalised, in the
// order of the commands. The error tells of a preparing line that failed, or of the context's end.
func (s Scenario) Run(ctx context.Context, dir string, env []string) ([]string, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	root, left := filepath.Join(dir, "r"), filepath.Join(dir, "r.answers")
	for _, d := range []string{root, left} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", s.bash())
	cmd.Dir, cmd.Env = root, append(env, "R="+root, "LC_ALL=C", "TZ=UTC", "HELPER="+self)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) } // the shell still destroys its pools
	cmd.WaitDelay = 20 * time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s: %s", err, s.reached(left), strings.TrimSpace(said.String()))
	}
	return s.answersIn(left, root)
}

// reached says which command was the last that began.
func (s Scenario) reached(dir string) string {
	last := "before the first command"
	n := 0
	for _, it := range s.Items {
		if !it.Command {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, strconv.Itoa(n)+".out")); err != nil {
			break
		}
		last, n = fmt.Sprintf("line %d: $ %s", it.Line, it.Text), n+1
	}
	return last
}

func (s Scenario) answersIn(dir, root string) ([]string, error) {
	n := newNormaliser(root, s)
	var all []string
	for _, it := range s.Items {
		if !it.Command {
			continue
		}
		var parts [3]string
		for i, what := range []string{"out", "err", "rc"} {
			b, err := os.ReadFile(filepath.Join(dir, strconv.Itoa(len(all))+"."+what))
			if err != nil {
				return nil, fmt.Errorf("line %d was not run: %w", it.Line, err)
			}
			parts[i] = string(b)
		}
		all = append(all, n.answer(parts[0], parts[1], strings.TrimSpace(parts[2])))
	}
	return all, nil
}
