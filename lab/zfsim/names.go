package zfsim

import (
	"fmt"
	"strings"
)

const maxName = 255

// checkName says what is wrong with a dataset name, in the words of OpenZFS; "" if nothing is. kind is the delimiter
// that the name should contain: '@', '#', or 0 for a file system.
func checkName(name string, kind byte) string {
	for _, c := range []byte{'@', '#'} {
		if c != kind && strings.IndexByte(name, c) >= 0 {
			return map[byte]string{'@': "snapshot delimiter '@' is not expected here", '#': "bookmark delimiter '#' is not expected here"}[c]
		}
	}
	ds, last, found := cutAny(name)
	if kind != 0 && !found {
		return map[byte]string{'@': "missing '@' delimiter in snapshot name", '#': "missing '#' delimiter in bookmark name"}[kind]
	}
	if len(name) > maxName {
		return "name is too long"
	}
	parts := strings.Split(ds, "/")
	if found {
		parts = append(parts, last)
	}
	for _, p := range parts {
		if why := checkPart(p); why != "" {
			return why
		}
	}
	if c := ds[0]; c < 'A' || c > 'z' || c > 'Z' && c < 'a' {
		return "name must begin with a letter"
	}
	return ""
}

func checkPart(p string) string {
	switch p {
	case "":
		return "empty component or misplaced '@' or '#' delimiter in name"
	case ".":
		return "self reference, '.' is found in name"
	case "..":
		return "parent reference, '..' is found in name"
	}
	for _, c := range p {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.: ", c) {
			continue
		}
		if c == '%' {
			return "invalid character % in name"
		}
		return fmt.Sprintf("invalid character '%c' in name", c)
	}
	return ""
}

// cutAny splits a name at the first snapshot or bookmark delimiter.
func cutAny(name string) (ds, last string, found bool) {
	i := strings.IndexAny(name, "@#")
	if i < 0 {
		return name, "", false
	}
	return name[:i], name[i+1:], true
}

func poolOf(name string) string {
	if i := strings.IndexAny(name, "/@#"); i >= 0 {
		return name[:i]
	}
	return name
}

// under reports whether a path is head or lies below it.
func under(path, head string) bool {
	return path == head || strings.HasPrefix(path, head) && path[len(head)] == '/'
}
