package gate

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"github.com/drover-project/drover/state"
)

// key names an endpoint in the table: names are unique within an app only.
type key struct {
	app  state.AppID
	name string
}

func keyOf(r state.Route) key { return key{r.App, r.Endpoint.Name} }

func address(e state.Endpoint) string { return net.JoinHostPort(e.Address, strconv.Itoa(e.Port)) }

// merge returns the table that follows current when wanted is asked for, sorted, and the routes of wanted that are too old.
func merge(current, wanted []state.Route) (next, stale []state.Route) {
	inForce := map[key]state.Route{}
	for _, r := range current {
		inForce[keyOf(r)] = r
	}
	table := map[key]state.Route{}
	for _, r := range wanted {
		k := keyOf(r)
		old, ok := table[k]
		if !ok {
			old, ok = inForce[k]
		}
		if ok && r.Epoch.Less(old.Epoch) {
			stale = append(stale, r)
			r = old
		}
		table[k] = r
	}
	for _, r := range table {
		next = append(next, r)
	}
	slices.SortFunc(next, func(a, b state.Route) int {
		return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Endpoint.Name, b.Endpoint.Name))
	})
	return next, stale
}

// check says what makes a route impossible wherever it is set.
func check(r state.Route) error {
	if _, err := netip.ParseAddr(r.Endpoint.Address); err != nil {
		return fmt.Errorf("%s: %q is not an IP address", r.App, r.Endpoint.Address)
	}
	if r.Endpoint.Port < 1 || r.Endpoint.Port > 65535 {
		return fmt.Errorf("%s: port %d: want 1 to 65535", r.App, r.Endpoint.Port)
	}
	if r.Backend == address(r.Endpoint) {
		return fmt.Errorf("%s: its backend %s is the endpoint itself", r.App, r.Backend)
	}
	return nil
}

// saved is the file's content.
type saved struct {
	Version int
	Routes  []state.Route
}

const version = 1

// load reads a table. An absent file is an empty table. A damaged one is set aside, because the table can be had again from
// the controller, and a node that does not start over it would be the greater harm.
func load(file string, log *slog.Logger) ([]state.Route, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s saved
	err = json.Unmarshal(b, &s)
	if err == nil && s.Version == version {
		return s.Routes, nil
	}
	aside := file + ".damaged"
	log.Error("table of routes not understood: starting without", "file", file, "kept", aside, "version", s.Version, "err", err)
	return nil, os.Rename(file, aside)
}

// save replaces the file as a whole. It does not wait for the disk: that would lengthen every outage, and what a power cut
// takes is set again by the controller.
func save(file string, routes []state.Route) error {
	b, err := json.MarshalIndent(saved{version, routes}, "", "  ")
	if err != nil {
		return err
	}
	temp := file + ".new"
	if err := os.WriteFile(temp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(temp, file)
}
