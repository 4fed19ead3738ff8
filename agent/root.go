package agent

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// Properties that only this package keeps.
const (
	// propTaken, on the root, followed by a volume's uuid: the highest epoch of a copy that is gone or set aside. Without
	// it a node could swear off an epoch that it has had.
	propTaken = "drover:taken."
	// propBack, on a copy: NODE/EPOCH of the release that it went back from, the evidence of the volumes that follow it.
	propBack = "drover:back"
	// propAside, on a dataset that was set aside: VOLUME/UUID/ROLE/EPOCH that it had.
	propAside = "drover:aside"
)

// rootFacts is what the root dataset remembers.
type rootFacts struct {
	term    state.Term
	refused map[state.UUID]state.Epoch
	taken   map[state.UUID]state.Epoch
}

// readRoot reads the root dataset afresh. What cannot be read is an error: a lost refusal could make two writers.
func (a *Agent) readRoot(ctx context.Context) (rootFacts, error) {
	f := rootFacts{refused: map[state.UUID]state.Epoch{}, taken: map[state.UUID]state.Epoch{}}
	props, err := a.zfs.LocalProperties(ctx, a.o.Root)
	if err != nil {
		return f, fmt.Errorf("read the root dataset: %w", err)
	}
	if state.NodeID(props[zfs.PropNode]) != a.id {
		return f, fmt.Errorf("dataset %s belongs to node %q now, this agent is node %s; start it again", a.o.Root, props[zfs.PropNode], a.id)
	}
	for name, value := range props {
		if err := f.read(name, value); err != nil {
			return f, fmt.Errorf("dataset %s: property %s: %w", a.o.Root, name, err)
		}
	}
	return f, nil
}

func (f *rootFacts) read(name, value string) (err error) {
	if uuid, ok := strings.CutPrefix(name, zfs.PropRefused); ok {
		f.refused[state.UUID(uuid)], err = state.ParseEpoch(value)
	}
	if uuid, ok := strings.CutPrefix(name, propTaken); ok {
		f.taken[state.UUID(uuid)], err = state.ParseEpoch(value)
	}
	if name == zfs.PropTerm {
		var n uint64
		n, err = strconv.ParseUint(value, 10, 64)
		f.term = state.Term(n)
	}
	return err
}

// admit compares a request's term with the highest seen and saves a higher one before anything is done for it. Nobody else
// writes it, so it is read once.
func (a *Agent) admit(ctx context.Context, term state.Term) error {
	a.term.Lock()
	defer a.term.Unlock()
	if term < a.highest {
		return errorf(CodeStaleTerm, "term %d is over: a leader of term %d has been here", term, a.highest)
	}
	if term == a.highest {
		return nil
	}
	if err := a.zfs.Set(ctx, a.o.Root, map[string]string{zfs.PropTerm: strconv.FormatUint(uint64(term), 10)}); err != nil {
		return err
	}
	a.highest = term
	return nil
}

// remember records that a copy of the volume had an epoch here, before the copy goes.
func (a *Agent) remember(ctx context.Context, z *zfs.ZFS, c *state.Copy) error {
	f, err := a.readRoot(ctx)
	if err != nil {
		return err
	}
	if !f.taken[c.UUID].Less(c.Epoch) {
		return nil
	}
	return z.Set(ctx, a.o.Root, map[string]string{propTaken + string(c.UUID): c.Epoch.String()})
}
