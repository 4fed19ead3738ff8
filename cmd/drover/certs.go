package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-project/drover/certs"
)

func (c *cli) certs() *cobra.Command {
	var ca string
	cmd := group("certs", "make the certificates of a cluster: every connection between Drover's parts is mutual TLS",
		certsInit(&ca), certsIssue(&ca), certsShow())
	cmd.PersistentFlags().StringVar(&ca, "ca", "ca", "folder of the authority")
	return cmd
}

func certsInit(ca *string) *cobra.Command {
	return &cobra.Command{
		Use: "init", Short: "make a new authority", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := certs.NewAuthority(*ca)
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("there is an authority in %s already: another one would make its certificates worthless; choose another folder with --ca", *ca)
			} else if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "made the authority in %s; keep ca.key there private: who has it can be any part of the cluster\n", *ca)
			return nil
		},
	}
}

func certsIssue(ca *string) *cobra.Command {
	var out string
	var hosts []string
	var days int
	cmd := &cobra.Command{
		Use:   "issue ROLE NAME",
		Short: "issue a certificate; ROLE is agent, controller or operator",
		Example: `  drover certs init
  drover certs issue agent node1 --host node1 --host 10.0.0.1 --out node1
  drover certs issue controller drover --out controller
  drover certs issue operator $USER --out operator`,
		Args: exactly("ROLE", "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := certs.OpenAuthority(*ca)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("there is no authority in %s: make one with drover certs init, or name its folder with --ca", *ca)
			} else if err != nil {
				return err
			}
			if args[0] == string(certs.Agent) && len(hosts) == 0 {
				return fmt.Errorf("agent %s needs the names or addresses under which it is called: give each with --host", args[1])
			}
			if out == "" {
				out = args[1]
			}
			id := certs.Identity{Role: certs.Role(args[0]), Name: args[1], Hosts: hosts}
			if err := a.Issue(out, id, time.Duration(days)*24*time.Hour); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "issued %s %s in %s, valid for %d days\n", args[0], args[1], out, days)
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "folder for tls.crt, tls.key and ca.crt (default NAME)")
	cmd.Flags().StringSliceVar(&hosts, "host", nil, "a name or address under which an agent is reached; may be repeated")
	cmd.Flags().IntVar(&days, "days", 365, "how long it is valid")
	return cmd
}

func certsShow() *cobra.Command {
	return &cobra.Command{
		Use: "show DIR", Short: "show whose certificate is in a folder, and when it ends", Args: exactly("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, end, err := certs.Show(args[0])
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("there is no certificate in %s: want a folder with tls.crt", args[0])
			} else if err != nil {
				return err
			}
			called := ""
			if len(id.Hosts) > 0 {
				called = ", called " + strings.Join(id.Hosts, " ")
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s%s, valid until %s\n", id.Role, id.Name, called, end.Format(time.DateOnly))
			return nil
		},
	}
}
