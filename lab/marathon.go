package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/drover-project/drover/lab/marathond"
)

// RunMarathon serves the embedded Marathon of the lab in dir until ctx ends, and then stops its tasks: the apps stay and start
// again next time.
func RunMarathon(ctx context.Context, dir, program string, log *slog.Logger) error {
	b, err := os.ReadFile(filepath.Join(dir, "lab.json"))
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	var plan Plan
	if err := json.Unmarshal(b, &plan); err != nil {
		return fmt.Errorf("lab.json: %w", err)
	}
	s, err := marathond.New(marathond.Options{Dir: filepath.Join(dir, "marathon"), Listen: plan.Marathon, MesosListen: plan.Mesos,
		Executor: []string{program, "lab", "executor"}, Agents: agents(plan), Log: log})
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	done := make(chan error, 1)
	go func() { done <- s.Run(serving) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	killing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 8*time.Second)
	defer cancel()
	if err := s.KillTasks(killing); err != nil {
		log.Warn("tasks were not all stopped", "err", err)
	}
	stop()
	return <-done
}

func agents(p Plan) []marathond.Agent {
	var out []marathond.Agent
	for _, n := range p.Nodes {
		a := marathond.Agent{Hostname: string(n.Hostname), Resources: marathond.Resources{CPUs: 4, Mem: 8192, Disk: 102400, Ports: n.Ports}}
		for _, k := range sortedKeys(n.Attributes) {
			a.Attributes = append(a.Attributes, marathond.Attribute{Name: k, Value: n.Attributes[k]})
		}
		out = append(out, a)
	}
	return out
}

func sortedKeys(m map[string]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
