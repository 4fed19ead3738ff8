package todo

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// deadline bounds every wait of these tests. It is far beyond what any of them needs.
const deadline = 60 * time.Second

// TestMain makes the test binary the program todo when it is started as such, so that tests can kill it.
func TestMain(m *testing.M) {
	if os.Getenv("TODO_TEST_PROGRAM") == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	c := Command{Args: os.Args[1:], Getenv: os.Getenv, Stdout: os.Stdout, Stderr: os.Stderr}
	code := c.Run(ctx)
	stop()
	os.Exit(code)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// process is a running todo.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	addr string
	done chan error
	out  bytes.Buffer // what it wrote to stdout; read it after the end
}

var listening = regexp.MustCompile(`msg=listening addr=(\S+)`)

// startProgram starts todo and waits until it listens, unless its environment says nothing of a port.
func startProgram(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, done: make(chan error, 1)}
	p.cmd = exec.Command(os.Args[0], args...)
	p.cmd.Env = append(append(os.Environ(), "TODO_TEST_PROGRAM=1"), env...)
	p.cmd.Stdout = &p.out
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill() })
	p.follow(stderr)
	return p
}

// follow waits for the line that tells the address, and reads on so that the process never blocks.
func (p *process) follow(stderr io.Reader) {
	p.t.Helper()
	said := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(stderr)
		var all strings.Builder
		for lines.Scan() {
			fmt.Fprintln(&all, lines.Text())
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				said <- m[1]
			}
		}
		p.done <- p.cmd.Wait()
		select {
		case said <- "ended: " + all.String():
		default:
		}
	}()
	if !strings.Contains(strings.Join(p.cmd.Env, " "), "PORT0=") {
		return
	}
	p.addr = p.receive(said)
	if strings.HasPrefix(p.addr, "ended: ") {
		p.t.Fatalf("todo %v %s", p.cmd.Args[1:], p.addr)
	}
}

func (p *process) receive(said chan string) string {
	select {
	case addr := <-said:
		return addr
	case <-time.After(deadline):
		p.t.Fatal("no address in time")
		return ""
	}
}

func (p *process) port() string { return p.addr[strings.LastIndex(p.addr, ":")+1:] }

// kill is kill -9; it returns when the process is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // gone already is as good
	_ = p.wait()
}

func (p *process) wait() error {
	select {
	case err := <-p.done:
		p.done <- err // for whoever asks next
		return err
	case <-time.After(deadline):
		p.t.Fatal("the process did not end in time")
		return nil
	}
}

func dbEnv(dir, node, port string) []string {
	return []string{"TODO_DATA=" + dir, "HOST=" + node, "PORT0=" + port}
}

// serving is a db or web inside the test.
type serving struct {
	addr string
	stop func()
}

func serveInTest(t *testing.T, addr string, run func(context.Context, net.Listener) error, after func() error) *serving {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, ln) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error("stop:", err)
			}
			if err := after(); err != nil {
				t.Error("close:", err)
			}
		})
	}
	t.Cleanup(stop)
	return &serving{addr: ln.Addr().String(), stop: stop}
}

func startDB(t *testing.T, dir, addr, node string) *serving {
	t.Helper()
	s, err := OpenStore(t.Context(), dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := &DB{Store: s, Node: node, Log: quiet()}
	return serveInTest(t, addr, d.Run, s.Close)
}

func startWeb(t *testing.T, db string, patience time.Duration) *serving {
	t.Helper()
	w := &Web{DB: NewClient("http://"+db, patience, webAttempt), Node: "webnode", Log: quiet()}
	return serveInTest(t, "127.0.0.1:0", w.Run, func() error { return nil })
}

func testClient(addr string) *Client { return NewClient("http://"+addr, deadline, webAttempt) }

// request sends one plain request and returns status, header and body.
func request(t *testing.T, method, url, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

// until polls ok, for what only the outside of a process tells.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	end := time.After(deadline)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not in time: %s", what)
		}
	}
}
