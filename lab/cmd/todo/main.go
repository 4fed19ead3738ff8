// Command todo is the app of the demo: a to-do list in two tiers. Package todo has everything.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/drover-project/drover/lab/todo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	c := todo.Command{Args: os.Args[1:], Getenv: os.Getenv, Stdout: os.Stdout, Stderr: os.Stderr}
	os.Exit(c.Run(ctx))
}
