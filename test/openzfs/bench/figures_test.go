//go:build linux

package bench

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var written sync.Mutex

// page prints a table and, with DROVER_FIGURES=FILE, adds it there.
func page(b *testing.B, title, how string, table [][]string) {
	b.Helper()
	var t strings.Builder
	fmt.Fprintf(&t, "## %s\n\n%s\n\n", title, how)
	for i, row := range table {
		fmt.Fprintf(&t, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(&t, "|%s\n", strings.Repeat("---|", len(row)))
		}
	}
	t.WriteString("\n")
	b.Log("\n" + t.String())
	path := os.Getenv("DROVER_FIGURES")
	if path == "" {
		return
	}
	written.Lock()
	defer written.Unlock()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := f.WriteString(t.String()); err != nil {
		b.Error(err)
	}
	if err := f.Close(); err != nil {
		b.Error(err)
	}
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
func millis(d time.Duration) string  { return fmt.Sprintf("%d ms", d.Milliseconds()) }
