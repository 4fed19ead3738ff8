package zfs

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Limits of OpenZFS, in bytes.
const (
	maxName  = 255
	maxValue = 8191
)

var (
	component    = regexp.MustCompile(`^[A-Za-z0-9_.: -]+$`)
	tagName      = regexp.MustCompile(`^[A-Za-z0-9_:-][A-Za-z0-9_.:-]*$`)
	propertyName = regexp.MustCompile(`^[a-z][a-z0-9:._-]*$`)
	safeValue    = regexp.MustCompile(`^[A-Za-z0-9._:/@+=,-]*$`)
	mountOption  = regexp.MustCompile(`^[a-z][a-z0-9=_]*$`)
	sendFlag     = regexp.MustCompile(`^-[Lcew]+$`)
	tokenForm    = regexp.MustCompile(`^1-[0-9a-f]+-[0-9a-f]+-[0-9a-f]+$`)
)

func refuse(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrUsage)...)
}

// checkDataset refuses what zfs would refuse, and what it would take for an option. An operand always begins with a letter.
func checkDataset(name string) error {
	if len(name) == 0 || len(name) > maxName || !isLetter(name[0]) {
		return refuse("dataset name %q", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if !component.MatchString(part) || part == "." || part == ".." {
			return refuse("dataset name %q", name)
		}
	}
	return nil
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// checkBelow refuses a pool's top dataset as well.
func checkBelow(name string) error {
	if !strings.Contains(name, "/") {
		return refuse("dataset name %q: is a whole pool", name)
	}
	return checkDataset(name)
}

// checkSnapshot wants dataset@name.
func checkSnapshot(name string) error { return checkMarked(name, "@", "snapshot") }

// checkBookmark wants dataset#name.
func checkBookmark(name string) error { return checkMarked(name, "#", "bookmark") }

func checkMarked(name, mark, what string) error {
	dataset, last, ok := strings.Cut(name, mark)
	if !ok || len(name) > maxName || !component.MatchString(last) || checkDataset(dataset) != nil {
		return refuse("%s name %q", what, name)
	}
	return nil
}

// checkBase wants a snapshot or a bookmark.
func checkBase(name string) error {
	if strings.Contains(name, "#") {
		return checkBookmark(name)
	}
	return checkSnapshot(name)
}

func checkEach(names []string, check func(string) error) error {
	if len(names) == 0 {
		return refuse("no name given")
	}
	for _, n := range names {
		if err := check(n); err != nil {
			return err
		}
	}
	return nil
}

func checkTag(tag string) error {
	if len(tag) > maxName || !tagName.MatchString(tag) || !isOurs(tag) {
		return refuse("tag of a hold %q: want %s or %s:...", tag, Tag, Tag)
	}
	return nil
}

func checkPropertyName(name string) error {
	if len(name) > maxName || !propertyName.MatchString(name) {
		return refuse("property name %q", name)
	}
	return nil
}

// assignments returns the properties as sorted name=value words. Values are held to a set of characters that survives
// every listing: a tab or newline in a value breaks the output of `zfs get -H`.
func assignments(props map[string]string) ([]string, error) {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(props)) {
		if err := checkPropertyName(name); err != nil {
			return nil, err
		}
		if v := props[name]; len(v) > maxValue || !safeValue.MatchString(v) {
			return nil, refuse("property %s: value %q", name, v)
		}
		words = append(words, name+"="+worded(name, props[name]))
	}
	return words, nil
}

// worded is a value as zfs takes it. Its listings show a quota that is not set as 0, which it refuses to be set to.
func worded(name, value string) string {
	if value == "0" && (name == "quota" || name == "refquota") {
		return "none"
	}
	return value
}

// options returns the properties as words that follow -o.
func options(props map[string]string) ([]string, error) {
	words, err := assignments(props)
	if err != nil {
		return nil, err
	}
	var args []string
	for _, w := range words {
		args = append(args, "-o", w)
	}
	return args, nil
}

// poolOf returns the pool of a dataset.
func poolOf(dataset string) string {
	pool, _, _ := strings.Cut(dataset, "/")
	return pool
}
