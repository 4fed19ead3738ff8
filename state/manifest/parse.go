package manifest

import (
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/drover-project/drover/state"
)

const apiVersion = "drover/v1"

// set gathers one whole set of manifests, and every mistake in it.
type set struct {
	problems []Problem
	partial  bool // something could not be read at all: what seems to be missing may be there
	clusters []*document
	cluster  state.Cluster
	grace    time.Duration // of every app without its own
	apps     []*appDocument
	volumes  []*volumeDocument
}

type appDocument struct {
	*document
	app App
	out state.App
	raw map[string]any // spec.marathon
}

type volumeDocument struct {
	*document
	volume Volume
	out    state.Volume
}

// Parse reads the given files as one set. The error is a *multierror.Error of [Problem], and then the Desired is empty.
func Parse(files ...File) (state.Desired, error) {
	return new(set).parse(files)
}

func (s *set) add(p Problem) { s.problems = append(s.problems, p) }

func (s *set) unread(p Problem) {
	s.partial = true
	s.add(p)
}

func (s *set) has(file string) bool {
	for _, p := range s.problems {
		if p.File == file {
			return true
		}
	}
	return false
}

func (s *set) parse(files []File) (state.Desired, error) {
	for _, f := range files {
		for _, d := range s.documents(f) {
			s.read(d)
		}
	}
	s.checkEach()
	s.checkTogether()
	if len(s.problems) > 0 {
		return state.Desired{}, refuse(s.problems)
	}
	return s.desired()
}

// read decodes a document by its kind. One whose kind is misspelt is read as what it was most likely meant to be.
func (s *set) read(d *document) {
	switch d.head() {
	case "App":
		a := &appDocument{document: d}
		d.decode(&a.app)
		s.apps = append(s.apps, a)
	case "Volume":
		v := &volumeDocument{document: d}
		d.decode(&v.volume)
		s.volumes = append(s.volumes, v)
	case "Cluster":
		s.clusters = append(s.clusters, d)
	default:
		s.partial = true
	}
}

var kinds = []string{"App", "Volume", "Cluster"}

// head checks apiVersion and kind, and returns the kind; "" if nobody can tell.
func (d *document) head() string {
	if !d.kind(d.root, yaml.MappingNode, "") {
		return ""
	}
	fields := d.topLevel()
	if v, ok := fields["apiVersion"]; ok && v != apiVersion {
		d.problem("apiVersion", "is %q: want %s", v, apiVersion)
	}
	kind, ok := fields["kind"]
	switch {
	case !ok && looksLikeMarathon(fields):
		d.problem("kind", "is missing: this looks like a plain Marathon app definition; put it under spec.marathon of an App (apiVersion: %s)", apiVersion)
	case !ok:
		d.problem("kind", "is missing: want App, Volume or Cluster")
	case kind != "App" && kind != "Volume" && kind != "Cluster":
		d.problem("kind", "is %q%s", kind, suggest(kind, kinds))
		return nearest(kind, kinds)
	}
	return kind
}

// topLevel returns the document's own fields that are plain text, and notes the lines of all.
func (d *document) topLevel() map[string]string {
	fields := map[string]string{}
	for i := 0; i+1 < len(d.root.Content); i += 2 {
		key, value := d.root.Content[i], d.root.Content[i+1]
		if _, twice := fields[key.Value]; !twice {
			fields[key.Value], d.lines[key.Value] = value.Value, key.Line
		}
	}
	return fields
}

func looksLikeMarathon(fields map[string]string) bool {
	_, id := fields["id"]
	_, cmd := fields["cmd"]
	_, container := fields["container"]
	return id && (cmd || container)
}

// checkEach checks every document by itself. The Cluster comes first: it holds defaults of the apps.
func (s *set) checkEach() {
	s.cluster.PruneLimit, s.grace = defaultPruneLimit, defaultGrace
	for i, d := range s.clusters {
		if i > 0 {
			d.problem("", "is a second Cluster document: the first is at %s; want one", s.clusters[0].where())
		}
		s.checkCluster(d)
	}
	for _, v := range s.volumes {
		v.check()
	}
	for _, a := range s.apps {
		a.check(s.grace)
	}
}

func (d *document) where() string {
	return strings.TrimSuffix(Problem{File: d.file, Line: d.root.Line}.Error(), ": ")
}

func (d *document) position() state.Position { return state.Position{File: d.file, Line: d.root.Line} }

// desired is called for a set without mistakes.
func (s *set) desired() (state.Desired, error) {
	out := state.Desired{Cluster: s.cluster, Apps: map[state.AppID]state.App{}, Volumes: map[state.VolumeName]state.Volume{}}
	for _, a := range s.apps {
		out.Apps[a.out.ID] = a.out
	}
	for _, v := range s.volumes {
		out.Volumes[v.out.Name] = v.out
	}
	var err error
	out.Digest, err = digest(out)
	return out, err
}
