package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/state/manifest"
)

func (c *cli) validate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate [-f FILE]...",
		Short: "check manifests without a cluster; every mistake is reported at once",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := manifest.Load(c.manifests...)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "valid: %s and %s\n", count(len(d.Apps), "app"), count(len(d.Volumes), "volume"))
			return nil
		},
	}
	c.manifestFlag(cmd)
	return cmd
}

func (c *cli) schema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "print the JSON Schema of the manifests, for editors",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := manifest.Schema()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(b)
			return err
		},
	}
}

// desired loads the manifests for a command that needs them.
func (c *cli) desired(prune bool) (*state.Desired, error) {
	d, err := manifest.Load(c.manifests...)
	if err != nil {
		return nil, err
	}
	d.Cluster.Prune = d.Cluster.Prune || prune
	return &d, nil
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// ago writes how long ago something was.
func ago(t time.Time) string { return time.Since(t).Round(time.Second).String() + " ago" }
