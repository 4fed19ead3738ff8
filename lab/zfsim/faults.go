package zfsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Faults are the speeds and misbehaviours of one machine. They are read at each command from faults.json in the
// machine's folder; a missing file means none.
type Faults struct {
	// Latency delays each changing command before its effect, in milliseconds, as a slow disk's transaction group
	// would. Keys are subcommands ("snapshot", "set", "zpool sync"); "*" is for all that have no key of their own.
	Latency map[string]int `json:"latency,omitempty"`
	// BytesPerSecond limits send and receive of a pool.
	BytesPerSecond map[string]int64 `json:"bytesPerSecond,omitempty"`
	// Rules are looked at in order; every rule that matches acts.
	Rules []Rule `json:"rules,omitempty"`
}

// Rule makes some commands misbehave.
type Rule struct {
	// Command is the subcommand, such as "send", or with the program, such as "zpool sync"; "" matches all.
	Command string `json:"command,omitempty"`
	// Args is text that the arguments, joined by spaces, must contain; "" matches all.
	Args string `json:"args,omitempty"`
	// Action is one of the Act constants.
	Action Action `json:"action"`
	// Bytes is where ActCut and ActKillStream act: when so many bytes of the stream have passed. A shorter stream passes
	// unharmed, and one of just this length is not cut.
	Bytes int64 `json:"bytes,omitempty"`
	// Until is the file that ActHangBefore and ActHangAfter wait for: they go on when it is gone.
	Until string `json:"until,omitempty"`
	// Times limits how often the rule acts; 0 is without limit.
	Times int `json:"times,omitempty"`
}

// Action is what a rule does.
type Action string

// What rules do.
const (
	ActCut        Action = "cut"         // end the stream of send after Bytes, with exit code 1
	ActKillStream Action = "kill-stream" // kill send or receive with SIGKILL after Bytes of the stream
	ActHangBefore Action = "hang-before" // hang before the command has done anything
	ActHangAfter  Action = "hang-after"  // hang after its effect is durable, before it returns
	ActNoSpace    Action = "enospc"      // fail: out of space
	ActSuspended  Action = "suspended"   // fail: pool I/O is currently suspended
	ActKillBefore Action = "kill-before" // kill itself with SIGKILL before the effect is durable
	ActKillCommit Action = "kill-commit" // kill itself when the state is durable, but not what must follow it (links, heads)
	ActKillAfter  Action = "kill-after"  // kill itself after the effect is durable
	ActExit1      Action = "exit1"       // do everything, then exit with 1
)

// WriteFaults puts the faults of a machine in force, for commands that start from now on, and forgets what was
// reached of earlier ones. dir is the machine's folder.
func WriteFaults(dir string, f Faults) error {
	if err := os.RemoveAll(filepath.Join(dir, "faults.hits")); err != nil {
		return err
	}
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, "faults.json"), b)
}

// ReachedFaults returns how often each rule in force has acted.
func ReachedFaults(dir string) ([]int, error) {
	f, err := readFaults(dir)
	if err != nil {
		return nil, err
	}
	hits := make([]int, len(f.Rules))
	for i := range hits {
		st, err := os.Stat(hitsPath(dir, i))
		if err == nil {
			hits[i] = int(st.Size())
			if n := f.Rules[i].Times; n > 0 {
				hits[i] = min(hits[i], n)
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return hits, nil
}

func hitsPath(dir string, rule int) string {
	return filepath.Join(dir, "faults.hits", fmt.Sprint(rule))
}

func readFaults(dir string) (Faults, error) {
	var f Faults
	b, err := os.ReadFile(filepath.Join(dir, "faults.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("faults.json: %w", err)
	}
	return f, nil
}

// faulter applies the faults to one command.
type faulter struct {
	dir, command, line string
	f                  Faults
}

func loadFaults(dir string, argv []string) (*faulter, error) {
	f, err := readFaults(dir)
	ft := &faulter{dir: dir, line: strings.Join(argv[1:], " "), f: f}
	if len(argv) > 1 {
		ft.command = canonical(argv[1])
		if filepath.Base(argv[0]) == "zpool" {
			ft.command = "zpool " + ft.command
		}
	}
	return ft, err
}

// canonical is the full name of a subcommand.
func canonical(cmd string) string {
	switch cmd {
	case "recv":
		return "receive"
	case "umount":
		return "unmount"
	case "snap":
		return "snapshot"
	}
	return cmd
}

// hit returns the first rule with the action that applies now, and counts it.
func (ft *faulter) hit(a Action) *Rule {
	for i := range ft.f.Rules {
		if ft.matches(i, a) && ft.count(i, ft.f.Rules[i].Times) {
			return &ft.f.Rules[i]
		}
	}
	return nil
}

func (ft *faulter) matches(i int, a Action) bool {
	r := &ft.f.Rules[i]
	return r.Action == a && (r.Command == "" || r.Command == ft.command) && strings.Contains(ft.line, r.Args)
}

// pointOf returns the place in a stream at which a rule with the action shall act.
func (ft *faulter) pointOf(a Action) *streamPoint {
	for i, r := range ft.f.Rules {
		if ft.matches(i, a) {
			return &streamPoint{at: r.Bytes, acts: func() bool { return ft.count(i, r.Times) }}
		}
	}
	return nil
}

// streamPoint is where a stream breaks; acts counts, and says no when the rule has acted often enough.
type streamPoint struct {
	at   int64
	acts func() bool
	done bool
}

// reached reports, once, that the stream got to the point and is to break.
func (p *streamPoint) reached(sent int64) bool {
	if p == nil || p.done || sent < p.at {
		return false
	}
	p.done = true
	return p.acts()
}

// count notes that a rule applies; many processes append to one file, so its size is a common counter.
func (ft *faulter) count(i, times int) bool {
	path := hitsPath(ft.dir, i)
	if os.MkdirAll(filepath.Dir(path), 0o755) != nil {
		return false
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return false
	}
	defer f.Close() // one byte, written or not
	if _, err := f.Write([]byte{'.'}); err != nil {
		return false
	}
	pos, err := f.Seek(0, 1)
	return err == nil && (times == 0 || pos <= int64(times))
}

// Errors that faults and space put into commands.
var (
	errNoSpace   = errors.New("out of space")
	errSuspended = errors.New("pool I/O is currently suspended")
	errReadOnly  = errors.New("pool is read-only")
)

// refuse is asked once, before a changing command does anything.
func (ft *faulter) refuse() error {
	if ft.hit(ActSuspended) != nil {
		return errSuspended
	}
	if ft.hit(ActNoSpace) != nil {
		return errNoSpace
	}
	return nil
}

func (ft *faulter) start(changes bool) {
	if r := ft.hit(ActHangBefore); r != nil {
		hang(r.Until)
	}
	if changes {
		time.Sleep(ft.latency())
	}
}

func (ft *faulter) latency() time.Duration {
	ms, ok := ft.f.Latency[ft.command]
	if !ok {
		ms = ft.f.Latency["*"]
	}
	return time.Duration(ms) * time.Millisecond
}

func hang(until string) {
	for {
		if _, err := os.Stat(until); err != nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func killSelf() {
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		panic(err)
	}
	select {} // the signal is on its way
}

func (ft *faulter) beforeCommit() {
	if ft.hit(ActKillBefore) != nil {
		killSelf()
	}
}

func (ft *faulter) committed() {
	if ft.hit(ActKillCommit) != nil {
		killSelf()
	}
}

func (ft *faulter) afterCommit() {
	if ft.hit(ActKillAfter) != nil {
		killSelf()
	}
}

// end is asked once, when all is done; it returns the exit code.
func (ft *faulter) end(code int) int {
	if r := ft.hit(ActHangAfter); r != nil {
		hang(r.Until)
	}
	if ft.hit(ActExit1) != nil {
		return max(code, 1)
	}
	return code
}

// throttle limits and breaks a stream that passes through a process; it is told of every piece.
type throttle struct {
	rate      int64
	begin     time.Time
	sent      atomic.Int64
	cut, kill *streamPoint
}

func (ft *faulter) stream(pool string) *throttle {
	return &throttle{rate: ft.f.BytesPerSecond[pool], begin: time.Now(), cut: ft.pointOf(ActCut), kill: ft.pointOf(ActKillStream)}
}

// passed is the number of bytes so far; it may be asked for at any time.
func (s *throttle) passed() int64 { return s.sent.Load() }

// pass lets n bytes through; it returns how many, fewer than n when the stream is to be cut. A cut needs a byte beyond
// its point: only there is something to take away, and a stream that ends at the point is whole.
func (s *throttle) pass(n int) int {
	sent := s.sent.Load()
	if s.kill.reached(sent + int64(n)) {
		killSelf()
	}
	if s.cut.reached(sent + int64(n) - 1) {
		n = int(max(s.cut.at-sent, 0))
	}
	s.sent.Add(int64(n))
	if s.rate > 0 {
		due := time.Duration(float64(sent+int64(n)) / float64(s.rate) * float64(time.Second))
		time.Sleep(due - time.Since(s.begin))
	}
	return n
}
