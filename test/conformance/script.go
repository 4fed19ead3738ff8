package conformance

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Releases are the lines of OpenZFS that the table has answers of.
var Releases = []string{"2.1", "2.3"}

// Scenario is one script of the table.
type Scenario struct {
	Name  string // of its file, without .txt
	Items []Item
}

// Item is one line of a script, with the answer if it is a command.
type Item struct {
	Line    int               // in the file
	Text    string            // the command; or the whole line, of a comment or an empty line
	Command bool              // compared
	Setup   bool              // run, but not compared
	Answer  map[string]string // by release; lines as they stand in the file
}

// Parse reads a script:
//
//	# a comment
//	% a line of bash that prepares something; it must succeed
//	$ a command line
//	> what it printed
//	! what it said on standard error
//	= exit code, if it is not 0
//
// A command followed by nothing is silent and succeeds. Where releases differ, "[2.1]" and "[2.3]" stand before the answers of
// each. All lines of a script run in one bash, in the folder $R; so variables and background processes stay. `pool NAME [SIZE]
// [OPTION ...]` makes a pool on a file whose file systems mount below $R/NAME. `thin NAME [OPTION ...]` makes one on a disk that fails all
// writes after 24 MB, and `thicken NAME` mends it; `within SECONDS COMMAND` says "has not ended" of what hangs, and leaves it to itself.
func Parse(name, text string) (Scenario, error) {
	s := Scenario{Name: name}
	releases := Releases
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		mark, rest, _ := strings.Cut(line, " ")
		last := len(s.Items) - 1
		switch {
		case line == "" || mark == "#":
			s.Items = append(s.Items, Item{Line: i + 1, Text: line})
		case mark == "%" || mark == "$":
			s.Items = append(s.Items, Item{Line: i + 1, Text: rest, Command: mark == "$", Setup: mark == "%", Answer: map[string]string{}})
			releases = Releases
		case last < 0 || !s.Items[last].Command:
			return s, fmt.Errorf("%s:%d: an answer without a command: %s", name, i+1, line)
		case mark == "[2.1]" || mark == "[2.3]":
			releases = []string{strings.Trim(mark, "[]")}
		case strings.Contains(">!=", mark) && len(mark) == 1:
			for _, r := range releases {
				s.Items[last].Answer[r] += line + "\n"
			}
		default:
			return s, fmt.Errorf("%s:%d: no such kind of line: %s", name, i+1, line)
		}
	}
	return s, nil
}

// String writes a script as Parse reads it.
func (s Scenario) String() string {
	var b strings.Builder
	for _, it := range s.Items {
		switch {
		case it.Setup:
			fmt.Fprintln(&b, "%", it.Text)
		case it.Command:
			fmt.Fprintln(&b, "$", it.Text)
			b.WriteString(it.answers())
		default:
			fmt.Fprintln(&b, it.Text)
		}
	}
	return b.String()
}

func (it Item) answers() string {
	first := it.Answer[Releases[0]]
	if !slices.ContainsFunc(Releases, func(r string) bool { return it.Answer[r] != first }) {
		return first
	}
	var b strings.Builder
	for _, r := range Releases {
		fmt.Fprintf(&b, "[%s]\n%s", r, it.Answer[r])
	}
	return b.String()
}

// Load reads all scripts of a folder.
func Load(dir string) ([]Scenario, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	var all []Scenario
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		s, err := Parse(strings.TrimSuffix(filepath.Base(f), ".txt"), string(text))
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no scripts in %s", dir)
	}
	return all, nil
}

// Commands returns the compared commands. One that comes again in a scenario has " (2)" and so on behind it, so that each is
// named once.
func (s Scenario) Commands() map[string]Item {
	all := map[string]Item{}
	for key, it := range s.keyed() {
		all[key] = it
	}
	return all
}

// keyed goes through the compared commands in order.
func (s Scenario) keyed() func(func(string, Item) bool) {
	return func(yield func(string, Item) bool) {
		seen := map[string]int{}
		for _, it := range s.Items {
			if !it.Command {
				continue
			}
			key := it.Text
			if seen[it.Text]++; seen[it.Text] > 1 {
				key += fmt.Sprintf(" (%d)", seen[it.Text])
			}
			if !yield(key, it) {
				return
			}
		}
	}
}

// Record returns the scenario with the answers of one release replaced.
func (s Scenario) Record(release string, answers []string) Scenario {
	s.Items = slices.Clone(s.Items)
	n := 0
	for i, it := range s.Items {
		if it.Command {
			s.Items[i].Answer = maps.Clone(it.Answer)
			s.Items[i].Answer[release] = answers[n]
			n++
		}
	}
	return s
}

// Answers returns those of one release, in the order of the commands.
func (s Scenario) Answers(release string) []string {
	var all []string
	for _, it := range s.keyed() {
		all = append(all, it.Answer[release])
	}
	return all
}
