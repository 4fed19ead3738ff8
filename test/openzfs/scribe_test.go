//go:build linux

package openzfs_test

import (
	"os"
	"strings"
	"testing"
)

// in is the same world for a test of its own.
func (w *world) in(t testing.TB) *world {
	return &world{Drover: w.In(t), TB: t, told: w.told}
}

// notebook are the lines that the app's scribes have noted: the node, "found" or "left", and what was on the volume.
func (a *app) notebook() [][3]string {
	a.Helper()
	b, err := os.ReadFile(a.notes())
	a.must(err)
	var lines [][3]string
	for line := range strings.Lines(string(b)) {
		words := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(words) == 3 {
			lines = append(lines, [3]string(words))
		}
	}
	return lines
}

// handedOn checks that each scribe found exactly what the one before it had left, and returns how many notes there are.
func (a *app) handedOn() int {
	a.Helper()
	lines := a.notebook()
	for i, l := range lines {
		if i > 0 && l[1] == "found" && (lines[i-1][1] != "left" || lines[i-1][2] != l[2]) {
			a.Errorf("%s: on %s was found %q; before, on %s, %s %q", a.name, l[0], l[2], lines[i-1][0], lines[i-1][1], lines[i-1][2])
		}
	}
	return len(lines)
}

// nothingLost is handedOn, for an app that was started nowhere but at first and at the end of each of its moves.
func (a *app) nothingLost(moves int) {
	a.Helper()
	if n := a.handedOn(); n != 2*moves+1 {
		a.Errorf("%s: %d notes after %d moves: %v", a.name, n, moves, a.notebook())
	}
}
