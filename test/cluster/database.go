package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/drover-project/drover/lab/marathond"
)

// What the test binary can be beside a test.
const (
	roleExecutor   = "cluster-executor"
	roleDB         = "cluster-db"
	roleController = "cluster-controller"
)

// The environment of a database.
const (
	envLedgers = "CLUSTER_LEDGERS" // folder outside all volumes, for what was acknowledged
	envVolume  = "CLUSTER_VOLUME"  // followed by a number: folder of a volume
)

// stubbornFile, in the folder of the ledgers, makes databases ignore SIGTERM for as long as it is there.
const stubbornFile = "stubborn"

// Main runs a package's tests. The test binary is also the executor of the embedded Marathon, the tasks, and controllers in
// processes of their own.
func Main(m *testing.M) {
	if os.Getenv("GORACE") == "" { // for the processes to come: each would wait a second for late reports when it ends
		if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
			os.Exit(exitCode(err))
		}
	}
	if len(os.Args) < 2 {
		os.Exit(m.Run())
	}
	switch os.Args[1] {
	case roleExecutor:
		os.Exit(marathond.ExecutorMain(os.Args[2:]))
	case roleDB:
		os.Exit(exitCode(database()))
	case roleController:
		os.Exit(exitCode(leadAlone(os.Args[2], os.Args[3:])))
	}
	os.Exit(m.Run())
}

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// lifetime ends a database whose test was killed.
const lifetime = 15 * time.Minute

// Reply is what a database answers to whoever asks it.
type Reply struct {
	Task string // Marathon's id
	Host string
	PID  int
	Last int // number of the last write that was acknowledged
}

// database writes numbered lines into its volume without end, each flushed before it is acknowledged, which is a line with
// the same number in a ledger outside. It answers HTTP. Without a volume it only answers.
func database() error {
	bounded, cancel := context.WithTimeout(context.Background(), lifetime)
	defer cancel()
	ctx, stop := signal.NotifyContext(bounded, syscall.SIGTERM)
	defer stop()
	var last atomic.Int64
	ln, err := new(net.ListenConfig).Listen(bounded, "tcp", net.JoinHostPort(os.Getenv("LIBPROCESS_IP"), os.Getenv("PORT0")))
	if err != nil {
		return err
	}
	task := os.Getenv("MESOS_TASK_ID")
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		err := json.NewEncoder(w).Encode(Reply{Task: task, Host: os.Getenv("HOST"), PID: os.Getpid(), Last: int(last.Load())})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	})}
	dir := os.Getenv(envVolume + "0")
	if dir == "" {
		go func() { <-ctx.Done(); os.Exit(0) }()
		return srv.Serve(ln)
	}
	begin, err := openJournal(dir)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	defer begin.close()
	go srv.Serve(ln) //nolint:errcheck // the process ends without waiting for it
	return begin.write(ctx, task, &last)
}

// journal is a database's files.
type journal struct {
	lock, data, ledger *os.File
	next               int
	stubborn           string
}

// openJournal opens the files of a database and finds out where it was.
func openJournal(dir string) (*journal, error) {
	ledgers := os.Getenv(envLedgers)
	j := &journal{stubborn: filepath.Join(ledgers, stubbornFile)}
	app := strings.ReplaceAll(strings.Trim(os.Getenv("MARATHON_APP_ID"), "/"), "/", "_")
	var err error
	for _, f := range []struct {
		to   **os.File
		path string
	}{{&j.lock, filepath.Join(dir, "lock")}, {&j.data, filepath.Join(dir, journalFile)}, {&j.ledger, filepath.Join(ledgers, app)}} {
		if *f.to, err = os.OpenFile(f.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644); err != nil {
			return nil, err
		}
	}
	if err := syscall.Flock(int(j.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("another database has %s: %w", dir, err)
	}
	lines, err := readLines(j.data.Name())
	if err != nil {
		return nil, err
	}
	j.next = len(lines) + 1
	return j, nil
}

const journalFile = "journal"

func (j *journal) close() {
	j.lock.Close() // the process ends
}

// write writes until it is told to stop.
func (j *journal) write(ctx context.Context, task string, last *atomic.Int64) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if ctx.Err() != nil && !exists(j.stubborn) {
			return nil
		}
		line := fmt.Sprintf("%d %s\n", j.next, task)
		if _, err := j.data.WriteString(line); err != nil {
			return err
		}
		if err := j.data.Sync(); err != nil {
			return err
		}
		if _, err := j.ledger.WriteString(line); err != nil {
			return err
		}
		last.Store(int64(j.next))
		j.next++
		<-tick.C
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// readLines returns the whole lines of a file; none if it is not there. A last line without its end was never acknowledged.
func readLines(path string) ([]string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() // it was only read
	var lines []string
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return lines, nil // the end
		}
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
}
