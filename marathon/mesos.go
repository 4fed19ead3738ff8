package marathon

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"time"

	"github.com/drover-project/drover/state"
)

const defaultFramework = "marathon"

// mesos reads the master that Marathon is registered at.
type mesos struct {
	marathon   *service
	options    Options
	configured *service // nil: ask Marathon where it is

	mu        sync.Mutex
	found     *service // where Marathon said it is; nil: ask
	framework string   // name, "": ask
}

func newMesos(o Options, marathon *service) (*mesos, error) {
	m := &mesos{marathon: marathon, options: o, framework: o.Framework}
	if o.MesosURL == "" {
		return m, nil
	}
	s := newService("Mesos", o)
	m.configured = s
	return m, s.add(o.MesosURL)
}

func (m *mesos) observe(ctx context.Context) state.Mesos {
	z := state.Mesos{Source: state.Source{At: time.Now()}}
	master, framework, err := m.locate(ctx)
	if err == nil {
		err = sideBySide(
			func() (err error) { z.Agents, err = readAgents(ctx, master); return err },
			func() (err error) { z.Tasks, err = readTasks(ctx, master, framework); return err },
		)
	}
	if err != nil {
		m.forget()
		return state.Mesos{Source: state.Source{At: z.At, Err: err.Error()}}
	}
	return z
}

// locate returns the master and the name of Marathon's framework. It asks Marathon only for what is not known yet. A master that
// is configured is read even while Marathon is silent, under the name that Marathon has by default.
func (m *mesos) locate(ctx context.Context) (*service, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	master := m.configured
	if master == nil {
		master = m.found
	}
	if master != nil && m.framework != "" {
		return master, m.framework, nil
	}
	info, err := readInfo(ctx, m.marathon)
	switch {
	case err == nil:
		return m.learn(info)
	case master != nil:
		return master, defaultFramework, nil
	default:
		return nil, "", err
	}
}

func (m *mesos) learn(info Info) (*service, string, error) {
	if m.framework == "" {
		m.framework = info.Framework
	}
	if m.framework == "" {
		m.framework = defaultFramework
	}
	if m.configured != nil {
		return m.configured, m.framework, nil
	}
	if info.MesosURL == "" {
		return nil, "", errors.New("no Mesos address given, and /v2/info of Marathon names none")
	}
	s, err := m.discovered(info.MesosURL)
	m.found = s
	return s, m.framework, err
}

// discovered is a master that Marathon named. It gets the credentials only if it is behind the same host as Marathon, such as the
// admin router of DC/OS: they were given for no other.
func (m *mesos) discovered(at string) (*service, error) {
	o := m.options
	if u, err := url.Parse(at); err != nil || !m.marathon.has(u.Host) {
		o.User, o.Password, o.Token, o.Header = "", "", "", nil
	}
	s := newService("Mesos", o)
	if err := s.add(at); err != nil {
		return nil, err
	}
	return s, nil
}

// forget makes the next observation ask Marathon anew where the master is: it may have failed over. The framework's name stays.
func (m *mesos) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.found = nil
}

func readAgents(ctx context.Context, s *service) (agents []state.MesosAgent, err error) {
	err = s.read(ctx, "/slaves", nil, func(b []byte) error {
		agents, err = decodeAgents(b)
		return err
	})
	return agents, err
}

func readTasks(ctx context.Context, s *service, framework string) (tasks map[string]state.TaskState, err error) {
	err = s.read(ctx, "/state", nil, func(b []byte) error {
		tasks, err = decodeMesosTasks(b, framework)
		return err
	})
	return tasks, err
}
