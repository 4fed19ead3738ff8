package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/drover-project/drover/state"
)

// witness looks at a cluster again and again, past all of Drover's own code but its property names.
type witness struct {
	c     *Cluster
	poke  chan struct{}
	quit  chan struct{}
	done  chan struct{}
	known map[place]seen // copies as last seen
}

// place is a copy: a node and a volume's uuid.
type place struct {
	node state.Hostname
	uuid string
}

// seen is what the witness remembers of a copy.
type seen struct {
	volume   string
	role     string
	epoch    state.Epoch
	readonly string
	newest   string // guid of the newest snapshot
	guids    []string
}

func watch(c *Cluster) *witness {
	w := &witness{c: c, poke: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}), known: map[place]seen{}}
	go w.run()
	return w
}

// look asks for a look soon.
func (w *witness) look() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

func (w *witness) run() {
	defer close(w.done)
	rest := time.NewTimer(0)
	defer rest.Stop()
	for {
		select {
		case <-w.quit:
			return
		case <-w.poke:
		case <-rest.C:
		}
		begun := time.Now()
		w.examine()
		rest.Reset(max(400*time.Millisecond, 5*time.Since(begun))) // a busy machine is not made busier
	}
}

// end stops looking, looks once more, and compares what was acknowledged with what is there.
func (w *witness) end() {
	close(w.quit)
	<-w.done
	w.examine()
	w.ledgers()
}

// examine looks once. Two writers are reported only if one was seen with the same epoch before and after the other was: no
// copy is primary twice at one epoch, so it was primary all the time.
func (w *witness) examine() {
	first, ok := w.copies()
	if !ok {
		return
	}
	w.oneTask()
	if writers := twoWriters(first); writers != "" {
		if second, ok := w.copies(); ok && twoWriters(second) == writers {
			w.c.t.Errorf("two writers: %s", writers)
		}
	}
	for p, s := range first {
		if s.readonly == "off" && s.role != string(state.Primary) {
			w.c.t.Errorf("volume %s on %s is %s and writable", s.volume, p.node, s.role)
		}
	}
	w.noLoss(first)
	w.known = first
}

// twoWriters names the primary copies of a volume that has more than one.
func twoWriters(copies map[place]seen) string {
	by := map[string][]string{}
	for p, s := range copies {
		if s.role == string(state.Primary) {
			by[p.uuid] = append(by[p.uuid], fmt.Sprintf("%s on %s at %s", s.volume, p.node, s.epoch))
		}
	}
	var out []string
	for _, l := range by {
		if len(l) > 1 {
			slices.Sort(l)
			out = append(out, strings.Join(l, " and "))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

// noLoss checks that for every copy that is gone a primary of a higher epoch has its newest snapshot. The primary is looked
// for in the same look, which is later than the deletion.
func (w *witness) noLoss(now map[place]seen) {
	for p, was := range w.known {
		if _, there := now[p]; there || was.newest == "" {
			continue
		}
		if !slices.ContainsFunc(keys(now), func(q place) bool {
			s := now[q]
			return q.uuid == p.uuid && s.role == string(state.Primary) && was.epoch.Less(s.epoch) && slices.Contains(s.guids, was.newest)
		}) {
			w.c.t.Errorf("the copy of %s on %s (%s at %s) is gone and no primary of a higher epoch has its newest snapshot", was.volume, p.node, was.role, was.epoch)
		}
	}
}

func keys(m map[place]seen) []place {
	out := make([]place, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

// copies reads the pools of all nodes, each in one command. Not all can be read while faults are in force.
func (w *witness) copies() (map[place]seen, bool) {
	all := map[place]seen{}
	for name, n := range w.c.Nodes {
		out, err := n.Machine.Run("zfs", "get", "-Hp", "-r", "-t", "filesystem,snapshot", "-o", "name,property,value,source",
			"drover:volume,drover:uuid,drover:role,drover:epoch,readonly,guid", "tank")
		if err != nil {
			return nil, false
		}
		for _, s := range parseCopies(out) {
			all[place{name, s.uuid}] = s.seen
		}
	}
	return all, true
}

type identified struct {
	seen
	uuid string
}

// parseCopies reads what `zfs get` printed: the filesystems with a role of their own and their snapshots, oldest first.
func parseCopies(out string) map[string]identified {
	copies := map[string]identified{}
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 4 {
			continue
		}
		dataset, snapshot, _ := strings.Cut(f[0], "@")
		c := copies[dataset]
		switch {
		case snapshot != "" && f[1] == "guid":
			c.newest, c.guids = f[2], append(c.guids, f[2])
		case snapshot != "":
		case f[1] == "readonly":
			c.readonly = f[2]
		case f[3] != "local" && f[3] != "received":
		case f[1] == "drover:volume":
			c.volume = f[2]
		case f[1] == "drover:uuid":
			c.uuid = f[2]
		case f[1] == "drover:role":
			c.role = f[2]
		case f[1] == "drover:epoch":
			c.epoch, _ = state.ParseEpoch(f[2]) // an unreadable one is lower than any
		}
		copies[dataset] = c
	}
	for d, c := range copies {
		if c.uuid == "" || c.role == "" {
			delete(copies, d)
		}
	}
	return copies
}

// oneTask checks that no app with a volume has more than one task that may run.
func (w *witness) oneTask() {
	m, _ := w.c.api.Observe(w.c.t.Context())
	if !m.Answered() {
		return
	}
	for id, app := range m.Apps {
		if !strings.Contains(string(app.Definition), envVolume) {
			continue
		}
		if len(app.Tasks) > 1 {
			w.c.t.Errorf("%s has %d tasks: %+v", id, len(app.Tasks), app.Tasks)
		}
	}
}

// ledgers checks every database: what it acknowledged is in the primary copy, each line once and in order, and one task
// never wrote between the lines of another.
func (w *witness) ledgers() {
	files, err := filepath.Glob(filepath.Join(w.c.ledgers(), "*"))
	if err != nil {
		w.c.t.Error(err)
	}
	for _, f := range files {
		if filepath.Base(f) == stubbornFile {
			continue
		}
		acknowledged, err := readLines(f)
		if err != nil {
			w.c.t.Error(err)
			continue
		}
		if problem := disorder(acknowledged); problem != "" {
			w.c.t.Errorf("%s: %s", filepath.Base(f), problem)
		}
		w.present(filepath.Base(f), acknowledged)
	}
}

// disorder says what is wrong with a ledger; "" if its numbers count up and no task comes back after another.
func disorder(lines []string) string {
	done := map[string]bool{}
	last := 0
	before := ""
	for _, l := range lines {
		number, task, _ := strings.Cut(l, " ")
		n, err := strconv.Atoi(number)
		switch {
		case err != nil || n <= last:
			return fmt.Sprintf("number %q was acknowledged after %d: a write was lost, or two tasks wrote", number, last)
		case task != before && done[task]:
			return fmt.Sprintf("task %s wrote again at %d after another had written", task, n)
		}
		done[task], before, last = true, task, n
	}
	return ""
}

// present checks that acknowledged lines are in a journal of a primary copy.
func (w *witness) present(app string, acknowledged []string) {
	var best []string
	for p, s := range w.known {
		if s.role != string(state.Primary) {
			continue
		}
		path := filepath.Join(w.c.Nodes[p.node].options.Mounts, s.volume, "data", journalFile)
		lines, err := readLines(path)
		if err != nil {
			w.c.t.Error(err)
		}
		if len(lines) > 0 && len(acknowledged) > 0 && taskApp(lines[0]) == taskApp(acknowledged[0]) {
			best = lines
		}
	}
	for _, l := range acknowledged {
		number, _, _ := strings.Cut(l, " ")
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > len(best) || best[n-1] != l {
			w.c.t.Errorf("%s: write %q was acknowledged and is not in the primary copy (of %d lines)", app, l, len(best))
			return
		}
	}
}

// taskApp is the part of a line's task id that names the app.
func taskApp(line string) string {
	_, task, _ := strings.Cut(line, " ")
	app, _, _ := strings.Cut(task, ".")
	return app
}

// Acknowledged is how many writes an app's database has acknowledged.
func (c *Cluster) Acknowledged(id state.AppID) int {
	c.t.Helper()
	lines, err := readLines(filepath.Join(c.ledgers(), strings.ReplaceAll(strings.Trim(string(id), "/"), "/", "_")))
	c.must(err)
	return len(lines)
}

// Stubborn makes databases ignore SIGTERM, or heed it again.
func (c *Cluster) Stubborn(on bool) {
	c.t.Helper()
	path := filepath.Join(c.ledgers(), stubbornFile)
	if on {
		c.must(os.WriteFile(path, nil, 0o644))
		return
	}
	c.must(os.Remove(path))
}
