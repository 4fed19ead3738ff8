package zfsim

import (
	"fmt"
	"strings"
)

// fault of usage: printed before the usage text, with exit code 2.
type usageError string

func (e usageError) Error() string { return string(e) }

type opt struct {
	c   byte
	val string
}

// getopt reads options as glibc does: they may follow operands, single letters may be joined, "--" ends them. In
// spec a letter with a colon takes an argument. long maps long options to letters.
func getopt(args []string, spec string, long map[string]byte) (opts []opt, operands []string, err error) {
	for len(args) > 0 {
		a := args[0]
		args = args[1:]
		switch {
		case a == "--":
			return opts, append(operands, args...), nil
		case strings.HasPrefix(a, "--"):
			if args, err = longOpt(a[2:], args, spec, long, &opts); err != nil {
				return nil, nil, err
			}
		case len(a) > 1 && a[0] == '-':
			if args, err = shortOpts(a[1:], args, spec, &opts); err != nil {
				return nil, nil, err
			}
		default:
			operands = append(operands, a)
		}
	}
	return opts, operands, nil
}

func takesArgument(spec string, c byte) (known, takes bool) {
	i := strings.IndexByte(spec, c)
	return i >= 0 && c != ':', i >= 0 && i+1 < len(spec) && spec[i+1] == ':'
}

func longOpt(name string, args []string, spec string, long map[string]byte, opts *[]opt) ([]string, error) {
	name, val, hasVal := strings.Cut(name, "=")
	c, ok := long[name]
	if !ok {
		return nil, usageError(fmt.Sprintf("invalid option '%s'", name))
	}
	if _, takes := takesArgument(spec, c); takes && !hasVal {
		if len(args) == 0 {
			return nil, usageError(fmt.Sprintf("missing argument for '%c' option", c))
		}
		val, args = args[0], args[1:]
	}
	*opts = append(*opts, opt{c, val})
	return args, nil
}

func shortOpts(letters string, args []string, spec string, opts *[]opt) ([]string, error) {
	for i := range len(letters) {
		c := letters[i]
		known, takes := takesArgument(spec, c)
		if !known {
			return nil, usageError(fmt.Sprintf("invalid option '%c'", c))
		}
		if !takes {
			*opts = append(*opts, opt{c, ""})
			continue
		}
		if rest := letters[i+1:]; rest != "" {
			*opts = append(*opts, opt{c, rest})
			return args, nil
		}
		if len(args) == 0 {
			return nil, usageError(fmt.Sprintf("missing argument for '%c' option", c))
		}
		*opts = append(*opts, opt{c, args[0]})
		return args[1:], nil
	}
	return args, nil
}

// flagSet answers which letters were given.
type flagSet map[byte]string

func flagsOf(opts []opt) flagSet {
	fs := flagSet{}
	for _, o := range opts {
		fs[o.c] = o.val
	}
	return fs
}

func (f flagSet) has(c byte) bool { _, ok := f[c]; return ok }
