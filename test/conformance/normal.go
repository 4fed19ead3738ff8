package conformance

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// normaliser replaces in answers what is another at each run:
//
//	the scenario's folder    $R
//	guids, decimal or hex    GUID1, GUID2 ..., in the order in which they appear; so equal ones stay equal
//	resume tokens            TOKEN
//	dates, durations, rates  DATE, "in TIME"
//	sizes for people         SIZE, but for 0B
//	ratios                   RATIO
//	numbers of two digits    N: sizes, times, transaction groups; and a pool's fragmentation
//	hex numbers              HEX
//	columns                  two spaces
//
// What has a zero byte in it, such as a stream, is DATA. Numbers that the scenario itself names stay, in bytes and with units, and so do a few that OpenZFS fixes. A usage text is cut
// to its first word, tabs are shown as ⇥, and the lines of a stream's progress are left out: how many come is chance.
type normaliser struct {
	root  string
	kept  map[string]bool
	guids map[uint64]string
}

// fixed are numbers that do not differ from run to run: the record size, the size of an empty increment.
var fixed = []string{"0B", "131072", "128K", "512B", "624", "624B"}

var (
	reToken    = regexp.MustCompile(`\b1-[0-9a-f]{6,}-[0-9a-f]+-[0-9a-f]{20,}\b`)
	reGUID     = regexp.MustCompile(`\b0x[0-9a-f]{12,16}\b|\b[0-9]{14,20}\b`)
	reHex      = regexp.MustCompile(`= 0x[0-9a-f]+`)
	reRate     = regexp.MustCompile(`in [0-9.]+ seconds \([0-9.]+[BKMGT]?/sec\)`)
	reDate     = regexp.MustCompile(`[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9]{2} [0-9:]{5,8} 20[0-9]{2}`)
	reProgress = regexp.MustCompile(`(?m)^([0-9]{2}:[0-9]{2}:[0-9]{2}|TIME) .*\n|^[0-9]{2}:[0-9]{2}:[0-9]{2}\t.*\n`)
	reRatio    = regexp.MustCompile(`\b[0-9]+\.[0-9]{2}x?\b`)
	reSize     = regexp.MustCompile(`\b[0-9]+(\.[0-9]+)?[BKMGT]\b`)
	reNumber   = regexp.MustCompile(`[0-9]{2,}`)
	reFragment = regexp.MustCompile(`(fragmentation\t)[0-9]+`)
	reGaps     = regexp.MustCompile(` {2,}`)
	reUsage    = regexp.MustCompile(`(?s)usage:.*`)
	reMention  = regexp.MustCompile(`\b([0-9]+)([KMG]?)\b`)
)

func newNormaliser(root string, s Scenario) *normaliser {
	n := &normaliser{root: root, kept: map[string]bool{}, guids: map[uint64]string{}}
	for _, f := range fixed {
		n.kept[f] = true
	}
	for _, it := range s.Items {
		if !it.Command && !it.Setup {
			continue
		}
		for _, m := range reMention.FindAllStringSubmatch(it.Text, -1) {
			n.mention(m[1], m[2])
		}
	}
	return n
}

// mention keeps a number of the scenario's, as it stands and in bytes.
func (n *normaliser) mention(digits, unit string) {
	n.kept[digits+unit] = true
	if v, err := strconv.ParseUint(digits, 10, 40); err == nil && unit != "" {
		n.kept[strconv.FormatUint(v<<(10*(1+strings.Index("KMG", unit))), 10)] = true
	}
}

// answer writes what a command left as a script has it.
func (n *normaliser) answer(out, said, code string) string {
	text := marked("> ", n.text(out)) + marked("! ", n.text(said))
	if code != "0" {
		text += "= " + code + "\n"
	}
	return text
}

// marked puts a mark before each line.
func marked(mark, text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight(mark+line, " \n") + "\n")
	}
	return b.String()
}

func (n *normaliser) text(s string) string {
	if strings.ContainsRune(s, 0) {
		return "DATA\n"
	}
	s = strings.ReplaceAll(s, n.root, "$R")
	s = reUsage.ReplaceAllString(s, "usage: ...\n")
	s = reProgress.ReplaceAllString(s, "")
	s = reToken.ReplaceAllString(s, "TOKEN")
	s = reRate.ReplaceAllString(s, "in TIME")
	s = reDate.ReplaceAllString(s, "DATE")
	s = reGUID.ReplaceAllStringFunc(s, n.guid)
	s = reHex.ReplaceAllString(s, "= HEX")
	s = reSize.ReplaceAllStringFunc(s, n.unlessKept("SIZE"))
	s = reRatio.ReplaceAllString(s, "RATIO")
	s = n.numbers(s)
	s = reFragment.ReplaceAllString(s, "${1}N")
	s = reGaps.ReplaceAllString(s, "  ")
	return strings.ReplaceAll(s, "\t", "⇥")
}

func (n *normaliser) unlessKept(word string) func(string) string {
	return func(s string) string {
		if n.kept[s] {
			return s
		}
		return word
	}
}

func (n *normaliser) guid(s string) string {
	v, err := strconv.ParseUint(s, 0, 64)
	if err != nil || v == math.MaxUint64 { // which is no guid, but how a limit that is not set is shown
		return s
	}
	if n.guids[v] == "" {
		n.guids[v] = "GUID" + strconv.Itoa(len(n.guids)+1)
	}
	return n.guids[v]
}

// numbers replaces those that stand alone.
func (n *normaliser) numbers(s string) string {
	var b strings.Builder
	last := 0
	for _, at := range reNumber.FindAllStringIndex(s, -1) {
		from, to := at[0], at[1]
		if n.kept[s[from:to]] || from > 0 && !strings.ContainsRune(before, rune(s[from-1])) || to < len(s) && !strings.ContainsRune(after, rune(s[to])) {
			continue
		}
		b.WriteString(s[last:from] + "N")
		last = to
	}
	return b.String() + s[last:]
}

// A number stands alone between these.
const before, after = " \t\n(=", " \t\n),.%"

// inAnyOrder are the commands whose answers name several children, clones, snapshots or holds in the order of a hash that is another
// in each pool.
var inAnyOrder = regexp.MustCompile(`^zfs (destroy|holds|snapshot) `)

// ordered is an answer with its lines in order, if the command gives them in any.
func ordered(command, answer string) string {
	if !inAnyOrder.MatchString(command) {
		return answer
	}
	lines := slices.Sorted(strings.Lines(answer))
	return strings.Join(lines, "")
}
