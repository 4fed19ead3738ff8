package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-project/drover/lab"
	"github.com/drover-project/drover/lab/marathond"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/state/manifest"
)

// labFlags is what the lab's commands share.
type labFlags struct {
	dir       string
	manifests string
	native    bool
	anyPort   bool
}

func (c *cli) lab() *cobra.Command {
	var f labFlags
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "run a whole cluster on this machine, to try it: no root, no ZFS, no Marathon",
		Args:  unknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return c.labUp(cmd.Context(), cmd.OutOrStdout(), f) },
	}
	cmd.PersistentFlags().StringVar(&f.dir, "dir", ".drover", "folder for the lab's state")
	up := &cobra.Command{Use: "up", Short: "start the lab, as it was left (the same as drover lab)", Args: noArguments, RunE: cmd.RunE}
	for _, cmd := range []*cobra.Command{cmd, up} {
		folderFlag(cmd, &f.manifests)
		cmd.Flags().BoolVar(&f.native, "native", false, "use this machine's own OpenZFS, on pools in files; needs root")
		cmd.Flags().BoolVar(&f.anyPort, "any-port", false, "take free ports instead of the usual ones")
	}
	down := &cobra.Command{Use: "down", Short: "stop the lab; apps and data stay for the next time", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return labDown(cmd.Context(), cmd.OutOrStdout(), f.dir) }}
	reset := &cobra.Command{Use: "reset", Short: "remove all that a stopped lab left", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return labReset(cmd.OutOrStdout(), f.dir) }}
	cmd.AddCommand(up, down, reset, c.labMarathon(&f), labExecutor())
	return cmd
}

func (c *cli) labUp(ctx context.Context, out io.Writer, f labFlags) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	l, err := lab.New(ctx, lab.Options{Dir: f.dir, Program: program, Manifests: f.manifests, Native: f.native, AnyPort: f.anyPort, Log: c.quiet()})
	if errors.Is(err, lab.ErrRunning) {
		return fmt.Errorf("%w: drover lab down stops it", err)
	} else if err != nil {
		return err
	}
	fmt.Fprintln(out, "The lab starts ...")
	return l.Run(ctx, func() { welcome(out, l, f) })
}

// folderFlag adds -f for the lab, whose controller watches one folder.
func folderFlag(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVarP(into, "file", "f", defaultManifests, "the folder of manifests that the controller watches")
}

// welcome says what there is and what to try.
func welcome(out io.Writer, l *lab.Lab, f labFlags) {
	p := l.Plan()
	fmt.Fprintf(out, "The lab runs.\n\n  Marathon   http://%s/v2/apps\n  Mesos      http://%s/slaves\n", p.Marathon, p.Mesos)
	for _, n := range p.Nodes {
		fmt.Fprintf(out, "  %-10s agent %s  disk:%s\n", n.Hostname, n.Agent, n.Attributes["disk"])
	}
	d, err := manifest.Load(f.manifests)
	if err != nil {
		fmt.Fprintf(out, "\nThe controller waits for these manifests to be mended:\n%v\n", err)
	}
	fmt.Fprintln(out)
	for _, id := range sorted(d.Apps) {
		for _, e := range d.Apps[id].Endpoints {
			fmt.Fprintf(out, "  %-10s %s (in some seconds)\n", id, endpointURL(e))
		}
	}
	fmt.Fprintf(out, "\nTry, in another terminal:\n%s\nCtrl-C stops the lab.\n", toTry(l, f))
}

// endpointURL writes an endpoint so that a terminal makes a link of a page.
func endpointURL(e state.Endpoint) string {
	at := net.JoinHostPort(e.Address, strconv.Itoa(e.Port))
	if e.Name == "web" || e.Name == "http" {
		return "http://" + at + "/"
	}
	return at
}

// toTry lists commands as they work where the lab was started.
func toTry(l *lab.Lab, f labFlags) string {
	var b strings.Builder
	dir := ""
	if usual := filepath.Join(".drover", "config.yaml"); filepath.Join(f.dir, "config.yaml") != usual {
		fmt.Fprintf(&b, "  export DROVER_CONFIG=%s\n", l.ConfigFile())
		dir = " --dir " + f.dir
	}
	me, from := os.Args[0], ""
	if f.manifests != defaultManifests {
		from = " -f " + f.manifests
	}
	fmt.Fprintf(&b, "  %s status\n", me)
	if _, err := os.Stat(filepath.Join(f.manifests, "todo-db.yaml")); err == nil {
		fmt.Fprintf(&b, "  edit %s: change \"spinning\" to \"ssd\", and save\n", filepath.Join(f.manifests, "todo-db.yaml"))
	}
	fmt.Fprintf(&b, "  %s apply%s    follows what the controller does\n", me, from)
	fmt.Fprintf(&b, "  %s lab down%s    stops it; lab up starts it again as it was\n", me, dir)
	return b.String()
}

func labDown(ctx context.Context, out io.Writer, dir string) error {
	pid, ok, err := lab.Holder(dir)
	if err != nil {
		return err
	}
	if !ok {
		fmt.Fprintln(out, "no lab runs in", dir)
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the lab (process %d): %w", pid, err)
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if _, ok, err = lab.Holder(dir); err != nil || !ok {
			if err == nil {
				fmt.Fprintln(out, "the lab has stopped; its apps and data are kept in", dir)
			}
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("the lab (process %d) does not stop; its logs are in %s", pid, filepath.Join(dir, "logs"))
}

func labReset(out io.Writer, dir string) error {
	if pid, ok, err := lab.Holder(dir); err != nil {
		return err
	} else if ok {
		return fmt.Errorf("the lab runs (process %d): stop it with drover lab down first", pid)
	}
	if _, err := os.Stat(filepath.Join(dir, "lab.lock")); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is not the folder of a lab; nothing was removed", dir)
	}
	if err := lab.Remove(dir); err != nil {
		return err
	}
	fmt.Fprintln(out, "removed", dir)
	return nil
}

func (c *cli) labMarathon(f *labFlags) *cobra.Command {
	return &cobra.Command{
		Use: "marathon", Short: "serve the lab's Marathon (the lab starts this)", Hidden: true, Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			program, err := os.Executable()
			if err != nil {
				return err
			}
			return lab.RunMarathon(cmd.Context(), f.dir, program, c.log())
		},
	}
}

func labExecutor() *cobra.Command {
	return &cobra.Command{
		Use: "executor", Short: "run one task (the lab's Marathon starts this)", Hidden: true, DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if code := marathond.ExecutorMain(args); code != 0 {
				return exitCode(code)
			}
			return nil
		},
	}
}
