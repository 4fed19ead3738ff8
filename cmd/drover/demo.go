package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/drover-project/drover/lab"
)

func (c *cli) demo() *cobra.Command {
	var manifests string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "watch a to-do app move with its data, in a lab of its own that is gone afterwards",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			program, err := os.Executable()
			if err != nil {
				return err
			}
			return lab.Demo(cmd.Context(), lab.Options{Program: program, Manifests: manifests, Out: cmd.OutOrStdout(), Log: c.quiet()})
		},
	}
	folderFlag(cmd, &manifests)
	return cmd
}
