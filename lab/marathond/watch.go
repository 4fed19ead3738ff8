package marathond

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// openAlive opens the reading end of an executor's pipe. Reads block while the executor lives and end when it is gone.
func openAlive(folder string) (*os.File, error) {
	path := filepath.Join(folder, aliveFile)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("executor pipe %s: %w", path, err)
	}
	// Opened without waiting for a writer, read blocking: so that the same code works where pipes cannot be polled.
	if err := unix.SetNonblock(fd, false); err != nil {
		return nil, errors.Join(fmt.Errorf("executor pipe %s: %w", path, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), path), nil
}

// watch follows an executor until it is gone or the server closes.
func (s *Server) watch(t *mesosTask, alive *os.File) {
	s.watches.Go(func() {
		defer func() {
			if err := alive.Close(); err != nil {
				s.log.Warn("close executor pipe", "err", err)
			}
		}()
		buf := make([]byte, 64)
		for {
			_, err := alive.Read(buf)
			if s.isClosing() {
				return
			}
			if err != nil {
				s.executorGone(t)
				return
			}
			s.observe(t)
		}
	})
}

func (s *Server) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// wakeWatches lets every watch notice that the server closes.
func (s *Server) wakeWatches() {
	folders, err := filepath.Glob(filepath.Join(s.opt.Dir, "executors", "*"))
	if err != nil {
		s.log.Error("wake watches", "err", err)
	}
	for _, folder := range folders {
		if err := writePipe(filepath.Join(folder, aliveFile), "\n"); err != nil && !notThere(err) {
			s.log.Warn("wake watch", "err", err)
		}
	}
}

// notThere: nobody has the other end of the pipe open, or it was removed.
func notThere(err error) bool {
	return errors.Is(err, syscall.ENXIO) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EPIPE)
}

// writePipe writes to a pipe that somebody reads; it never waits for a reader.
func writePipe(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func readStatus(folder string) (statusFile, bool) {
	var st statusFile
	data, err := os.ReadFile(filepath.Join(folder, statusName))
	if err != nil || json.Unmarshal(data, &st) != nil {
		return statusFile{}, false
	}
	return st, true
}

// observe books what an executor's status file says.
func (s *Server) observe(t *mesosTask) {
	st, ok := readStatus(t.Folder)
	if !ok {
		return
	}
	s.report(t, func(now time.Time) { s.bookStatus(now, t, st) })
}

func (s *Server) report(t *mesosTask, f func(now time.Time)) {
	err := s.update(func(now time.Time) error { f(now); return nil })
	if err != nil {
		s.log.Error("book task status", "task", t.ID, "err", err)
	}
}

func (s *Server) bookStatus(now time.Time, t *mesosTask, st statusFile) {
	switch {
	case st.Exited:
		s.agentSays(now, t, endState(t, st), endMessage(st))
	case t.Actual == taskStaging:
		s.agentSays(now, t, taskStarting, "")
		s.agentSays(now, t, taskRunning, "")
	}
}

func endState(t *mesosTask, st statusFile) string {
	switch {
	case t.KillAsked && st.Killed:
		return taskKilled
	case st.Code == 0 && st.Error == "" && st.Signal == "":
		return taskFinished
	}
	return taskFailed
}

func endMessage(st statusFile) string {
	switch {
	case st.Error != "":
		return "Failed to launch container: " + st.Error
	case st.Signal != "":
		return "Command terminated with signal " + st.Signal
	}
	return fmt.Sprintf("Command exited with status %d", st.Code)
}

// executorGone books the end of a task. An executor that left no exit status was killed: what it ran is ended first.
func (s *Server) executorGone(t *mesosTask) {
	s.reapChild(t)
	st, ok := readStatus(t.Folder)
	if !ok || !st.Exited {
		if err := killRemains(t.ID, st); err != nil {
			s.log.Error("end what a dead executor left", "task", t.ID, "err", err)
		}
	}
	s.report(t, func(now time.Time) {
		if ok && st.Exited {
			s.bookStatus(now, t, st)
			return
		}
		s.agentSays(now, t, taskFailed, "Executor terminated without a status")
	})
	if err := os.RemoveAll(t.Folder); err != nil {
		s.log.Warn("remove executor folder", "task", t.ID, "err", err)
	}
}

func (s *Server) reapChild(t *mesosTask) {
	v, ok := s.children.LoadAndDelete(t.ID)
	if !ok {
		return
	}
	if err := v.(*exec.Cmd).Wait(); err != nil {
		s.log.Warn("executor", "task", t.ID, "err", err)
	}
}

// killRemains ends what a dead executor left running. A process is touched only if it is provably the task's: same id
// and start time, or the task's id in its environment.
func killRemains(taskID string, st statusFile) error {
	var errs []error
	if st.Pid > 0 && st.StartTime != "" && processStart(st.Pid) == st.StartTime {
		errs = append(errs, signalTo(-st.Pid, syscall.SIGKILL))
	}
	for range 100 {
		left := processesOf(taskID)
		if len(left) == 0 {
			return errors.Join(errs...)
		}
		for _, pid := range left {
			errs = append(errs, signalTo(pid, syscall.SIGKILL))
		}
		time.Sleep(5 * time.Millisecond)
	}
	return errors.Join(append(errs, fmt.Errorf("processes of task %s do not end", taskID))...)
}

// signalKill passes a kill to the executor. If it is gone its watch books the end.
func (s *Server) signalKill(t *mesosTask, delay, grace time.Duration) {
	line := fmt.Sprintf("kill %d %d\n", delay.Milliseconds(), grace.Milliseconds())
	if err := writePipe(filepath.Join(t.Folder, controlFile), line); err != nil && !notThere(err) {
		s.log.Error("kill task", "task", t.ID, "err", err)
	}
}

// recoverTasks takes up what a former server launched.
func (s *Server) recoverTasks() {
	s.mu.Lock()
	var tasks []*mesosTask
	for _, t := range s.m.Tasks {
		tasks = append(tasks, t)
	}
	s.mu.Unlock()
	for _, t := range tasks {
		s.recoverTask(t)
	}
	s.sweepFolders()
	s.tick()
}

func (s *Server) recoverTask(t *mesosTask) {
	alive, err := openAlive(t.Folder)
	if err != nil {
		s.report(t, func(now time.Time) {
			s.agentSays(now, t, taskDropped, "The agent was restarted before it launched the task")
		})
		return
	}
	s.observe(t)
	s.watch(t, alive)
	if t.KillAsked {
		s.report(t, func(now time.Time) {
			if !terminalState(t.Actual) {
				s.askKill(now, t)
			}
		})
	}
}

// sweepFolders removes what finished executors left. One that still lives without a task belongs to an agent that was
// marked gone, and is left alone.
func (s *Server) sweepFolders() {
	for _, folder := range s.strayFolders() {
		if !executorLives(folder) {
			if err := os.RemoveAll(folder); err != nil {
				s.log.Warn("remove executor folder", "err", err)
			}
		}
	}
}

func (s *Server) strayFolders() []string {
	folders, err := filepath.Glob(filepath.Join(s.opt.Dir, "executors", "*"))
	if err != nil {
		s.log.Error("list executors", "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := map[string]bool{}
	for _, t := range s.m.Tasks {
		known[t.Folder] = true
	}
	return keep(folders, func(f string) bool { return !known[f] })
}

// executorLives tells whether a pipe has an executor at its other end: only then it can be opened for writing.
func executorLives(folder string) bool {
	f, err := os.OpenFile(filepath.Join(folder, controlFile), os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// killStrays ends executors that no task of the master accounts for.
func (s *Server) killStrays(ctx context.Context) error {
	for _, folder := range s.strayFolders() {
		for executorLives(folder) {
			if err := writePipe(filepath.Join(folder, controlFile), "kill 0 0\n"); err != nil && !notThere(err) {
				return fmt.Errorf("kill stray task: %w", err)
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("kill stray task %s: %w", filepath.Base(folder), context.Cause(ctx))
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	return nil
}
