//go:build linux

package openzfs_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drover-project/drover/controller"
	"github.com/drover-project/drover/register"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/state/manifest"
	"github.com/drover-project/drover/test/openzfs"
)

// world is a cluster that many tests use, each with apps and volumes of its own, led by one controller.
type world struct {
	*openzfs.Drover
	testing.TB
	*told
}

// told is what the controller tells, and which manifests it was given.
type told struct {
	mu      sync.Mutex
	events  []controller.Event
	asked   map[int]func(controller.Event) // by number
	next    int
	digests []string // of all sets of manifests there have been, in order
}

func newWorld(t *testing.T, o openzfs.Options) *world {
	t.Helper()
	w := &world{Drover: openzfs.NewDrover(t, o), TB: t, told: &told{asked: map[int]func(controller.Event){}}}
	w.Build("./test/openzfs/cmd/scribe")
	w.Write("cluster.yaml", "apiVersion: drover/v1\nkind: Cluster\nmetadata: {name: test}\nspec: {grace: 1h}\n")
	w.Lead(w.tell)
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *told) tell(e controller.Event) {
	w.mu.Lock()
	w.events = append(w.events, e)
	var all []func(controller.Event)
	for _, f := range w.asked {
		all = append(all, f)
	}
	w.mu.Unlock()
	for _, f := range all {
		f(e)
	}
}

// on has f called for an app's events, before what each is about goes on, until the returned function is called.
func (w *told) on(app state.AppID, f func(controller.Event)) (off func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	number := w.next
	w.asked[number] = func(e controller.Event) {
		if e.Step.App == app {
			f(e)
		}
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.asked, number)
	}
}

// said are the events of an app so far.
func (w *told) said(app state.AppID) []controller.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	var mine []controller.Event
	for _, e := range w.events {
		if e.Step.App == app {
			mine = append(mine, e)
		}
	}
	return mine
}

// write saves a manifest and returns which set of manifests that makes, counted from 0.
func (w *world) write(name, text string) int {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Write(name, text)
	d, err := manifest.Load(w.Manifests)
	w.must(err)
	w.digests = append(w.digests, d.Digest)
	return len(w.digests) - 1
}

// status is what the controller published last.
func (w *world) status() (s controller.Status) {
	w.Helper()
	b, err := w.Register().Status(w.Context())
	if errors.Is(err, register.ErrNotFound) {
		return s
	}
	w.must(err)
	w.must(json.Unmarshal(b, &s))
	return s
}

// inForce says whether a status is about a set of manifests or a later one.
func (w *told) inForce(s controller.Status, set int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, d := range slices.Backward(w.digests) {
		if d == s.Digest {
			return i >= set
		}
	}
	return false
}

// node is the node of that name.
func (w *world) node(name string) *openzfs.Node {
	return w.Nodes[slices.IndexFunc(w.Nodes, func(n *openzfs.Node) bool { return n.Name == name })]
}

// app is an app with one volume of the same name.
type app struct {
	*world
	name  string // of the volume; the app is /NAME
	text  string // manifest; %s is the name of the node where it is to be
	at    string // the node where it was last wanted
	set   int    // the manifests that it was last changed in
	since time.Time
}

// scribe is an app that writes in its own way, on node1 at first. spec is added to its App's, volume to its Volume's.
func (w *world) scribe(name, how, spec, volume string) *app {
	w.Helper()
	w.Expect(state.VolumeName(name))
	a := &app{world: w, name: name}
	a.text = fmt.Sprintf(`apiVersion: drover/v1
kind: App
metadata: {name: /%[1]s}
spec:
  volumes: [{name: %[1]s, containerPath: data, env: SCRIBE_DATA}]
  placement: {constraints: [[hostname, CLUSTER, %%s]]}
  cutover: {maxOutage: 10m}
%[3]s
  marathon:
    cmd: exec scribe %[2]s
    cpus: 0.1
    mem: 32
    taskKillGracePeriodSeconds: 120
    env: {SCRIBE_NOTES: %[5]s}
    portDefinitions: [{name: here, port: 0}]
    healthChecks:
    - {protocol: MESOS_HTTP, path: /, portIndex: 0, delaySeconds: 0, gracePeriodSeconds: 600, intervalSeconds: 5, timeoutSeconds: 60, maxConsecutiveFailures: 100}
---
apiVersion: drover/v1
kind: Volume
metadata: {name: %[1]s}
spec: {%[4]s}
`, name, how, spec, volume, a.notes())
	a.want("node1")
	return a
}

func (a *app) id() state.AppID { return state.AppID("/" + a.name) }
func (a *app) dataset() string { return openzfs.Pool + "/drover/" + a.name }
func (a *app) dir() string     { return "/mnt/drover/" + a.name + "/data" }
func (a *app) notes() string   { return filepath.Join(a.Dir, "notes-"+a.name) }

// want says where the app is to be.
func (a *app) want(node string) {
	a.Helper()
	a.since, a.at = time.Now(), node
	a.set = a.write(a.name+".yaml", fmt.Sprintf(a.text, node))
}

// line is the app's line in the status, once that is about what was last wanted.
func (a *app) line() (controller.AppStatus, bool) {
	a.Helper()
	s := a.status()
	i := slices.IndexFunc(s.Apps, func(l controller.AppStatus) bool { return l.App == a.id() })
	if i < 0 || !a.inForce(s, a.set) || !s.At.After(a.since) {
		return controller.AppStatus{}, false
	}
	return s.Apps[i], true
}

// settled waits until nothing is left to do for the app, on a look that began no earlier than now.
func (a *app) settled() {
	a.Helper()
	a.Await("all is done for "+a.name, a.isSettled)
}

func (a *app) isSettled() bool {
	a.Helper()
	l, ok := a.line()
	return ok && l.Step == "" && l.Waiting == "" && l.Stalled == ""
}

// move has the app moved, and waits for it.
func (a *app) move(node string) {
	a.Helper()
	a.want(node)
	a.settled()
	a.only(node)
}

// says waits until the app's line says why it waits, stalls or what is of note, in words that contain text.
func (a *app) says(text string) string {
	a.Helper()
	var all string
	a.Await(a.name+" says: "+text, func() bool {
		l, _ := a.line()
		all = strings.Join(append([]string{l.Waiting, l.Stalled}, l.Notes...), "\n")
		return strings.Contains(all, text)
	})
	return all
}

// only checks that the app's one writable copy is on a node, by OpenZFS's own account, and returns the roles and epochs.
func (a *app) only(node string) {
	a.Helper()
	for _, n := range a.Nodes {
		if !n.Alive() {
			continue
		}
		r := n.Try(a.Context(), "zfs get -Hp -o value drover:role,readonly "+a.dataset())
		primary := strings.HasPrefix(r.Out, "primary\noff")
		if here := n.Name == node; primary != here || !here && strings.Contains(r.Out, "off") {
			a.Errorf("the copy of %s on %s: %q", a.name, n.Name, r.Out)
		}
	}
}

// sum is the digest of a file on the volume, on a node.
func (a *app) sum(node, file string) string {
	a.Helper()
	return a.node(node).Sh("sha256sum <" + a.dir() + "/" + file)
}

// fill writes a file of random bytes to the volume and returns its digest.
func (a *app) fill(node, file string, bytes int) string {
	a.Helper()
	a.node(node).Sh(fmt.Sprintf("head -c %d /dev/urandom >%s/%s", bytes, a.dir(), file))
	return a.sum(node, file)
}
