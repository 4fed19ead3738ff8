package openzfs

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/drover-project/drover/lab/marathond"
)

// The embedded Marathon starts its tasks on this machine. Here such a task is a process that stands for one in a node: it asks
// the test, over a socket, to run the app there, hands signals on, and ends as the app ends. When it is killed, the socket
// closes, and the test kills the app. So Marathon's word on a task may come before the task's end, as in real life.
const (
	roleExecutor = "openzfs-executor" // SOCKET FOLDER
	roleTask     = "openzfs-task"     // SOCKET LAUNCHFILE
)

// role plays what the test binary can be beside a test; ok is false if it is to be a test.
func role(args []string) (code int, ok bool) {
	var err error
	switch {
	case len(args) == 3 && args[0] == roleExecutor:
		if err = divert(args[1], args[2]); err == nil {
			return marathond.ExecutorMain(args[2:]), true
		}
	case len(args) == 3 && args[0] == roleTask:
		code, err = stand(args[1], args[2])
	default:
		return 0, false
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "openzfs:", err)
		return 1, true
	}
	return code, true
}

// launch is the part of an executor's launch file that matters here.
type launch struct {
	Argv []string `json:"argv"`
	Env  []string `json:"env"`
	Dir  string   `json:"dir"`
}

// divert lets the executor start a stand-in for the app instead of the app.
func divert(socket, folder string) error {
	file := filepath.Join(folder, "launch.json")
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	app := filepath.Join(folder, "app.json")
	if all["argv"], err = json.Marshal([]string{self, roleTask, socket, app}); err != nil {
		return err
	}
	changed, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(app, b, 0o600), os.WriteFile(file, changed, 0o600))
}

// stand stands for an app that runs in a node, and returns its exit code.
func stand(socket, app string) (int, error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	conn, err := new(net.Dialer).DialContext(context.Background(), "unix", socket)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if _, err := fmt.Fprintln(conn, app); err != nil {
		return 0, err
	}
	tell := context.AfterFunc(ctx, func() {
		if _, err := fmt.Fprintln(conn, "TERM"); err != nil {
			fmt.Fprintln(os.Stderr, "openzfs:", err)
		}
	})
	defer tell()
	var code int
	if _, err := fmt.Fscan(conn, &code); err != nil {
		return 0, fmt.Errorf("the app's end: %w", err)
	}
	return code, nil
}

// serveTasks runs apps in nodes for those who stand for them.
func (d *Drover) serveTasks(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			d.t.Errorf("tasks: %v", err)
			return
		}
		d.tasks.Go(func() {
			err := d.serveTask(conn)
			if cerr := conn.Close(); !errors.Is(cerr, net.ErrClosed) {
				err = errors.Join(err, cerr)
			}
			if err != nil {
				d.t.Logf("task: %v", err)
			}
		})
	}
}

func (d *Drover) serveTask(conn net.Conn) error {
	lines := bufio.NewReader(conn)
	file, err := lines.ReadString('\n')
	if err != nil {
		return err
	}
	var app launch
	b, err := os.ReadFile(strings.TrimSpace(file))
	if err == nil {
		err = json.Unmarshal(b, &app)
	}
	if err != nil {
		return err
	}
	n := d.node(app.host())
	if n == nil {
		return fmt.Errorf("no node %q", app.host())
	}
	command, err := n.Begin(app.script())
	if err != nil {
		return err
	}
	// What the stand-in says is read beside the wait, and its silence kills.
	ended := make(chan struct{})
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		d.obey(command, lines, ended)
	}()
	r := command.Wait(context.Background())
	close(ended)
	code := r.Code
	if code < 0 {
		code = 1 // its node is gone
	}
	_, err = fmt.Fprintln(conn, code)
	err = errors.Join(err, conn.Close())
	<-listening
	return err
}

// obey hands signals on until the stand-in is gone; then, unless the app has ended, it kills that too.
func (d *Drover) obey(command *Command, lines *bufio.Reader, ended <-chan struct{}) {
	for {
		line, err := lines.ReadString('\n')
		name := strings.TrimSpace(line)
		if err != nil {
			name = "KILL"
		}
		select {
		case <-ended:
			return
		default:
		}
		if serr := command.Signal(context.Background(), name); serr != nil && !errors.Is(serr, ErrCut) {
			d.t.Logf("signal %s: %v", name, serr)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				d.t.Logf("task: %v", err)
			}
			return
		}
	}
}

func (l launch) host() string {
	for _, kv := range l.Env {
		if host, ok := strings.CutPrefix(kv, "HOST="); ok {
			return host
		}
	}
	return ""
}

// script runs the app in the node: its folder is the same there, with what it prints.
func (l launch) script() string {
	return "exec >>" + quote([]string{l.Dir}) + "/stdout 2>>" + quote([]string{l.Dir}) + "/stderr; cd " + quote([]string{l.Dir}) +
		" && exec env -i " + quote(l.Env) + " " + quote(l.Argv)
}
