package state

import "maps"

// Limits are the most that streams may take, in bytes per second; 0 and a missing entry are no limit. The tightest of those
// that apply to a stream counts, and streams to which the same one applies share it.
type Limits struct {
	Node  int64            `json:",omitempty"` // what the node sends, and apart from that what it receives
	Links map[NodeID]int64 `json:",omitempty"` // what it sends to one other node
	Apps  map[AppID]int64  `json:",omitempty"` // what the streams of one app's moves take
}

// Equal reports whether both limit the same in the same way.
func (l Limits) Equal(o Limits) bool {
	return l.Node == o.Node && maps.Equal(l.Links, o.Links) && maps.Equal(l.Apps, o.Apps)
}

// Of returns the tightest limit of a stream of app to the node to, in bytes per second; 0 if there is none.
func (l Limits) Of(app AppID, to NodeID) int64 {
	tightest := int64(0)
	for _, limit := range []int64{l.Node, l.Links[to], l.Apps[app]} {
		if limit > 0 && (tightest == 0 || limit < tightest) {
			tightest = limit
		}
	}
	return tightest
}
