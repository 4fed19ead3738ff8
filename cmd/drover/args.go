package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-project/drover/state"
)

// noArguments refuses arguments. Most who give one mean a manifest.
func noArguments(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.Flags().Lookup("file") != nil:
		return fmt.Errorf("%s takes no argument %q: name manifests with -f", cmd.CommandPath(), args[0])
	}
	return fmt.Errorf("%s takes no argument %q; see %[1]s --help", cmd.CommandPath(), args[0])
}

// exactly wants one argument for each name.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return fmt.Errorf("%s wants %s: %s is missing; see %[1]s --help", cmd.CommandPath(), strings.Join(names, " "), names[len(args)])
		case len(args) > len(names):
			return fmt.Errorf("%s wants %s: %q is too much; see %[1]s --help", cmd.CommandPath(), strings.Join(names, " "), args[len(names)])
		}
		return nil
	}
}

// unknownCommand is for commands that only hold others: what is left over was meant as one of them.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	hint := ""
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return fmt.Errorf("%s has no command %q%s (%[1]s --help lists them)", cmd.CommandPath(), args[0], hint)
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(commands...)
	return cmd
}

// appID takes an app's id as people write it: Marathon's ids begin with a slash.
func appID(arg string) state.AppID {
	return state.AppID("/" + strings.Trim(arg, "/"))
}
