package conformance

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drover-project/drover/lab/zfsim"
)

var record = flag.String("record", "", "with DROVER_TEST_ZFS=native: scenarios into which to write what this machine's OpenZFS answers, a regular expression")

// patience bounds one scenario; it decides nothing while all is well.
const patience = 5 * time.Minute

// TestMain is also the helper that scripts call as $HELPER.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "mmap" {
		if err := mapped(os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// mapped maps a file and writes each line that it reads to the beginning of that memory, and answers with the line.
func mapped(path string, in io.Reader, out io.Writer) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close() // the mapping writes, not the descriptor
	memory, err := syscall.Mmap(int(f.Fd()), 0, os.Getpagesize(), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		copy(memory, lines.Bytes())
		fmt.Fprintln(out, lines.Text())
	}
	return lines.Err()
}

func native() bool { return os.Getenv("DROVER_TEST_ZFS") == "native" }

func table(t *testing.T) ([]Scenario, Differences) {
	t.Helper()
	all, err := Load("testdata")
	if err != nil {
		t.Fatal(err)
	}
	known, err := LoadDifferences("testdata/differences")
	if err != nil {
		t.Fatal(err)
	}
	return all, known
}

// TestStandIn asks the stand-in what OpenZFS was asked.
func TestStandIn(t *testing.T) {
	if native() {
		t.Skip("about the stand-in alone")
	}
	all, known := table(t)
	bin := zfsim.Build(t)
	for _, release := range Releases {
		for _, s := range all {
			t.Run(release+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				if why := known.Whole(s.Name); why != "" {
					t.Skip(why)
				}
				dir := t.TempDir()
				env := append(os.Environ(), zfsim.EnvDir+"="+filepath.Join(dir, "machine"), zfsim.EnvVersion+"="+release,
					"PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
				compare(t, s, release, run(t, s, dir, env), known[s.Name])
			})
		}
	}
}

// TestOpenZFS asks this machine's own OpenZFS again what it was asked when the table was made.
func TestOpenZFS(t *testing.T) {
	if !native() {
		t.Skip("DROVER_TEST_ZFS=native asks this machine's own OpenZFS")
	}
	release := ownRelease(t)
	all, _ := table(t)
	for _, s := range all {
		t.Run(s.Name, func(t *testing.T) {
			if *record != "" && !regexp.MustCompile(*record).MatchString(s.Name) {
				t.Skip("is not to be recorded")
			}
			got := run(t, s, t.TempDir(), os.Environ())
			if *record == "" {
				compare(t, s, release, got, nil)
				return
			}
			if err := os.WriteFile("testdata/"+s.Name+".txt", []byte(s.Record(release, got).String()), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// ownRelease returns which of the releases this machine has.
func ownRelease(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "zfs", "version").Output()
	i := slices.IndexFunc(Releases, func(r string) bool { return strings.HasPrefix(string(out), "zfs-"+r+".") })
	if err != nil || i < 0 {
		t.Skipf("the table has no answers of this machine's OpenZFS: %q %v", out, err)
	}
	return Releases[i]
}

func run(t *testing.T, s Scenario, dir string, env []string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answers, err := s.Run(ctx, dir, env)
	if err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
	return answers
}

// compare reports what differs and is not known to. What differs in one release only is known for both.
func compare(t *testing.T, s Scenario, release string, got []string, known map[string]string) {
	t.Helper()
	n, differing := 0, 0
	for key, it := range s.keyed() {
		diff := cmp.Diff(ordered(key, it.Answer[release]), ordered(key, got[n]))
		n++
		if diff == "" {
			continue
		}
		differing++
		if known[key] == "" {
			t.Errorf("%s.txt:%d: $ %s (-OpenZFS %s +here)\n%s", s.Name, it.Line, key, release, diff)
		}
	}
	t.Logf("%d commands, %d differ", n, differing)
}
