//go:build unix

// Command scribe is an app that writes to its volume in ways that only a kernel can tell apart, for tests on real OpenZFS. It
// writes until it is told to end, and notes outside the volume what it knows then, so that a test can compare that with what the
// next one finds, on whatever node. It is not a database: there is nobody to ask it for anything but whether it is there.
//
//	scribe log    append numbered lines to log, each flushed to disk before the next
//	scribe map    change a file through a memory map, and never flush it
//	scribe idle   write nothing
//
// SCRIBE_DATA is the folder on the volume, SCRIBE_NOTES a file outside it; PORT0 and TODO_BIND say where it listens.
//
//	scribe keep FILE    map FILE and hold it open; on SIGUSR1 write to it both ways; on SIGTERM end
//	scribe dirty FILE   change a page of FILE through a memory map, and end without having flushed it
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "scribe:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "keep":
		return keep(ctx, args[1])
	case len(args) == 2 && args[0] == "dirty":
		return dirty(args[1])
	}
	write := map[string]func(context.Context, string) (string, error){"log": writeLog, "map": writeMap, "idle": idle}
	if len(args) != 1 || write[args[0]] == nil {
		return errors.New("want one of: log, map, idle, keep FILE, dirty FILE")
	}
	return app(ctx, write[args[0]])
}

// app listens, so that its readiness can be asked for, and writes until ctx ends.
func app(ctx context.Context, write func(context.Context, string) (string, error)) error {
	data := os.Getenv("SCRIBE_DATA")
	found, err := summary(data)
	if err == nil {
		err = note("found " + found)
	}
	if err != nil {
		return err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(os.Getenv("TODO_BIND"), os.Getenv("PORT0")))
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "here") }),
		ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	left, err := write(ctx, data)
	err = errors.Join(err, srv.Close())
	if serr := <-served; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	if err != nil {
		return err
	}
	return note("left " + left)
}

// note appends a line to the notes, which are not on the volume.
func note(line string) error {
	f, err := os.OpenFile(os.Getenv("SCRIBE_NOTES"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, os.Getenv("HOST"), line)
	return errors.Join(err, f.Sync(), f.Close())
}

// summary says what the volume holds of what scribes write.
func summary(data string) (string, error) {
	lines, err := lastLine(filepath.Join(data, "log"))
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(filepath.Join(data, "map"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	var mark [64]byte
	n, err := unix.Getxattr(filepath.Join(data, "log"), attribute, mark[:])
	if lines > 0 && err != nil {
		return "", fmt.Errorf("extended attribute %s of log: %w", attribute, err)
	}
	return words(lines, b, string(mark[:max(0, n)])), nil
}

// attribute of log says who began it.
const attribute = "user.scribe"

func words(lines int, mapped []byte, by string) string {
	return fmt.Sprintf("lines %d map %x by %q", lines, sha256.Sum256(mapped), by)
}

// lastLine checks that the lines count up from 1 and returns the last number; 0 if there is no file.
func lastLine(path string) (int, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n := 0
	for in := bufio.NewScanner(f); in.Scan(); {
		n++
		if got, want := in.Text(), logLine(n); got != want {
			return 0, fmt.Errorf("line %d of %s is %q, want %q", n, path, got, want)
		}
	}
	return n, nil
}

func logLine(n int) string { return fmt.Sprintf("%08d %s", n, strings.Repeat("=", 100)) }

const pause = 250 * time.Millisecond // a node has little to give

// writeLog appends one line after the other. It returns what it has acknowledged to itself: lines that are on disk.
func writeLog(ctx context.Context, data string) (string, error) {
	path := filepath.Join(data, "log")
	n, err := lastLine(path)
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return "", err
	}
	by := []byte("scribe")
	if err := unix.Setxattr(path, attribute, by, 0); err != nil {
		return "", errors.Join(err, f.Close())
	}
	for tick(ctx) {
		if _, err := fmt.Fprintln(f, logLine(n+1)); err != nil {
			return "", errors.Join(err, f.Close())
		}
		if err := f.Sync(); err != nil {
			return "", errors.Join(err, f.Close())
		}
		n++
	}
	return words(n, nil, string(by)), f.Close()
}

func tick(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}

const mapSize = 4 << 20

// writeMap changes a mapped file, page after page, up to the last moment, and flushes nothing.
func writeMap(ctx context.Context, data string) (string, error) {
	m, err := openMap(filepath.Join(data, "map"))
	if err != nil {
		return "", err
	}
	for n := uint64(1); tick(ctx); n++ {
		scribble(m, n)
	}
	for n := uint64(1); n <= mapSize/4096; n++ {
		scribble(m, ^n) // every page is dirty when it ends
	}
	return words(0, m, ""), nil
}

func openMap(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(mapSize); err != nil {
		return nil, err
	}
	return unix.Mmap(int(f.Fd()), 0, mapSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func scribble(m []byte, n uint64) {
	at := int(n%(mapSize/4096)) * 4096
	binary.LittleEndian.PutUint64(m[at:], n)
	binary.LittleEndian.PutUint64(m[at+8:], uint64(time.Now().UnixNano()))
}

func idle(ctx context.Context, _ string) (string, error) {
	<-ctx.Done()
	return words(0, nil, ""), nil
}

// dirty leaves a changed page in the kernel's memory.
func dirty(path string) error {
	m, err := openMap(path)
	if err != nil {
		return err
	}
	scribble(m, 7)
	return nil
}

// keep holds a file open and mapped, with a page that was changed and not flushed. What it says of its writes goes to its output.
func keep(ctx context.Context, path string) error {
	wake := make(chan os.Signal, 1)
	signal.Notify(wake, syscall.SIGUSR1)
	m, err := openMap(path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	scribble(m, 1)
	fmt.Println("kept")
	for n := uint64(2); ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
			scribble(m, n)
			_, err := f.WriteAt([]byte("awake"), mapSize-5)
			fmt.Println("wrote:", err)
		}
	}
}
