package zfsim

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// block is one command of a transcript and what it printed.
type block struct {
	setup []string
	cmd   string
	skip  string
	want  string
	line  int
}

// parseTranscript reads the blocks of a transcript; see the head of any file in testdata/transcripts.
func parseTranscript(t *testing.T, path string) (blocks []block, rest []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var setup []string
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "% "):
			setup = append(setup, line[2:])
		case strings.HasPrefix(line, "$ "):
			blocks = append(blocks, block{setup: setup, cmd: line[2:], line: i + 1})
			setup = nil
		case strings.HasPrefix(line, "skip: "):
			blocks[len(blocks)-1].skip = line[6:]
		case strings.HasPrefix(line, "#") || line == "":
		default:
			blocks[len(blocks)-1].want += line + "\n"
		}
	}
	return blocks, setup
}

// replayScript makes one shell script of all blocks that are not skipped; each leaves its output in a file.
//
// The pools are destroyed at the end: with OpenZFS they would stay.
func replayScript(blocks []block, root string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "R=%s\n", root)
	b.WriteString(`p() { local n=$1; shift; bash -c "set -o pipefail; $*" >$R/o 2>$R/e; local rc=$?
  { sed -e 's/\t/<T>/g' -e 's/^/out| /' $R/o; sed -e '/^usage:/,$d' -e 's/\t/<T>/g' -e 's/^/err| /' $R/e
    grep -q '^usage:' $R/e && echo 'err| usage: ...'; echo "rc=$rc"; } >$R/block.$n; }
`)
	inside := strings.NewReplacer("/mnt/", root+"/mnt/", "/tmp/", root+"/tmp/", "-d /tmp", "-d "+root+"/tmp")
	for i, bl := range blocks {
		for _, s := range bl.setup {
			fmt.Fprintf(&b, "%s\n", inside.Replace(s))
		}
		if bl.skip == "" {
			fmt.Fprintf(&b, "p %d '%s'\n", i, strings.ReplaceAll(inside.Replace(bl.cmd), "'", `'\''`))
		}
	}
	b.WriteString("zpool destroy -f a; zpool destroy -f b\n")
	return b.String()
}

// TestTranscripts runs what OpenZFS was asked, and compares what the stand-in prints with what OpenZFS printed, for
// both versions. Guids must be equal where OpenZFS had equal ones; other large numbers may be any.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name, func(t *testing.T) {
			if !native() { // there the pools' names are everybody's
				t.Parallel()
			}
			blocks, _ := parseTranscript(t, file)
			replayBlocks(t, blocks, strings.TrimPrefix(filepath.Ext(name), ".")) // "3" or "1" of 2.3, 2.1
		})
	}
}

// replayBlocks runs a transcript with the stand-in, or with the machine's own OpenZFS if that is of the same version.
func replayBlocks(t *testing.T, blocks []block, minor string) {
	root, path := t.TempDir(), os.Getenv("PATH")
	if native() {
		if out, err := exec.Command("zfs", "version").Output(); err != nil || !strings.HasPrefix(string(out), "zfs-2."+minor) {
			t.Skipf("this machine has another version: %s %v", out, err)
		}
	} else {
		path = Build(t) + ":" + path
	}
	for _, dir := range []string{"mnt", "tmp", "machine"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("bash", "-c", replayScript(blocks, root))
	cmd.Dir = root
	cmd.Env = append(os.Environ(), EnvDir+"="+root+"/machine", EnvVersion+"=2."+minor, "PATH="+path, "LC_ALL=C")
	var noise bytes.Buffer
	cmd.Stdout, cmd.Stderr = &noise, &noise
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatalf("bash: %v", err)
	}
	wantIDs, gotIDs := ids{}, ids{}
	skipped := map[string]int{}
	run, bad := 0, 0
	for i, bl := range blocks {
		if bl.skip != "" {
			skipped[bl.skip]++
			continue
		}
		run++
		got, err := os.ReadFile(fmt.Sprintf("%s/block.%d", root, i))
		if err != nil {
			t.Fatalf("line %d: no output: %v\n%s", bl.line, err, noise.String())
		}
		want := wantIDs.normalise(bl.want)
		if diff := cmp.Diff(want, gotIDs.normalise(strings.ReplaceAll(string(got), root, ""))); diff != "" {
			bad++
			t.Errorf("line %d: $ %s\n(-OpenZFS +stand-in)\n%s", bl.line, bl.cmd, diff)
		}
	}
	t.Logf("%d commands replayed, %d differ; skipped: %v", run, bad, skipped)
}

// ids gives guids numbers in the order in which they appear.
type ids map[string]string

var (
	reToken = regexp.MustCompile(`1-[0-9a-f]{6,}-[0-9a-f]+-[0-9a-f]{20,}|1-[0-9a-f]{6,}-[0-9a-f]+-[0-9a-f]*$|TOKEN`)
	reGUID  = regexp.MustCompile(`\b[0-9]{14,20}\b|0x[0-9a-f]{12,16}\b`)
	reSpeed = regexp.MustCompile(`in [0-9.]+ seconds \([0-9.]+[BKMGT]?/sec\)`)
	reNice  = regexp.MustCompile(`\b[0-9]+\.?[0-9]*[KMG]\b`)
	reDate  = regexp.MustCompile(`[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9]{2} [0-9:]{5} 20[0-9]{2}`)
	reHex   = regexp.MustCompile(`= 0x[0-9a-f]+`)
	reMD5   = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
	reGaps  = regexp.MustCompile(` {2,}`)
)

func (g ids) normalise(s string) string {
	s = reToken.ReplaceAllString(s, "TOKEN")
	s = reMD5.ReplaceAllString(s, "MD5")
	s = reGUID.ReplaceAllStringFunc(s, func(x string) string {
		if strings.HasPrefix(x, "0x") {
			return x
		}
		if g[x] == "" {
			g[x] = "GUID" + strconv.Itoa(len(g)+1)
		}
		return g[x]
	})
	s = reHex.ReplaceAllString(s, "= HEX")
	s = reSpeed.ReplaceAllString(s, "in TIME")
	s = reDate.ReplaceAllString(s, "DATE")
	s = reNice.ReplaceAllString(s, "SIZE")
	s = reGaps.ReplaceAllString(s, "  ")
	return bigNumbers(s)
}

// bigNumbers replaces numbers of more than one digit that stand alone: sizes, times and transaction groups.
func bigNumbers(s string) string {
	return regexp.MustCompile(`(^|[\s>])([89]|[0-9]{2,})(\b)`).ReplaceAllString(s, "${1}N${3}")
}
