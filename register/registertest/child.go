package registertest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/drover-project/drover/register"
)

// orders is the environment variable that makes a copy of the test program a child, with its orders in JSON.
const orders = "DROVER_REGISTERTEST"

var open func(location string) (register.Store, error)

// Main runs m's tests, or, in a child of the suite, what the suite wants done. opener opens a store, as another process
// would. It does not return.
func Main(m *testing.M, opener func(location string) (register.Store, error)) {
	open = opener
	given := os.Getenv(orders)
	if given == "" {
		os.Exit(m.Run())
	}
	var args []string
	err := json.Unmarshal([]byte(given), &args)
	if err == nil {
		err = obey(context.Background(), args[0], args[1], args[2:])
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func obey(ctx context.Context, location, what string, args []string) error {
	s, err := open(location)
	if err != nil {
		return err
	}
	switch what {
	case "create":
		return create(ctx, s, args[0], args[1])
	case "add":
		return addTimes(ctx, s, args[0], args[1])
	case "write":
		return write(ctx, s, args[0])
	case "lead":
		return lead(ctx, s, args[0])
	}
	return fmt.Errorf("unknown order %q", what)
}

func create(ctx context.Context, s register.Store, key, data string) error {
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	_, err := s.Put(ctx, key, []byte(data), 0)
	if errors.Is(err, register.ErrConflict) {
		fmt.Println("lost")
		return nil
	}
	if err == nil {
		fmt.Println("won")
	}
	return err
}

func addTimes(ctx context.Context, s register.Store, key, times string) error {
	n, err := strconv.Atoi(times)
	if err != nil {
		return err
	}
	for range n {
		if err := add(ctx, s, key); err != nil {
			return err
		}
	}
	fmt.Println("done")
	return nil
}

func write(ctx context.Context, s register.Store, key string) error {
	var version int64
	for n := 1; ; n++ {
		var err error
		if version, err = s.Put(ctx, key, []byte(numbered(n)), version); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

func lead(ctx context.Context, s register.Store, name string) error {
	l, err := s.Campaign(ctx, name)
	if err != nil {
		return err
	}
	fmt.Println("leads", l.Term())
	<-l.Lost()
	return errors.New("lost the leadership")
}

// child is another process that does what it was ordered.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string // of its output; closed at its end
	ended chan struct{}
}

func start(t *testing.T, args ...string) *child {
	t.Helper()
	given, err := json.Marshal(args)
	must(t, err)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), orders+"="+string(given))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	c := &child{t: t, cmd: cmd, stdin: stdin, lines: make(chan string, 1024), ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		defer close(c.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			select {
			case c.lines <- in.Text():
			default: // a writer that is not listened to any longer
			}
		}
	}()
	t.Cleanup(c.kill)
	return c
}

// kill ends the child with SIGKILL, if it has not ended, and waits until the kernel has cleaned up after it.
func (c *child) kill() {
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Errorf("kill the child: %v", err)
	}
	<-c.ended
	c.cmd.Wait() //nolint:errcheck // its status is that of a killed process, or was seen in its lines
}

func (c *child) say(line string) {
	c.t.Helper()
	_, err := fmt.Fprintln(c.stdin, line)
	must(c.t, err)
}

func (c *child) next() string {
	c.t.Helper()
	select {
	case line, ok := <-c.lines:
		if !ok {
			c.t.Fatal("the child has ended")
		}
		return line
	case <-time.After(patience):
		c.t.Fatal("the child says nothing")
	}
	return ""
}

func (c *child) expect(want string) {
	c.t.Helper()
	if got := c.next(); got != want {
		c.t.Fatalf("the child says %q, want %q", got, want)
	}
}
