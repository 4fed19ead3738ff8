// Command drover moves stateful apps together with their data. See drover --help, and the README for a first look.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/drover-project/drover/state/manifest"
)

// Exit codes. plan uses all three, as terraform's does with -detailed-exitcode.
const (
	exitDone    = 0 // nothing to do, or done
	exitError   = 1
	exitChanges = 2 // plan: changes are planned
)

// exitCode is an outcome that is no error and not 0 either.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signalled()
	defer stop()
	err := root().ExecuteContext(ctx)
	var code exitCode
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &code):
		return int(code)
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitDone // asked to stop, and stopped
	}
	complain(os.Stderr, err)
	return exitError
}

// signalled returns a context that ends when the process is asked to end. A second Ctrl-C ends it at once; a second SIGTERM does
// not, because it need not come from a person: the lab's parts get one more if the lab itself is killed while it stops.
func signalled() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt) })
	return ctx, stop
}

// complain prints an error. Mistakes in manifests begin with file and line, as editors and other tools expect.
func complain(w io.Writer, err error) {
	if manifest.Problems(err) == nil {
		fmt.Fprint(w, "drover: ")
	}
	fmt.Fprintln(w, err)
}

// cli is what all commands share.
type cli struct {
	config    string
	manifests []string
	verbose   bool
}

func root() *cobra.Command {
	c := &cli{}
	cmd := &cobra.Command{
		Use:   "drover",
		Short: "move stateful apps together with their data",
		Long: `Drover moves stateful apps together with their data: edit a manifest, look at the plan, let the controller carry it out.

  drover lab                a whole cluster on this machine, to try it
  drover validate           are the manifests right?
  drover plan               what would happen; changes nothing
  drover apply              do it from here, with progress
  drover status             apps, volumes, nodes and moves`,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version(),
	}
	cmd.SetVersionTemplate("drover {{.Version}}\n")
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())
	})
	cmd.PersistentFlags().StringVar(&c.config, "config", "", "how to reach the cluster (default $DROVER_CONFIG, ./.drover/config.yaml, ~/.config/drover/config.yaml)")
	cmd.PersistentFlags().BoolVarP(&c.verbose, "verbose", "v", false, "log more")
	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"look", "Look, and carry out:", []*cobra.Command{c.validate(), c.plan(), c.apply(), c.status(), c.describe()}},
		{"word", "A person's word:", []*cobra.Command{c.pause(), c.resume(), c.cancel(), c.node(), c.volume()}},
		{"run", "Run:", []*cobra.Command{c.lab(), c.demo(), c.agent(), c.controller(), c.certs()}},
	} {
		cmd.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, sub := range g.commands {
			sub.GroupID = g.id
		}
		cmd.AddCommand(g.commands...)
	}
	cmd.AddCommand(schema(), versionCommand())
	return cmd
}

// manifestFlag adds -f, the same for every command that reads manifests.
func (c *cli) manifestFlag(cmd *cobra.Command) {
	cmd.Flags().StringSliceVarP(&c.manifests, "file", "f", []string{defaultManifests}, "a file or folder of manifests; may be repeated")
}

// log writes to standard error: standard output is for results.
func (c *cli) log() *slog.Logger {
	level := slog.LevelInfo
	if c.verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

// quiet logs warnings only, for commands whose output is for people.
func (c *cli) quiet() *slog.Logger {
	if c.verbose {
		return c.log()
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}

// silent is for a command that shows on the same terminal, in its own way, all that would be logged.
func (c *cli) silent() *slog.Logger {
	if c.verbose {
		return c.log()
	}
	return slog.New(slog.DiscardHandler)
}
