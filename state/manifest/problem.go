package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"
)

// Problem is one mistake in the manifests.
type Problem struct {
	File    string
	Line    int    // from 1; 0 if it concerns the whole file
	Field   string // such as "spec.volumes[0].name"; "" if it concerns the whole document
	Message string // what is wrong, and what would be right
}

// Error returns "file:line: field: message", without what is unknown.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(cmp.Or(p.File, "manifests"))
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Field != "" {
		b.WriteString(": " + p.Field)
	}
	b.WriteString(": " + p.Message)
	return b.String()
}

// Problems returns the mistakes that an error of Load or Parse holds, in order; nil if it holds none.
func Problems(err error) []Problem {
	var all *multierror.Error
	if !errors.As(err, &all) {
		return nil
	}
	var ps []Problem
	for _, e := range all.Errors {
		var p Problem
		if errors.As(e, &p) {
			ps = append(ps, p)
		}
	}
	return ps
}

// refuse makes one error of all mistakes, in order of file and line, each once.
func refuse(ps []Problem) error {
	slices.SortFunc(ps, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			strings.Compare(a.Field, b.Field), strings.Compare(a.Message, b.Message))
	})
	all := &multierror.Error{ErrorFormat: format}
	for _, p := range slices.Compact(ps) {
		all.Errors = append(all.Errors, p)
	}
	return all.ErrorOrNil()
}

// format prints one mistake per line, and how many there are.
func format(errs []error) string {
	var b strings.Builder
	for _, e := range errs {
		fmt.Fprintln(&b, e)
	}
	if len(errs) == 1 {
		return b.String() + "1 mistake; nothing of this set is in force"
	}
	return b.String() + fmt.Sprintf("%d mistakes; nothing of this set is in force", len(errs))
}
