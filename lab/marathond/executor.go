package marathond

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Files in an executor's folder.
const (
	aliveFile   = "alive"   // pipe: its writer is the executor, a byte means that the status changed
	controlFile = "control" // pipe: one line per command to the executor
	launchName  = "launch.json"
	statusName  = "status.json"
)

// launchFile says what to run.
type launchFile struct {
	Argv   []string `json:"argv"`
	Env    []string `json:"env"`
	Dir    string   `json:"dir"`
	Stdout string   `json:"stdout"`
	Stderr string   `json:"stderr"`
}

// statusFile is the durable account of a task's process.
type statusFile struct {
	Pid       int    `json:"pid"`
	StartTime string `json:"startTime"` // of the process, as the system gives it; tells a reused pid apart
	Exited    bool   `json:"exited"`
	Code      int    `json:"code"`
	Signal    string `json:"signal,omitempty"`
	Killed    bool   `json:"killed"` // a kill was asked for before it ended
	Error     string `json:"error,omitempty"`
}

// executor owns one task's process group. It outlives the server.
type executor struct {
	folder string
	alive  *os.File
	pid    int

	mu     sync.Mutex
	status statusFile
	dead   bool // the group has been swept: signal nothing any more
}

// ExecutorMain runs one task and returns the process's exit code. args is the task's folder, which the server appends to
// Options.Executor; descriptors 3 and 4 are inherited pipes. Only the server starts it.
func ExecutorMain(args []string) int {
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "lab executor: wants the folder of one task; only the lab starts it")
		return 1
	}
	// The death signal of the task is tied to the thread that started it.
	runtime.LockOSThread()
	syscall.CloseOnExec(3)
	syscall.CloseOnExec(4)
	e := &executor{folder: args[0], alive: os.NewFile(3, aliveFile)}
	if err := e.run(os.NewFile(4, controlFile)); err != nil {
		fmt.Fprintln(os.Stderr, "lab executor:", err)
		return 1
	}
	return 0
}

func (e *executor) run(control *os.File) error {
	if e.alive == nil || control == nil {
		return errors.New("the server's pipes are missing")
	}
	l, err := readLaunch(e.folder)
	if err != nil {
		return err
	}
	if err := adoptOrphans(); err != nil {
		return err
	}
	if err := e.start(l); err != nil {
		return e.report(statusFile{Exited: true, Code: 1, Error: err.Error()})
	}
	go e.obey(control)
	return e.reap()
}

func readLaunch(folder string) (launchFile, error) {
	var l launchFile
	data, err := os.ReadFile(filepath.Join(folder, launchName))
	if err != nil {
		return l, fmt.Errorf("launch file: %w", err)
	}
	if err := json.Unmarshal(data, &l); err != nil {
		return l, fmt.Errorf("launch file: %w", err)
	}
	return l, nil
}

func (e *executor) start(l launchFile) error {
	files, err := openStreams(l)
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range files {
			if err := f.Close(); err != nil {
				fmt.Fprintln(os.Stderr, "lab executor:", err)
			}
		}
	}()
	path, err := findProgram(l)
	if err != nil {
		return err
	}
	fds := []uintptr{files[0].Fd(), files[1].Fd(), files[2].Fd()}
	e.pid, err = syscall.ForkExec(path, l.Argv, &syscall.ProcAttr{Dir: l.Dir, Env: l.Env, Files: fds, Sys: taskAttributes()})
	if err != nil {
		return fmt.Errorf("start %s: %w", path, err)
	}
	return e.report(statusFile{Pid: e.pid, StartTime: processStart(e.pid)})
}

func openStreams(l launchFile) ([]*os.File, error) {
	in, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(l.Stdout, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	errOut, err := os.OpenFile(l.Stderr, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	return []*os.File{in, out, errOut}, nil
}

// report makes a status durable, then tells the server, if one listens, to look.
func (e *executor) report(st statusFile) error {
	e.mu.Lock()
	st.Killed = e.status.Killed
	e.status = st
	e.mu.Unlock()
	data, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	if err := writeFile(filepath.Join(e.folder, statusName), data); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	if _, err := e.alive.Write([]byte{'\n'}); err != nil {
		return fmt.Errorf("tell the server: %w", err)
	}
	return nil
}

// obey carries out "kill DELAYms GRACEms": after the delay SIGTERM to the group, after the grace SIGKILL.
func (e *executor) obey(control *os.File) {
	lines := bufio.NewScanner(control)
	for lines.Scan() {
		var delay, grace int64
		if _, err := fmt.Sscanf(lines.Text(), "kill %d %d", &delay, &grace); err != nil {
			fmt.Fprintf(os.Stderr, "lab executor: command %q: %v\n", lines.Text(), err)
			continue
		}
		e.kill(time.Duration(delay)*time.Millisecond, time.Duration(grace)*time.Millisecond)
	}
}

func (e *executor) kill(delay, grace time.Duration) {
	e.mu.Lock()
	again := e.status.Killed
	e.status.Killed = true
	e.mu.Unlock()
	if !again || grace == 0 {
		time.AfterFunc(delay, func() { e.signal(syscall.SIGTERM, grace > 0) })
		time.AfterFunc(delay+grace, func() { e.signal(syscall.SIGKILL, true) })
	}
}

// signal reaches the task's whole group, and for SIGKILL whatever else the task has left behind.
func (e *executor) signal(sig syscall.Signal, wanted bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dead || !wanted {
		return
	}
	err := signalTo(-e.pid, sig)
	if sig == syscall.SIGKILL {
		err = errors.Join(err, killChildren())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab executor:", err)
	}
}

// signalTo sends a signal to a process, or with a negative id to a group. That nobody is left is no error.
func signalTo(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %d: %w", pid, err)
	}
	return nil
}

// reap waits for the task and all that it left behind. What outlives the task's first process is ended with it, after
// the rest of the grace if a kill is under way, at once otherwise.
func (e *executor) reap() error {
	var st statusFile
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.ECHILD):
			e.awaitGroup()
			return e.reportEnd(st)
		case err != nil:
			return fmt.Errorf("wait for the task: %w", err)
		}
		if pid == e.pid {
			st = endStatus(ws)
		}
		// An adopted orphan may itself leave orphans, so every end is followed by a look.
		if st.Exited && !e.beingKilled() {
			e.signal(syscall.SIGKILL, true)
		}
	}
}

func (e *executor) beingKilled() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status.Killed
}

func (e *executor) reportEnd(st statusFile) error {
	e.mu.Lock()
	e.dead = true
	st.Pid, st.StartTime = e.status.Pid, e.status.StartTime
	e.mu.Unlock()
	return e.report(st)
}

func endStatus(ws syscall.WaitStatus) statusFile {
	st := statusFile{Exited: true, Code: ws.ExitStatus()}
	if ws.Signaled() {
		st.Signal = unix.SignalName(ws.Signal())
	}
	return st
}

// awaitGroup returns when no process of the group is left. Where orphans are adopted there is none by then.
func (e *executor) awaitGroup() {
	for syscall.Kill(-e.pid, 0) == nil {
		if !e.beingKilled() {
			e.signal(syscall.SIGKILL, true)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
