package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// suggest says what a word could have meant: the nearest option if one is near, otherwise all of them.
func suggest(word string, options []string) string {
	if best := nearest(word, options); best != "" {
		return fmt.Sprintf("; did you mean %s?", best)
	}
	return ": want " + orList(options)
}

// nearest returns the option that differs least from word, or "" if none is near.
func nearest(word string, options []string) string {
	best, least := "", max(1, len(word)/3)+1
	for _, o := range options {
		if n := distance(strings.ToLower(word), strings.ToLower(o)); n < least {
			best, least = o, n
		}
	}
	return best
}

// orList writes "a, b or c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// distance counts the letters to insert, delete, replace or swap with the next one to get from a to b.
func distance(a, b string) int {
	before, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			replace := row[j]
			if a[i] != b[j] {
				replace++
			}
			next[j+1] = min(replace, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}
