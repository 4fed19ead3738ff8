package zfs

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/drover-project/drover/state"
)

// rows splits the output of a command run with -Hp into rows of exactly n fields. "-" stays as it is.
func rows(out []byte, n int) ([][]string, error) {
	text, ended := strings.CutSuffix(string(out), "\n")
	if text == "" && !ended {
		return nil, nil
	}
	if !ended {
		return nil, fmt.Errorf("last line %q is cut: %w", clip(text), ErrOutput)
	}
	var all [][]string
	for line := range strings.SplitSeq(text, "\n") {
		fields := strings.Split(line, "\t")
		if len(fields) != n || fields[0] == "" {
			return nil, fmt.Errorf("line %q: want %d fields: %w", clip(line), n, ErrOutput)
		}
		all = append(all, fields)
	}
	return all, nil
}

// clip keeps an error readable when the output is not.
func clip(s string) string { return s[:min(len(s), 200)] }

// number reads a count of bytes or seconds. "-" and "none" are not numbers; zfs prints 0 for an unset quota under -p.
func number(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("number %q: %w", clip(s), ErrOutput)
	}
	return n, nil
}

func unsigned(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("number %q: %w", clip(s), ErrOutput)
	}
	return n, nil
}

func guid(s string) (state.GUID, error) {
	n, err := unsigned(s)
	return state.GUID(n), err
}

// yes reads one of two words.
func yes(s, isYes, isNo string) (bool, error) {
	switch s {
	case isYes:
		return true, nil
	case isNo:
		return false, nil
	}
	return false, fmt.Errorf("%q: want %s or %s: %w", clip(s), isYes, isNo, ErrOutput)
}

// maxArgs bounds the bytes of one command's operands; Linux takes 2 MiB with the environment, macOS 1 MiB.
const maxArgs = 256 << 10

// batches splits names so that each batch fits on a command line. A thousand datasets are one batch.
func batches(names []string, limit int) [][]string {
	var all [][]string
	size := 0
	for i, n := range names {
		if size += len(n) + 1; i == 0 || size > limit {
			all, size = append(all, nil), len(n)+1
		}
		all[len(all)-1] = append(all[len(all)-1], n)
	}
	return all
}
