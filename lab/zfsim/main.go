package zfsim

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// cli is one run of the program.
type cli struct {
	m    *machine
	in   *os.File
	raw  *os.File // standard output, for streams
	out  *bufio.Writer
	err  io.Writer
	name string // subcommand
	rc   int

	ignored bool // a received snapshot was already there
	packed  bool // several streams come in one
}

// command is one subcommand.
type command struct {
	spec    string
	long    map[string]byte
	changes bool
	usage   string
	run     func(c *cli, opts []opt, operands []string) error
}

// exit ends a command with a code other than 1, after its message was printed; errors end it with 1, usage errors with
// 2 and the usage text.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Main runs one command as zfs or zpool, by the base name of argv[0], and returns its exit code.
func Main(argv []string, in, out, errs *os.File) int {
	c := &cli{in: in, raw: out, out: bufio.NewWriter(out), err: errs}
	code := c.main(argv)
	if err := c.out.Flush(); err != nil && code == 0 {
		fmt.Fprintf(errs, "write: %v\n", err)
		code = 1
	}
	return code
}

func (c *cli) main(argv []string) int {
	table, prog := zfsCommands, "zfs"
	if filepath.Base(argv[0]) == "zpool" {
		table, prog = zpoolCommands, "zpool"
	}
	if len(argv) < 2 {
		return c.badUsage(usageError("missing command"), prog, "command args ...")
	}
	m, err := openMachine(argv)
	if err != nil {
		fmt.Fprintln(c.err, err)
		return 1
	}
	c.m, c.name = m, canonical(argv[1])
	cmd, ok := table()[c.name]
	if !ok {
		return c.badUsage(usageError(fmt.Sprintf("unrecognized command '%s'", argv[1])), prog, "command args ...")
	}
	return c.run(cmd, prog, argv[2:])
}

func (c *cli) run(cmd command, prog string, args []string) int {
	opts, operands, err := getopt(args, cmd.spec, cmd.long)
	if err == nil && c.m.old && flagsOf(opts).has('j') {
		err = usageError("invalid option 'j'")
	}
	if err == nil {
		c.m.faults.start(cmd.changes)
		err = cmd.run(c, opts, operands)
	}
	return c.m.faults.end(c.code(err, prog, cmd))
}

func (c *cli) code(err error, prog string, cmd command) int {
	var usage usageError
	var code exit
	switch {
	case err == nil:
		return c.rc
	case errors.As(err, &usage):
		return c.badUsage(usage, prog, c.name+" "+cmd.usage)
	case errors.As(err, &code):
		return int(code)
	}
	fmt.Fprintln(c.err, err)
	return 1
}

func (c *cli) badUsage(err usageError, prog, usage string) int {
	c.out.Flush() // what was printed so far comes first; the write error shows at the end
	if err != "" {
		fmt.Fprintln(c.err, string(err))
	}
	fmt.Fprintf(c.err, "usage:\n\t%s %s\n", prog, usage)
	return 2
}

// say prints an error and makes the command end with 1, but lets it go on.
func (c *cli) say(format string, args ...any) {
	fmt.Fprintf(c.err, format+"\n", args...)
	c.rc = max(c.rc, 1)
}

func (c *cli) printf(format string, args ...any) { fmt.Fprintf(c.out, format, args...) }

// update changes a pool; its own refusals (faults, read-only pool) come before fn.
func (c *cli) update(pool string, fn func(*txn) error) error {
	if err := c.m.faults.refuse(); err != nil {
		return err
	}
	return c.m.update(pool, func(tx *txn) error {
		if tx.p.ReadOnly {
			return errReadOnly
		}
		return fn(tx)
	})
}

func zfsCommands() map[string]command {
	return map[string]command{
		"version":   {usage: "", run: (*cli).version, spec: "j"},
		"--version": {usage: "", run: (*cli).version},
		"create":    {spec: "po:unvV:sb:P", usage: "[-p] [-o property=value] ... <filesystem>", changes: true, run: (*cli).create},
		"destroy":   {spec: "rRfnpvd", usage: "[-dnpRrv] <filesystem|snapshot|bookmark>", changes: true, run: (*cli).destroy},
		"snapshot":  {spec: "ro:", usage: "[-r] [-o property=value] ... <filesystem>@<snap> ...", changes: true, run: (*cli).snapshot},
		"bookmark":  {spec: "", usage: "<snapshot|bookmark> <newbookmark>", changes: true, run: (*cli).bookmark},
		"hold":      {spec: "r", usage: "[-r] <tag> <snapshot> ...", changes: true, run: (*cli).hold},
		"release":   {spec: "r", usage: "[-r] <tag> <snapshot> ...", changes: true, run: (*cli).release},
		"holds":     {spec: "rHp", usage: "[-rHp] <snapshot> ...", run: (*cli).holds},
		"rename":    {spec: "prfu", usage: "[-f] [-p] [-u] <filesystem> <filesystem>", changes: true, run: (*cli).rename},
		"clone":     {spec: "po:u", usage: "[-p] [-o property=value] ... <snapshot> <filesystem>", changes: true, run: (*cli).clone},
		"promote":   {spec: "", usage: "<clone-filesystem>", changes: true, run: (*cli).promote},
		"rollback":  {spec: "rRf", usage: "[-rRf] <snapshot>", changes: true, run: (*cli).rollback},
		"list":      {spec: "Hprd:t:o:s:S:j", long: jsonLong, usage: "[-Hp] [-r|-d max] [-o property[,...]] [-t type[,...]] [filesystem|snapshot] ...", run: (*cli).list},
		"get":       {spec: "Hprd:t:o:s:j", long: jsonLong, usage: "[-rHp] [-d max] [-o \"all\" | field[,...]] [-t type[,...]] [-s source[,...]] <\"all\" | property[,...]> [filesystem|snapshot|bookmark] ...", run: (*cli).get},
		"set":       {spec: "u", usage: "<property=value> ... <filesystem|snapshot> ...", changes: true, run: (*cli).set},
		"inherit":   {spec: "rS", usage: "[-rS] <property> <filesystem|snapshot> ...", changes: true, run: (*cli).inherit},
		"mount":     {spec: "afvo:OlRj", usage: "[-f] <filesystem> | -a", changes: true, run: (*cli).mount},
		"unmount":   {spec: "afu", usage: "[-f] <filesystem|mountpoint> | -a", changes: true, run: (*cli).unmount},
		"send":      {spec: "i:I:RsDpVvnPLecwhbt:S", long: sendLong, usage: "[-LPcenvw] [[-I|-i] snapshot] <snapshot> | [-Penv] -t <receive_resume_token>", run: (*cli).send},
		"receive":   {spec: "suFvnMho:x:Aed", usage: "[-vMnsFu] [-o property=value] [-x property] <filesystem|snapshot> | -A <filesystem>", changes: true, run: (*cli).receive},
		"wait":      {spec: "t:", usage: "<filesystem>", run: func(*cli, []opt, []string) error { return nil }},
	}
}

var jsonLong = map[string]byte{"json": 'j', "json-int": 'j'}

func (c *cli) version(opts []opt, _ []string) error {
	if len(opts) > 0 {
		return errJSON
	}
	v := "2.3.2"
	if c.m.old {
		v = "2.1.11"
	}
	c.printf("zfs-%s-drover-lab\nzfs-kmod-%s-drover-lab\n", v, v)
	return nil
}

var errJSON = errors.New("JSON output is not modelled by this stand-in: use -Hp")
