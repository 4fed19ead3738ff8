package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-project/drover/certs"
)

func (c *cli) certs() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "certs",
		Short: "make the certificates of a cluster: every connection between Drover's parts is mutual TLS",
	}
	var ca string
	cmd.PersistentFlags().StringVar(&ca, "ca", "ca", "folder of the authority")
	cmd.AddCommand(certsInit(&ca), certsIssue(&ca), certsShow())
	return cmd
}

func certsInit(ca *string) *cobra.Command {
	return &cobra.Command{
		Use: "init", Short: "make a new authority", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := certs.NewAuthority(*ca); err != nil {
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
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := certs.OpenAuthority(*ca)
			if err != nil {
				return err
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
		Use: "show DIR", Short: "show whose certificate is in a folder, and when it ends", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, end, err := certs.Show(args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s %v, until %s\n", id.Role, id.Name, id.Hosts, end.Format(time.DateOnly))
			return nil
		},
	}
}
