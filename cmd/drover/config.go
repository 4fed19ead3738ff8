package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/drover-project/drover/controller"
)

// findConfig returns the config file to use.
func (c *cli) findConfig() (string, error) {
	if c.config != "" {
		return c.config, nil
	}
	if p := os.Getenv("DROVER_CONFIG"); p != "" {
		return p, nil
	}
	places := []string{filepath.Join(".drover", "config.yaml")}
	if home, err := os.UserConfigDir(); err == nil {
		places = append(places, filepath.Join(home, "drover", "config.yaml"))
	}
	for _, p := range places {
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", errors.New("no config says how to reach the cluster: start one with `drover lab`, or write .drover/config.yaml (see the README, \"A real cluster\")")
}

// cluster opens the cluster that the config names.
func (c *cli) cluster(log *slog.Logger) (*controller.Cluster, error) {
	path, err := c.findConfig()
	if err != nil {
		return nil, err
	}
	cfg, err := controller.ReadConfig(path)
	if err != nil {
		return nil, err
	}
	return cfg.Open(log)
}
