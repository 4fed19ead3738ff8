package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/drover-project/drover/test/openzfs"
)

const usage = `nodes starts nodes with real OpenZFS, runs commands in them, and ends them.

  nodes [flags] -- COMMAND...      run a command in every node, side by side
  nodes [flags] -script FILE       run a script; - is standard input

A script's lines, each done when the one before is:

  NODE COMMAND...    run a line of /bin/sh in node1, node2, ... or in all
  -NODE COMMAND...   the same, and it may fail
  cut NODE           cut its power: its processes and memory are gone, its disk stays
  start NODE         start it again, import its pool, mount what mounts by itself
  stop NODE          export its pools and shut it down
  unplug NODE        take it off the network
  plug NODE          put it back

Each node has a pool named tank and a folder of its own in which its commands run. The exit code is that of the command that
failed, 3 if this machine cannot have nodes.

`

// files is a flag that may come several times.
type files []string

func (f *files) String() string     { return strings.Join(*f, " ") }
func (f *files) Set(s string) error { *f = append(*f, s); return nil }

// settings are the command line.
type settings struct {
	o      openzfs.Options
	with   files
	out    string
	script string
	words  []string
}

func main() {
	var s settings
	flag.IntVar(&s.o.Nodes, "n", 1, "how many nodes")
	flag.StringVar(&s.o.Release, "release", openzfs.DefaultRelease, "OpenZFS 2.3 or 2.1")
	flag.IntVar(&s.o.Memory, "memory", 512, "memory of a node, MiB")
	flag.Int64Var(&s.o.Disk, "disk", 2<<30, "disk of a node, bytes; the file is sparse")
	flag.Var(&s.with, "with", "a file, such as a static program, to put into each node's folder; may come several times")
	flag.StringVar(&s.out, "out", "", "where each node's folder is copied to in the end, as OUT/node1 and so on")
	flag.StringVar(&s.script, "script", "", "a file of commands; - is standard input")
	flag.Usage = func() { fmt.Fprint(flag.CommandLine.Output(), usage); flag.PrintDefaults() }
	flag.Parse()
	s.words = flag.Args()
	if (s.script == "") == (len(s.words) == 0) {
		flag.Usage()
		os.Exit(2)
	}
	os.Exit(openzfs.Program(s.run))
}

// run is the whole of it, among nodes.
func (s settings) run(t testing.TB) int {
	lines, err := s.lines()
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{TB: t, Cluster: openzfs.New(t, s.o)}
	if err := d.furnish(s.with); err != nil {
		t.Fatal(err)
	}
	code := d.script(lines)
	if s.out != "" {
		if err := os.CopyFS(s.out, os.DirFS(d.folder())); err != nil {
			t.Fatal(err)
		}
	}
	return code
}

func (s settings) lines() ([]string, error) {
	if s.script == "" {
		return []string{"all " + strings.Join(s.words, " ")}, nil
	}
	in := io.Reader(os.Stdin)
	if s.script != "-" {
		f, err := os.Open(s.script)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	var lines []string
	scan := bufio.NewScanner(in)
	for scan.Scan() {
		if line := strings.TrimSpace(scan.Text()); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines, scan.Err()
}

// desk is a cluster and who types at it.
type desk struct {
	testing.TB
	*openzfs.Cluster
}

func (d *desk) folder() string { return filepath.Join(d.Dir, "work") }

// furnish makes the nodes' folders.
func (d *desk) furnish(with []string) error {
	for _, n := range d.Nodes {
		dir := filepath.Join(d.folder(), n.Name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for _, file := range with {
			if err := copyFile(file, filepath.Join(dir, filepath.Base(file))); err != nil {
				return err
			}
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, st.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// script does one line after the other, until one fails.
func (d *desk) script(lines []string) int {
	for _, line := range lines {
		line, may := strings.CutPrefix(line, "-")
		if code := d.line(line); code != 0 && !may {
			return code
		}
	}
	return 0
}

func (d *desk) line(line string) int {
	verb, rest, _ := strings.Cut(line, " ")
	if d.command(verb, strings.TrimSpace(rest)) {
		return 0
	}
	nodes := d.named(verb)
	if len(nodes) == 0 {
		d.Fatalf("%q: want a node, all, cut, start, stop, unplug or plug", line)
	}
	codes := make([]int, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { codes[i] = d.shell(n, rest) })
	}
	all.Wait()
	return slices.Max(codes)
}

// command does what is done to a node from outside; ok is false if the word is none of that.
func (d *desk) command(verb, rest string) (ok bool) {
	do := map[string]func(*openzfs.Node){"cut": (*openzfs.Node).Cut, "start": (*openzfs.Node).Start, "stop": (*openzfs.Node).Stop,
		"unplug": func(n *openzfs.Node) { n.Link(false) }, "plug": func(n *openzfs.Node) { n.Link(true) }}[verb]
	if do == nil {
		return false
	}
	nodes := d.named(rest)
	if len(nodes) == 0 {
		d.Fatalf("%s: there is no node %q", verb, rest)
	}
	for _, n := range nodes {
		do(n)
	}
	return true
}

func (d *desk) named(name string) []*openzfs.Node {
	if name == "all" {
		return d.Nodes
	}
	return slices.DeleteFunc(slices.Clone(d.Nodes), func(n *openzfs.Node) bool { return n.Name != name })
}

// shell runs a line in a node and prints what it said, with the node's name where there are several.
func (d *desk) shell(n *openzfs.Node, line string) int {
	r := n.Try(d.Context(), "cd "+filepath.Join(d.folder(), n.Name)+" && { "+line+"\n}")
	prefix := ""
	if len(d.Nodes) > 1 {
		prefix = n.Name + ": "
	}
	print := func(w io.Writer, text string) {
		for l := range strings.Lines(text) {
			fmt.Fprint(w, prefix+strings.TrimSuffix(l, "\n")+"\n")
		}
	}
	print(os.Stdout, r.Out)
	print(os.Stderr, r.Stderr)
	if r.Code < 0 {
		d.Error(r.Err)
		return 1
	}
	return r.Code
}
