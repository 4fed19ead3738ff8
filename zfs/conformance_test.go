package zfs

import (
	"context"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// conformance is the folder of the table of commands that OpenZFS was asked, and the stand-in is.
var conformance = filepath.Join("..", "test", "conformance", "testdata")

// scripts returns the lines of the table that begin with a mark, by scenario.
func scripts(t *testing.T, mark string) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(conformance, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no table: %v", err)
	}
	found := map[string][]string{}
	for _, f := range files {
		for line := range strings.Lines(string(readFile(t, f))) {
			if rest, ok := strings.CutPrefix(line, mark); ok {
				found[filepath.Base(f)] = append(found[filepath.Base(f)], strings.TrimRight(rest, "\n"))
			}
		}
	}
	return found
}

// unrecorded are the messages that the table does not have, and why.
var unrecorded = map[string]string{
	"Broken pipe":            "the two releases say \"signal received\" of a reader that ended; seen in older transcripts",
	"is currently suspended": "a suspended pool is not in the table yet; the words are from the source",
	"is cloned":              "in an older transcript, of a snapshot that a receive holds",
}

// TestTextsAreInTheTable holds that OpenZFS was seen to say each text that this package reads.
func TestTextsAreInTheTable(t *testing.T) {
	var all strings.Builder
	for _, said := range scripts(t, "! ") {
		all.WriteString(strings.Join(said, " ") + " ")
	}
	for _, text := range texts {
		recorded, why := strings.Contains(all.String(), text.says), unrecorded[text.says]
		if recorded != (why == "") {
			t.Errorf("%q: in the table: %v; why not: %q", text.says, recorded, why)
		}
	}
}

// form is what kind of command a command line is: its verb, its flags, and which columns and properties it asks for.
func form(words []string) string {
	const asks = " get list "
	kept := slices.Clone(words[:2])
	operands := 0
	for i := 2; i < len(words); i++ {
		w := words[i]
		valued := slices.Contains([]string{"-o", "-x", "-t", "-i", "-s", "-d"}, w) && words[1] != "receive" || w == "-o" || w == "-x"
		switch {
		case w == "-s" && words[1] == "receive":
			kept = append(kept, w)
		case strings.HasPrefix(w, "-") && valued && i+1 < len(words):
			i++
			if strings.Contains(asks, " "+words[1]+" ") {
				w += "=" + words[i]
			}
			if !slices.Contains(kept, w) {
				kept = append(kept, w)
			}
		case strings.HasPrefix(w, "-"):
			kept = append(kept, w)
		case words[1] == "get" && operands == 0:
			kept = append(kept, writtenAt.ReplaceAllString(w, "written@SNAPSHOT"))
			operands++
		}
	}
	slices.Sort(kept[2:])
	return strings.Join(kept, " ")
}

var (
	writtenAt  = regexp.MustCompile(`^written@.*`)
	invocation = regexp.MustCompile(`\b(zfs|zpool) [a-z][^|;&<>)]*`)
)

// forms returns those of all commands in command lines of a shell.
func forms(lines []string) map[string]bool {
	found := map[string]bool{}
	for _, l := range lines {
		for _, command := range invocation.FindAllString(strings.ReplaceAll(l, "$(", " "), -1) {
			found[form(strings.Fields(command))] = true
		}
	}
	return found
}

// unasked are the kinds of commands that OpenZFS was not asked yet for the table: the properties of whole trees, which the
// table has without -r.
func unasked(form string) bool {
	return strings.HasPrefix(form, "zfs get -Hp -o=name,property,value,source -r -t=filesystem,volume "+PropVolume+",")
}

// TestCommandLinesAreInTheTable holds that OpenZFS was asked each kind of command that this package runs, and that the stand-in
// answers it alike.
func TestCommandLinesAreInTheTable(t *testing.T) {
	asked := map[string]bool{}
	for scenario, lines := range scripts(t, "$ ") {
		known := knownDifferences(t)[strings.TrimSuffix(scenario, ".txt")]
		if slices.Contains(known, "*") {
			continue
		}
		for f := range forms(slices.DeleteFunc(lines, func(l string) bool { return slices.Contains(known, l) })) {
			asked[f] = true
		}
	}
	for _, f := range ourForms(t) {
		if !asked[f] && !unasked(f) {
			t.Errorf("not in the table, or only where the stand-in differs: %s", f)
		}
	}
}

// knownDifferences reads which commands the stand-in answers otherwise, by scenario.
func knownDifferences(t *testing.T) map[string][]string {
	t.Helper()
	found, scenario := map[string][]string{}, ""
	for line := range strings.Lines(string(readFile(t, conformance, "differences"))) {
		line = strings.TrimRight(line, "\n")
		if command, ok := strings.CutPrefix(line, "  $ "); ok {
			found[scenario] = append(found[scenario], command)
		} else if name, _, ok := strings.Cut(line, ": "); ok {
			scenario = name
		}
	}
	return found
}

// ourForms runs every call of this package and returns the forms of what it ran.
func ourForms(t *testing.T) []string {
	t.Helper()
	z, dir := fake(t, `case "$*" in
"get -Hp -s local -r"*) echo "tank/v	db";;
"list -Hp -t snapshot"*) echo "tank/v@1	1	2	3	4	1";;
*) [ $2 != -s ] || cat;; esac`)
	ctx := testContext(t)
	for _, c := range commandLines() {
		if err := c.call(ctx, z); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
	}
	for _, read := range []func(context.Context) error{
		func(ctx context.Context) error { _, err := z.Copies(ctx, "tank"); return err },
		func(ctx context.Context) error { _, err := z.snapshots(ctx, []string{"tank/v"}); return err },
		func(ctx context.Context) error { _, err := z.Holds(ctx, "tank/v@1"); return err },
		func(ctx context.Context) error { _, err := z.WrittenSince(ctx, "tank/v@1"); return err },
		func(ctx context.Context) error { _, err := z.LocalProperties(ctx, "tank/v"); return err },
		func(ctx context.Context) error { _, err := z.Datasets(ctx, "tank"); return err },
		func(ctx context.Context) error {
			_, err := z.Estimate(ctx, SendRequest{Snapshot: "tank/v@1", Flags: []string{"-Lce"}})
			return err
		},
		func(ctx context.Context) error { _, err := z.TokenContents(ctx, token); return err },
		func(ctx context.Context) error { _, err := z.Version(ctx); return err },
		func(ctx context.Context) error { _, err := z.Pool(ctx, "tank"); return err },
		func(ctx context.Context) error { _, err := z.Facts(ctx, "tank/v"); return err },
	} {
		_ = read(ctx) // the fake answers nothing that could be read; what was asked is what counts
	}
	var all []string
	for _, line := range argv(t, dir) {
		words := strings.Split(line, "|")
		if !slices.Contains(all, form(words)) {
			all = append(all, form(words))
		}
	}
	if len(all) < 25 {
		t.Fatalf("only %d kinds of commands: %q", len(all), all)
	}
	return all
}
