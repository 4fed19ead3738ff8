package marathond

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// taskFolder is where a task's executor keeps its files. A task id can be longer than a file name may be.
func (s *Server) taskFolder(id string) string {
	if len(id) > 200 {
		id = fmt.Sprintf("%x", sha256.Sum256([]byte(id)))
	}
	return filepath.Join(s.opt.Dir, "executors", id)
}

// sandbox is the working directory of a task.
func (s *Server) sandbox(t *mesosTask) string {
	return filepath.Join(s.opt.Dir, "sandboxes", t.Agent, filepath.Base(t.Folder))
}

// removeSandbox drops what a task that nobody remembers left behind; its volumes are only links there.
func (s *Server) removeSandbox(t *mesosTask) {
	if err := os.RemoveAll(s.sandbox(t)); err != nil {
		s.log.Warn("remove sandbox", "task", t.ID, "err", err)
	}
}

// startTask is the agent's part of a launch. What it cannot start has failed.
func (s *Server) startTask(t *mesosTask, a *app, ag *agent) {
	err := s.prepareTask(t, a, ag)
	if err == nil {
		err = s.startExecutor(t)
	}
	if err != nil {
		s.log.Info("task does not start", "app", t.App, "task", t.ID, "node", t.Host, "err", err)
		s.agentSays(time.Now(), t, taskFailed, "Failed to launch container: "+err.Error())
	}
}

func (s *Server) prepareTask(t *mesosTask, a *app, ag *agent) error {
	if err := refuse(a.spec); err != nil {
		return err
	}
	box := s.sandbox(t)
	for _, dir := range []string{t.Folder, box} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("sandbox: %w", err)
		}
	}
	if err := linkVolumes(a.spec, box); err != nil {
		return err
	}
	if err := fetch(a.spec, box); err != nil {
		return err
	}
	return writeLaunch(t.Folder, launchFile{
		Argv: argv(a.spec), Env: s.environment(t, a, ag, box), Dir: box,
		Stdout: filepath.Join(box, "stdout"), Stderr: filepath.Join(box, "stderr"),
	})
}

func argv(sp *spec) []string {
	if sp.Cmd != "" {
		return []string{"/bin/sh", "-c", sp.Cmd}
	}
	return sp.Args
}

// refuse names what a lab without containers cannot run.
func refuse(sp *spec) error {
	if sp.Container != nil && sp.Container.Docker != nil && sp.Container.Docker.Image != "" {
		return fmt.Errorf("the lab runs no container images, app %s wants %q: use cmd without an image", sp.ID, sp.Container.Docker.Image)
	}
	if sp.Cmd == "" && len(sp.Args) == 0 {
		return fmt.Errorf("app %s has neither cmd nor args, and the lab runs no container images", sp.ID)
	}
	if me, err := user.Current(); sp.User != "" && err == nil && sp.User != me.Username {
		return fmt.Errorf("the lab runs tasks as %s only, app %s wants user %q", me.Username, sp.ID, sp.User)
	}
	return nil
}

// linkVolumes lets every host volume appear in the sandbox.
func linkVolumes(sp *spec, box string) error {
	if sp.Container == nil {
		return nil
	}
	for _, v := range sp.Container.Volumes {
		if err := linkVolume(v, box); err != nil {
			return err
		}
	}
	return nil
}

func linkVolume(v volume, box string) error {
	if v.HostPath == "" {
		return nil
	}
	if filepath.IsAbs(v.ContainerPath) {
		return fmt.Errorf("the lab has no mount namespaces: containerPath %q must be relative to the sandbox", v.ContainerPath)
	}
	if !filepath.IsLocal(v.ContainerPath) {
		return fmt.Errorf("containerPath %q leaves the sandbox", v.ContainerPath)
	}
	host := v.HostPath
	if !filepath.IsAbs(host) {
		return fmt.Errorf("hostPath %q is not absolute", host)
	}
	if _, err := os.Stat(host); err != nil {
		return fmt.Errorf("hostPath %q cannot be mounted: %w", host, err)
	}
	link := filepath.Join(box, v.ContainerPath)
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return fmt.Errorf("volume %s: %w", v.ContainerPath, err)
	}
	if err := os.Symlink(host, link); err != nil {
		return fmt.Errorf("volume %s: %w", v.ContainerPath, err)
	}
	return nil
}

// fetch copies file: artifacts into the sandbox. The lab downloads and extracts nothing.
func fetch(sp *spec, box string) error {
	for _, f := range sp.Fetch {
		u, err := url.Parse(f.URI)
		if err != nil || u.Scheme != "file" && u.Scheme != "" {
			return fmt.Errorf("fetch %s: the lab only copies file:// artifacts", f.URI)
		}
		dest := f.DestPath
		if dest == "" {
			dest = filepath.Base(u.Path)
		}
		if !filepath.IsLocal(dest) {
			return fmt.Errorf("fetch %s: destPath %q leaves the sandbox", f.URI, dest)
		}
		if err := copyFile(u.Path, filepath.Join(box, dest), f.Executable); err != nil {
			return fmt.Errorf("fetch %s: %w", f.URI, err)
		}
	}
	return nil
}

func copyFile(from, to string, executable bool) error {
	mode := os.FileMode(0o644)
	if executable {
		mode = 0o755
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// environment of a task: the server's own without what belongs to another task, then Marathon's, Mesos's and the app's.
func (s *Server) environment(t *mesosTask, a *app, ag *agent, box string) []string {
	env := map[string]string{}
	for _, kv := range os.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		if !inheritedFromTask(k) {
			env[k] = v
		}
	}
	add := func(more map[string]string) {
		for k, v := range more {
			env[k] = v
		}
	}
	add(ag.Env)
	add(marathonEnv(a))
	add(portEnv(a.spec, t.Ports))
	add(map[string]string{
		"HOST": t.Host, "MESOS_TASK_ID": t.ID, "MESOS_SANDBOX": box, "MESOS_DIRECTORY": box,
		"LIBPROCESS_IP": t.IP, "MESOS_CONTAINER_IP": t.IP, "PWD": box,
	})
	for k, v := range a.spec.Env {
		if text, ok := v.(string); ok {
			env[k] = text
		}
	}
	var out []string
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

// inheritedFromTask tells what a server that is itself a task must not hand down.
func inheritedFromTask(name string) bool {
	switch name {
	case "HOST", "PORT", "PORTS", "LIBPROCESS_IP", "PWD":
		return true
	}
	for _, p := range []string{"MESOS_", "MARATHON_", "PORT_", "PORT0", "PORT1", "PORT2"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

func marathonEnv(a *app) map[string]string {
	sp := a.spec
	env := map[string]string{
		"MARATHON_APP_ID": sp.ID, "MARATHON_APP_VERSION": a.Version,
		"MARATHON_APP_RESOURCE_CPUS": decimal(sp.CPUs), "MARATHON_APP_RESOURCE_MEM": decimal(sp.Mem),
		"MARATHON_APP_RESOURCE_DISK": decimal(sp.Disk), "MARATHON_APP_RESOURCE_GPUS": strconv.Itoa(int(sp.GPUs)),
	}
	var names []string
	for k, v := range sp.Labels {
		name := envName(k)
		names = append(names, name)
		env["MARATHON_APP_LABEL_"+name] = v
	}
	slices.Sort(names)
	env["MARATHON_APP_LABELS"] = strings.Join(names, " ")
	return env
}

var notEnv = regexp.MustCompile(`[^A-Z0-9_]`)

func envName(s string) string { return notEnv.ReplaceAllString(strings.ToUpper(s), "_") }

func portEnv(sp *spec, ports []int) map[string]string {
	env := map[string]string{}
	var all []string
	for i, p := range ports {
		n := strconv.Itoa(p)
		all = append(all, n)
		env["PORT"+strconv.Itoa(i)] = n
		name, declared := portLabel(sp, i)
		if declared != 0 {
			env["PORT_"+strconv.Itoa(declared)] = n
		}
		if name != "" {
			env["PORT_"+envName(name)] = n
		}
	}
	if len(all) > 0 {
		env["PORT"], env["PORTS"] = all[0], strings.Join(all, ",")
	}
	return env
}

func portLabel(sp *spec, i int) (string, int) {
	switch {
	case sp.hostNetwork() && i < len(sp.PortDefinitions):
		return sp.PortDefinitions[i].Name, sp.PortDefinitions[i].Port
	case !sp.hostNetwork() && i < len(sp.mappings()):
		return sp.mappings()[i].Name, sp.mappings()[i].ContainerPort
	}
	return "", 0
}

// startExecutor starts the process that will own the task. The pipes are inherited, so from the fork on the executor
// lives exactly as long as its pipe has a writer.
func (s *Server) startExecutor(t *mesosTask) error {
	for _, name := range []string{aliveFile, controlFile} {
		if err := unix.Mkfifo(filepath.Join(t.Folder, name), 0o600); err != nil {
			return fmt.Errorf("executor pipe: %w", err)
		}
	}
	reader, err := openAlive(t.Folder)
	if err != nil {
		return err
	}
	if err := s.spawn(t); err != nil {
		return errors.Join(err, reader.Close())
	}
	s.watch(t, reader)
	return nil
}

func (s *Server) spawn(t *mesosTask) error {
	alive, err1 := os.OpenFile(filepath.Join(t.Folder, aliveFile), os.O_RDWR, 0)
	control, err2 := os.OpenFile(filepath.Join(t.Folder, controlFile), os.O_RDWR, 0)
	log, err3 := os.OpenFile(filepath.Join(t.Folder, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	defer func() {
		for _, f := range []*os.File{alive, control, log} {
			if f != nil {
				if err := f.Close(); err != nil {
					s.log.Warn("close executor file", "err", err)
				}
			}
		}
	}()
	if err := errors.Join(err1, err2, err3); err != nil {
		return fmt.Errorf("executor: %w", err)
	}
	argv := append(slices.Clone(s.opt.Executor), t.Folder)
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx // it outlives every context of this process
	cmd.ExtraFiles = []*os.File{alive, control}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = t.Folder
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("executor: %w", err)
	}
	s.children.Store(t.ID, cmd)
	return nil
}

func writeLaunch(folder string, l launchFile) error {
	data, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("launch file: %w", err)
	}
	if err := writeFile(filepath.Join(folder, launchName), data); err != nil {
		return fmt.Errorf("launch file: %w", err)
	}
	return nil
}
