package openzfs

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
)

// Program runs main, which is not a test, where it can have nodes, and returns the exit code: main's; 1 if main failed the
// testing.TB that it was given, which prints to stderr; 3 if this machine cannot have nodes. It starts the program once more,
// in namespaces of its own.
func Program(main func(testing.TB) int) int {
	if os.Getenv(envFolder) == "" {
		err := possible()
		if err != nil {
			fmt.Fprintln(os.Stderr, "openzfs:", err)
			return 3
		}
		code, err := alone()
		if err != nil {
			fmt.Fprintln(os.Stderr, "openzfs:", err)
			return 1
		}
		return code
	}
	if err := settle(); err != nil {
		fmt.Fprintln(os.Stderr, "openzfs:", err)
		return 1
	}
	return new(program).run(main)
}

// program stands for a test where there is none. What it lacks of testing.TB nothing here calls.
type program struct {
	testing.TB
	ctx    context.Context //nolint:containedctx // as a test has it
	failed bool
	after  []func()
}

func (p *program) run(main func(testing.TB) int) (code int) {
	ctx, cancel := context.WithCancel(context.Background())
	p.ctx = ctx
	done := make(chan struct{})
	go func() { // Fatal ends the goroutine that it is called from
		defer close(done)
		code = 1
		code = main(p)
	}()
	<-done
	cancel()
	for _, f := range slices.Backward(p.after) {
		f()
	}
	if p.failed {
		return max(1, code)
	}
	return code
}

func (p *program) Helper()                  {}
func (p *program) Context() context.Context { return p.ctx }
func (p *program) Cleanup(f func())         { p.after = append(p.after, f) }
func (p *program) Failed() bool             { return p.failed }
func (p *program) Log(args ...any)          { fmt.Fprintln(os.Stderr, args...) }
func (p *program) Logf(f string, a ...any)  { fmt.Fprintf(os.Stderr, f+"\n", a...) }
func (p *program) Error(args ...any)        { p.failed = true; p.Log(args...) }
func (p *program) Errorf(f string, a ...any) {
	p.failed = true
	p.Logf(f, a...)
}
func (p *program) Fatal(args ...any) { p.Error(args...); runtime.Goexit() }
func (p *program) Fatalf(f string, a ...any) {
	p.Errorf(f, a...)
	runtime.Goexit()
}
func (p *program) Skip(args ...any) { p.Fatal(args...) }
