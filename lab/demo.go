package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/register"
	"github.com/drover-project/drover/state"
)

// Demo runs the main job from nothing: it starts a lab, deploys the to-do app with its database on the spinning node, edits
// the manifest's constraint to ssd while a writer keeps adding to-dos, and checks that every acknowledged one is there
// afterwards. It says what it does on o.Out and leaves nothing behind.
func Demo(ctx context.Context, o Options) (err error) {
	dir, err := os.MkdirTemp("", "drover-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, Remove(dir)) }()
	d := &demo{out: o.Out, program: o.Program}
	if d.manifests, d.web, err = demoManifests(ctx, o.Manifests, filepath.Join(dir, "manifests")); err != nil {
		return err
	}
	o.Dir, o.Manifests, o.AnyPort = filepath.Join(dir, "lab"), d.manifests, true
	begun := time.Now()
	d.say("Starting a cluster: a Marathon, three nodes with a ZFS pool each, and the controller as a Marathon app.")
	l, err := New(ctx, o)
	if err != nil {
		return err
	}
	d.lab, d.todo = l, filepath.Join(l.o.Tools, "todo")
	running, stop := context.WithCancel(ctx)
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- l.Run(running, func() { close(ready) }) }()
	defer func() { stop(); err = errors.Join(err, <-ended) }()
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		return err
	}
	if err := d.play(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, d.lastLogs())
	}
	d.say("That took %.0f s. To play with it yourself: bin/drover lab", time.Since(begun).Seconds())
	return nil
}

// demoManifests copies the manifests, so that the demo edits its own, and gives them addresses that no other lab uses. It
// returns the folder and the address of the to-do page.
func demoManifests(ctx context.Context, from, to string) (dir, web string, err error) {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return "", "", err
	}
	files, err := filepath.Glob(filepath.Join(from, "*.yaml"))
	if err != nil || len(files) == 0 {
		return "", "", errors.Join(fmt.Errorf("no manifests in %s: run the demo in a clone of the project, or name a folder with -f", from), err)
	}
	third, err := freeSubnet(ctx)
	if err != nil {
		return "", "", err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return "", "", err
		}
		b = bytes.ReplaceAll(b, []byte("127.255.0."), fmt.Appendf(nil, "127.255.%d.", third))
		if err := os.WriteFile(filepath.Join(to, filepath.Base(f)), b, 0o644); err != nil {
			return "", "", err
		}
	}
	return to, fmt.Sprintf("127.255.%d.11:8080", third), nil
}

// freeSubnet finds loopback addresses on which no gate listens.
func freeSubnet(ctx context.Context) (int, error) {
	for i := range 250 {
		third := 1 + (os.Getpid()+i)%250
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf("127.255.%d.11:8080", third))
		if err == nil {
			return third, ln.Close()
		}
	}
	return 0, errors.New("no free loopback address for the demo's endpoints")
}

// demo is one run.
type demo struct {
	out       io.Writer
	program   string
	todo      string
	manifests string
	web       string // host:port of the page, through the gates
	lab       *Lab
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, "\n== "+format+"\n", args...) }

// firstTodos is how many to-dos there are before the move.
const firstTodos = "500"

const edited, from, to = "todo-db.yaml", "spinning", "ssd"

func (d *demo) play(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	d.say("The controller deploys /todo/db on the spinning node, with its volume, and /todo/web beside it.")
	if err := d.settled(ctx, "node1"); err != nil {
		return err
	}
	if err := d.webAnswers(ctx); err != nil {
		return err
	}
	ledger := d.lab.path("ledger")
	if out, err := d.output(ctx, d.todo, "load", "-url", "http://"+d.web+"/", "-ledger", ledger, "-count", firstTodos); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	d.say("%s to-dos are added through /todo/web. drover status", firstTodos)
	if err := d.run(ctx, d.program, "status"); err != nil {
		return err
	}
	writer, report, err := d.startWriter(ctx, ledger)
	if err != nil {
		return err
	}
	defer writer.Process.Kill() //nolint:errcheck // it has ended, unless something else failed before
	if err := d.move(ctx); err != nil {
		return err
	}
	if err := writer.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := writer.Wait(); err != nil {
		return fmt.Errorf("the writer: %w", err)
	}
	return d.tell(ctx, ledger, report.Bytes())
}

// move edits the manifest, shows the plan that follows, and waits until the controller has done it.
func (d *demo) move(ctx context.Context) error {
	file := filepath.Join(d.manifests, edited)
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	after := bytes.Replace(b, []byte("CLUSTER, "+from), []byte("CLUSTER, "+to), 1)
	if bytes.Equal(after, b) {
		return fmt.Errorf("%s has no constraint on %s to edit", file, from)
	}
	d.say("A writer keeps adding to-dos. Meanwhile somebody edits %s:", edited)
	fmt.Fprintf(d.out, "-    - [disk, CLUSTER, %s]\n+    - [disk, CLUSTER, %s]\n", from, to)
	preview := d.lab.path("preview")
	if err := os.CopyFS(preview, os.DirFS(d.manifests)); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(preview, edited), after, 0o644); err != nil {
		return err
	}
	d.say("drover plan")
	if err := d.run(ctx, d.program, "plan", "-f", preview); err != nil && !isExit(err, 2) {
		return err
	}
	if err := os.WriteFile(file, after, 0o644); err != nil {
		return err
	}
	d.say("The file is saved; the controller sees it and carries the plan out.")
	if err := d.settled(ctx, "node2"); err != nil {
		return err
	}
	return d.run(ctx, d.program, "status")
}

func (d *demo) startWriter(ctx context.Context, ledger string) (*exec.Cmd, *bytes.Buffer, error) {
	var report bytes.Buffer
	cmd := exec.CommandContext(ctx, d.todo, "load", "-url", "http://"+d.web+"/", "-ledger", ledger+".moving", "-pause", "2ms")
	cmd.Stdout, cmd.Stderr = &report, d.out
	return cmd, &report, cmd.Start()
}

// writerReport is what the writer measured.
type writerReport struct {
	Acknowledged int     `json:"acknowledged"`
	Errors       int     `json:"errors"`
	LongestGap   float64 `json:"longest_gap_ms"`
	Moves        []struct {
		From   struct{ Node string } `json:"from"`
		To     struct{ Node string } `json:"to"`
		Outage float64               `json:"outage_ms"`
	} `json:"moves"`
}

// tell checks that nothing acknowledged is missing, and prints what happened.
func (d *demo) tell(ctx context.Context, ledger string, report []byte) error {
	var r writerReport
	if err := json.Unmarshal(report, &r); err != nil {
		return fmt.Errorf("the writer's report %q: %w", report, err)
	}
	d.say("Is every acknowledged to-do there?")
	for _, l := range []string{ledger, ledger + ".moving"} {
		if err := d.run(ctx, d.todo, "check", "-url", "http://"+d.web+"/", "-ledger", l); err != nil {
			return err
		}
	}
	if len(r.Moves) != 1 {
		return fmt.Errorf("the writer saw %d moves of the database, want 1", len(r.Moves))
	}
	m := r.Moves[0]
	st, err := d.status(ctx)
	if err != nil {
		return err
	}
	d.say("The database moved from %s to %s with its data.", m.From.Node, m.To.Node)
	fmt.Fprintf(d.out, "   outage as the writer saw it:      %.2f s (last acknowledged write on %s to the first on %s)\n", m.Outage/1000, m.From.Node, m.To.Node)
	for _, mv := range st.Moves {
		fmt.Fprintf(d.out, "   outage as the controller saw it:  %.2f s (stop %.2f, last delta %.2f, promote %.2f, start %.2f)\n", mv.Outage.Seconds(),
			mv.Parts["stop"].Seconds(), mv.Parts["last delta"].Seconds(), mv.Parts["promote"].Seconds(), mv.Parts["start"].Seconds())
	}
	fmt.Fprintf(d.out, "   acknowledged while it moved:      %d to-dos; failed requests: %d\n", r.Acknowledged, r.Errors)
	return nil
}

// settled waits until the controller has nothing left to do and the database runs on a node.
func (d *demo) settled(ctx context.Context, node state.Hostname) error {
	var last string
	said := map[state.AppID]string{}
	for {
		st, err := d.status(ctx)
		if err != nil && !errors.Is(err, register.ErrNotFound) {
			return err
		}
		for _, a := range st.Apps {
			if line := appLine(a); line != "" && line != said[a.App] {
				said[a.App], last = line, line
				fmt.Fprintln(d.out, "  ", line)
			}
		}
		if st.Refusal != "" {
			return errors.New(st.Refusal)
		}
		if st.Settled && d.runsOn(ctx, node) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it did not come to rest in time; last: %s", last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func appLine(a controller.AppStatus) string {
	switch {
	case a.Stalled != "":
		return string(a.App) + " is stalled: " + a.Stalled
	case a.Waiting != "":
		return string(a.App) + " waits: " + a.Waiting
	case a.Step != "":
		return fmt.Sprintf("%-10s %s", a.App, a.Step)
	}
	return ""
}

// runsOn asks the page on which node the database is.
func (d *demo) runsOn(ctx context.Context, node state.Hostname) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.web+"/?last=1", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.Header.Get("Todo-Node") == string(node)
}

func (d *demo) webAnswers(ctx context.Context) error {
	for !d.runsOn(ctx, "node1") {
		select {
		case <-ctx.Done():
			return errors.New("/todo/web does not answer at " + d.web)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

func (d *demo) status(ctx context.Context) (controller.Status, error) {
	var st controller.Status
	reg, err := register.Open("file://" + d.lab.path("register")) //nolint:contextcheck // opening asks nothing
	if err != nil {
		return st, err
	}
	b, err := reg.Status(ctx)
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal(b, &st)
}

// run runs a command as a person would, with what it prints indented.
func (d *demo) run(ctx context.Context, program string, args ...string) error {
	out, err := d.output(ctx, program, args...)
	for line := range strings.Lines(string(out)) {
		fmt.Fprint(d.out, "   ", line)
	}
	return err
}

func (d *demo) output(ctx context.Context, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "DROVER_CONFIG="+d.lab.ConfigFile())
	out, err := cmd.CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("%s %s: %w", filepath.Base(program), args[0], err)
	}
	return out, nil
}

func isExit(err error, code int) bool {
	e := (*exec.ExitError)(nil)
	return errors.As(err, &e) && e.ExitCode() == code
}

// lastLogs returns the ends of the parts' logs, for a demo that went wrong.
func (d *demo) lastLogs() string {
	var b strings.Builder
	files, err := filepath.Glob(d.lab.path("logs", "*.log"))
	if err != nil {
		return ""
	}
	tasks, err := filepath.Glob(d.lab.path("marathon", "tasks", "*", "std*"))
	if err == nil {
		files = append(files, tasks...)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		fmt.Fprintf(&b, "--- %s\n%s\n", filepath.Base(filepath.Dir(f))+"/"+filepath.Base(f), strings.Join(lines[max(0, len(lines)-15):], "\n"))
	}
	return b.String()
}
