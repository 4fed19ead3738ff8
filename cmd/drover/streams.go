package main

import (
	"fmt"
	"io"

	"github.com/drover-project/drover/reconcile"
	"github.com/drover-project/drover/state"
)

// printStreams lists the streams under way, as their senders see them.
func (v *overview) printStreams(w io.Writer) {
	title := "\nSTREAM\tFROM\tTO\tSENT\tRATE\tBOUND\n"
	for _, n := range v.nodes() {
		for _, s := range n.Streams {
			fmt.Fprintf(w, "%s%s@%s\t%s\t%s\t%s\t%s\t%s\n", title, s.Name(), s.Snapshot, n.Hostname, v.hostname(s.To), sent(s), pace(s), v.bound(n, s))
			title = ""
		}
	}
}

func (v *overview) hostname(id state.NodeID) state.Hostname {
	if n := v.Observed.Nodes[id]; n != nil {
		return n.Hostname
	}
	return state.Hostname(id)
}

// sent says how far a stream is; what the target had of it before counts apart.
func sent(s state.Stream) string {
	text := reconcile.Bytes(s.Bytes) + " of " + reconcile.Bytes(s.Total)
	if s.Resumed > 0 {
		text += ", after " + reconcile.Bytes(s.Resumed) + " before it was cut"
	}
	return text
}

// bound says what keeps a stream from being faster.
func (v *overview) bound(from *state.Node, s state.Stream) string {
	if text := reconcile.Quiet(v.Observed, from, s); text != "" {
		return text
	}
	switch s.Bound {
	case state.BoundTarget:
		return fmt.Sprintf("by the pool of %s (%s wait for it)", v.hostname(s.To), reconcile.Bytes(s.Waiting))
	case state.BoundSource:
		return fmt.Sprintf("by the pool of %s", from.Hostname)
	case state.BoundNetwork:
		return "by the network"
	case state.BoundLimit:
		return "by a bandwidth limit"
	case state.BoundUnknown:
	}
	return "-"
}
