package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-project/drover/agent"
	"github.com/drover-project/drover/agent/stream"
	"github.com/drover-project/drover/certs"
	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

func (c *cli) agent() *cobra.Command {
	var o agent.Options
	var hostname string
	var timeout time.Duration
	var ring int
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "run a node's agent: it observes the node's datasets and carries out steps on them",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if hostname == "" {
				h, err := os.Hostname()
				if err != nil {
					return fmt.Errorf("--hostname is not given and the system does not know one: %w", err)
				}
				hostname = h
			}
			if id, _, err := certs.Show(o.Certs); err == nil && id.Role != certs.Agent {
				return fmt.Errorf("%s holds the certificate of %s %s: an agent needs one of role agent (drover certs issue agent NAME --host ADDRESS)", o.Certs, id.Role, id.Name)
			}
			o.Ring = ring << 20
			o.Hostname, o.Log = state.Hostname(hostname), c.log()
			o.ZFS = zfs.Options{Log: o.Log, Timeout: timeout}
			a, err := agent.New(o)
			if err != nil {
				return err
			}
			return a.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&hostname, "hostname", "", "name under which Mesos knows this node (default: the system's hostname)")
	f.StringVar(&o.Root, "root", "tank/drover", "dataset below which volumes are created; made if absent")
	f.StringVar(&o.Mounts, "mounts", "/drover", "folder below which volumes are mounted")
	f.StringVar(&o.Listen, "listen", ":7070", "address to listen on")
	f.StringVar(&o.Advertise, "advertise", "", "host:port under which other agents reach this one (default: where it listens)")
	f.StringVar(&o.Certs, "certs", "/etc/drover/certs", "folder with tls.crt, tls.key and ca.crt of role agent")
	f.StringVar(&o.Dir, "dir", "/var/lib/drover", "folder for locks, routes and measured rates")
	f.IntVar(&ring, "ring", stream.DefaultRing>>20, "most MiB of an incoming stream that wait in memory while the pool is busy, 2 to 256")
	f.BoolVar(&o.Immutable, "immutable", false, "make the folders of unmounted volumes immutable (Linux, root)")
	f.DurationVar(&timeout, "zfs-timeout", time.Minute, "how long a short zfs command may take before its outcome counts as unknown")
	return cmd
}

func (c *cli) controller() *cobra.Command {
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "controller [-f FILE]...",
		Short: "keep the cluster as the manifests say, and carry out their changes",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := c.log()
			cl, err := c.cluster(log)
			if err != nil {
				return err
			}
			ctl := controller.New(controller.Options{Cluster: cl, Name: whoAmI("controller"), Every: every, Log: log})
			return ctl.Run(cmd.Context(), c.manifests)
		},
	}
	c.manifestFlag(cmd)
	cmd.Flags().DurationVar(&every, "every", 30*time.Second, "how often everything is re-read though nothing seems to have changed")
	return cmd
}
