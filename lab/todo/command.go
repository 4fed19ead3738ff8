package todo

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"time"
)

// Command is the program todo: Args without the program's name, and where it reads its environment and writes.
type Command struct {
	Args   []string
	Getenv func(string) string
	Stdout io.Writer
	Stderr io.Writer
}

const usage = `todo: a to-do list in two tiers, and the tools to show that it loses nothing

  todo db                     keep to-dos in SQLite and serve them
  todo web                    serve the page and the Todo-Backend API
  todo load  -url U -ledger F add to-dos until stopped, and measure the longest gap
  todo check -url U -ledger F compare the ledger with the list; exit 1 if anything is missing

environment
  PORT0      port of db (default 7070) and web (default 8080); 0 takes a free one
  TODO_BIND  address to listen on (default 127.0.0.1)
  TODO_DATA  db: folder of the database, which must exist (default data)
  TODO_DB    web: host:port of db
  HOST       name of this node, shown on the page
`

// errUsage makes Run print the usage.
var errUsage = errors.New("want one of: db, web, load, check")

// Run runs the command until it ends or ctx does, and returns the exit code: 0, or 1 with a sentence on Stderr.
func (c *Command) Run(ctx context.Context) int {
	err := c.run(ctx)
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprint(c.Stderr, usage)
	}
	fmt.Fprintln(c.Stderr, "todo:", err)
	return 1
}

func (c *Command) run(ctx context.Context) error {
	if len(c.Args) == 0 {
		return errUsage
	}
	run := map[string]func(context.Context) error{"db": c.db, "web": c.web, "load": c.load, "check": c.check}[c.Args[0]]
	if run == nil {
		return errUsage
	}
	return run(ctx)
}

func (c *Command) env(name, otherwise string) string {
	if v := c.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func (c *Command) node() string {
	if name := c.Getenv("HOST"); name != "" {
		return name
	}
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

func (c *Command) log() *slog.Logger { return slog.New(slog.NewTextHandler(c.Stderr, nil)) }

func (c *Command) listen(ctx context.Context, port string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp",
		net.JoinHostPort(c.env("TODO_BIND", "127.0.0.1"), c.env("PORT0", port)))
}

// predecessorWait is how long a starting db waits for one that is just leaving its folder.
const predecessorWait = 3 * time.Second

// db opens the store before it listens: who can connect finds it working.
func (c *Command) db(ctx context.Context) error {
	if err := c.parse(c.flags("db")); err != nil {
		return err
	}
	store, err := OpenStore(ctx, c.env("TODO_DATA", "data"), predecessorWait)
	if err != nil {
		return err
	}
	ln, err := c.listen(ctx, "7070")
	if err != nil {
		return errors.Join(err, store.Close())
	}
	d := DB{Store: store, Node: c.node(), Log: c.log()}
	return errors.Join(d.Run(ctx, ln), store.Close())
}

func (c *Command) web(ctx context.Context) error {
	if err := c.parse(c.flags("web")); err != nil {
		return err
	}
	db := c.Getenv("TODO_DB")
	if _, _, err := net.SplitHostPort(db); err != nil {
		return fmt.Errorf("TODO_DB=%q must be the host:port of the database", db)
	}
	ln, err := c.listen(ctx, "8080")
	if err != nil {
		return err
	}
	w := Web{DB: NewClient("http://"+db, webPatience, webAttempt), Node: c.node(), Log: c.log()}
	return w.Run(ctx, ln)
}

func (c *Command) load(ctx context.Context) (err error) {
	f := c.flags("load")
	list := f.String("url", "", "URL of web or db, for instance http://127.0.0.1:8080")
	ledger := f.String("ledger", "", "file that gets every acknowledged to-do")
	attempt := f.Duration("timeout", 2*time.Second, "time for one attempt")
	l := Load{Run: newID()[:8]}
	f.DurationVar(&l.For, "for", 0, "stop after this time (0: go on until SIGINT or SIGTERM)")
	f.IntVar(&l.Count, "count", 0, "stop after so many acknowledged to-dos (0: no end)")
	f.DurationVar(&l.Pause, "pause", 0, "pause between two to-dos")
	if err := c.parse(f); err != nil {
		return err
	}
	if l.List, err = clientFor(*list, 0, *attempt); err != nil {
		return err
	}
	if *ledger != "" {
		if l.Ledger, err = OpenLedger(*ledger); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.Ledger.Close()) }()
	}
	report, err := l.Do(ctx)
	if err == nil && report.Acknowledged == 0 {
		err = fmt.Errorf("nothing was acknowledged by %s: %s", *list, report.LastError)
	}
	return errors.Join(c.print(report), err)
}

func (c *Command) check(ctx context.Context) error {
	f := c.flags("check")
	list := f.String("url", "", "URL of web or db")
	path := f.String("ledger", "", "file that todo load wrote")
	if err := c.parse(f); err != nil {
		return err
	}
	client, err := clientFor(*list, 10*time.Second, 5*time.Second)
	if err != nil {
		return err
	}
	entries, err := ReadLedger(*path)
	if err != nil {
		return err
	}
	todos, _, err := client.List(ctx, Query{})
	if err != nil {
		return err
	}
	return c.verdict(entries, Compare(entries, todos))
}

func (c *Command) verdict(entries []Entry, losses []Loss) error {
	if len(entries) == 0 {
		return errors.New("the ledger is empty: there is nothing to check")
	}
	for _, l := range losses {
		if _, err := fmt.Fprintf(c.Stdout, "%s\t%q\tacknowledged %s\t%s\n", l.ID, l.Title, l.At.Format(time.RFC3339Nano), l.What); err != nil {
			return err
		}
	}
	if len(losses) > 0 {
		return fmt.Errorf("%d of %d acknowledged to-dos are not there as they should be", len(losses), len(entries))
	}
	_, err := fmt.Fprintf(c.Stdout, "all %d acknowledged to-dos are there, each exactly once\n", len(entries))
	return err
}

func (c *Command) flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet("todo "+name, flag.ContinueOnError)
	f.SetOutput(c.Stderr)
	return f
}

// parse reads the arguments after the command's name, and accepts nothing that is not a flag.
func (c *Command) parse(f *flag.FlagSet) error {
	if err := f.Parse(c.Args[1:]); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%s: unexpected argument %q", f.Name(), f.Arg(0))
	}
	return nil
}

func (c *Command) print(r Report) error {
	enc := json.NewEncoder(c.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

func clientFor(base string, patience, attempt time.Duration) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("-url %q must be the URL of web or db, for instance http://127.0.0.1:8080", base)
	}
	return NewClient(base, patience, attempt), nil
}
