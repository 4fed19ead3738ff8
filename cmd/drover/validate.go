package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/state/manifest"
)

func (c *cli) validate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate [-f FILE]...",
		Short: "check manifests without a cluster; every mistake is reported at once",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := c.load()
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

func schema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "print the JSON Schema of the manifests, for editors",
		Args:  noArguments,
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

// defaultManifests is where manifests are looked for without -f.
const defaultManifests = "manifests"

// load reads the manifests. That the default folder is absent says only that the command runs in another place.
func (c *cli) load() (state.Desired, error) {
	if slices.Equal(c.manifests, []string{defaultManifests}) {
		if _, err := os.Stat(defaultManifests); errors.Is(err, fs.ErrNotExist) {
			return state.Desired{}, fmt.Errorf("there is no folder %q here: name manifests with -f", defaultManifests)
		}
	}
	return manifest.Load(c.manifests...)
}

// desired loads the manifests for a command that needs them.
func (c *cli) desired(prune bool) (*state.Desired, error) {
	d, err := c.load()
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
