package agent

import (
	"maps"
	"slices"
	"strings"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// This file decides what to send, purely. A volume travels in legs of one snapshot each: a full stream of the oldest, then
// one increment per snapshot, so that the snapshots of other tools arrive too and every OpenZFS version takes them. Each dataset
// of a copy has legs of its own.

// leg is one stream.
type leg struct {
	done    bool // the target has the goal: nothing to send
	to      state.Snapshot
	base    state.Snapshot // zero for a full stream; the source may have only a bookmark of it
	token   string         // resume this half-received stream of to
	discard string         // the target's half-received stream, which cannot be resumed and goes first
}

// nextLeg returns what brings dst, the target's copy or nil, closer to the snapshot goal of src. resumable says whether
// dst's half-received stream is one of src's snapshots and which; its error wins over everything else.
func nextLeg(src, dst *state.Copy, goal state.GUID, resumable func(token string) (state.Snapshot, bool)) (leg, *Error) {
	if src.Find(goal) == nil {
		return leg{}, errorf(CodeUnexpected, "the snapshot to send is gone").about(src)
	}
	if dst == nil {
		return leg{to: src.Snapshots[0]}, nil
	}
	if dst.Find(goal) != nil {
		return leg{done: true}, nil
	}
	var l leg
	if dst.ResumeToken != "" {
		if to, ok := resumable(dst.ResumeToken); ok {
			return leg{to: to, token: dst.ResumeToken}, nil
		}
		l.discard = dst.ResumeToken
		if len(dst.Snapshots) == 0 {
			l.to = src.Snapshots[0] // of an aborted first stream nothing remains
			return l, nil
		}
	}
	base := src.Base(&dst.Filesystem)
	if base == nil {
		return leg{}, errorf(CodeRefused, "the target's copy %s has no snapshot in common with %s: set it aside", dst.Dataset, src.Dataset).about(src)
	}
	next := slices.IndexFunc(src.Snapshots, func(s state.Snapshot) bool { return s.Txg > base.Txg })
	if base.Txg > src.Find(goal).Txg || next < 0 {
		return leg{}, errorf(CodeRefused, "the target is ahead of snapshot %s", src.Find(goal).Name).about(src)
	}
	l.base, l.to = *base, src.Snapshots[next]
	return l, nil
}

// matches reports whether what a peer's resume token says is about src: name and guids, of the snapshot and of its base.
// A token comes from another machine and could name any dataset of this one.
func matches(t zfs.Token, src *state.Copy) (state.Snapshot, bool) {
	to := src.Find(t.ToGUID)
	if to == nil || t.ToName != src.Dataset+"@"+to.Name {
		return state.Snapshot{}, false
	}
	if t.FromGUID != 0 && !src.Had(t.FromGUID) {
		return state.Snapshot{}, false
	}
	return *to, true
}

// goalOf returns the snapshot up to which a part is sent when the copy is sent up to the snapshot called name: the one of that name,
// which one command took of all. A child that was made after it comes with the next one. After a fence it is the newest.
func goalOf(part *state.Copy, name string, last bool) *state.Snapshot {
	if last {
		return part.Newest()
	}
	return named(part, name)
}

// receiveRequest is the head of a stream from agent to agent: everything that the target needs to refuse it before a byte
// of data.
type receiveRequest struct {
	Volume     state.VolumeName
	UUID       state.UUID
	Lead       state.VolumeName `json:",omitempty"`
	From       state.NodeID     // the sender
	Transfer   string           `json:",omitempty"` // streams of the same one, of different datasets, come side by side
	Epoch      state.Epoch      // of the sender's copy
	Child      string           `json:",omitempty"` // path below the copy's dataset; "" for the copy itself
	To         state.GUID       // the snapshot that the stream carries
	Base       state.GUID       // 0 for a full stream
	Line       bool             `json:",omitempty"` // the stream comes later, and begins with the guid of its snapshot
	Token      string           `json:",omitempty"` // the half-received stream that this one resumes
	Discard    string           `json:",omitempty"` // the half-received stream that goes first
	SendFlags  string
	Reclaim    state.Reclaim     `json:",omitempty"`
	Properties map[string]string `json:",omitempty"` // for a first copy
	Bytes      int64             `json:",omitempty"` // estimate; 0 if room need not be checked
	Settled    *settledPart      `json:",omitempty"` // what the dataset is like at its source, outside of a cutover
	Tidy       string            `json:",omitempty"` // older snapshots whose names begin so go when this one is there
	Keep       []state.GUID      `json:",omitempty"` // but not these
}

// settledPart is what a dataset of a standby takes over from its source beside the data.
type settledPart struct {
	Properties map[string]string `json:",omitempty"` // the local ones among zfs.Carried
	Limits     map[string]string `json:",omitempty"` // quotas and reservations, for after its promotion
	Mountpoint string            `json:",omitempty"` // a child's own: "none", or relative to the copy's; "" if it inherits
	Off        bool              `json:",omitempty"` // canmount=off, which is a person's wish
	Readonly   bool              `json:",omitempty"` // a child's own readonly=on, which is a person's wish too
}

// settledOf describes a part of a copy to the target. The refquota of the copy itself is the manifest's.
func settledOf(c *state.Copy, path string) *settledPart {
	p := c.Part(path)
	s := &settledPart{Properties: own(p.Properties, zfs.Carried...), Limits: own(p.Properties, zfs.Limits...)}
	if path == "" {
		delete(s.Limits, "refquota")
		return s
	}
	s.Off, s.Readonly = p.Properties["canmount"] == "off", p.Properties["readonly"] == "on"
	if at := p.Properties["mountpoint"]; at != "" {
		s.Mountpoint = strings.TrimPrefix(at, c.Mountpoint+"/")
	}
	return s
}

func (s *settledPart) check() *Error {
	for name := range s.Properties {
		if !slices.Contains(zfs.Carried, name) {
			return errorf(CodeBadRequest, "property %.200q does not travel", name)
		}
	}
	for name := range s.Limits {
		if !slices.Contains(zfs.Limits, name) {
			return errorf(CodeBadRequest, "property %.200q is no limit", name)
		}
	}
	if s.Mountpoint != "" && !childPath.MatchString(s.Mountpoint) {
		return errorf(CodeBadRequest, "mountpoint %.200q is not below the volume's", s.Mountpoint)
	}
	return nil
}

// properties are what a part of a standby should have set locally, beside its identity.
func (s *settledPart) properties(path, mountpoint string) map[string]string {
	props := maps.Clone(s.Properties)
	if props == nil {
		props = map[string]string{}
	}
	if len(s.Limits) > 0 {
		props[zfs.PropLimits] = zfs.FormatLimits(s.Limits)
	}
	if path == "" {
		return props
	}
	props["canmount"] = "noauto"
	if s.Off {
		props["canmount"] = "off"
	}
	if s.Readonly {
		props["readonly"] = "on"
	}
	switch s.Mountpoint {
	case "":
	case "none":
		props["mountpoint"] = "none"
	default:
		props["mountpoint"] = mountpoint + "/" + s.Mountpoint
	}
	return props
}

// differing compares what a part has with what it should have: what to set, and what to inherit again.
func (s *settledPart) differing(part *state.Copy, path, mountpoint string) (set map[string]string, inherit []string) {
	want, have := s.properties(path, mountpoint), maps.Clone(part.Properties)
	if len(part.Limits) > 0 {
		have[zfs.PropLimits] = zfs.FormatLimits(part.Limits)
	}
	settles := append([]string{zfs.PropLimits}, zfs.Carried...)
	if path != "" {
		settles = append(settles, "canmount", "readonly", "mountpoint")
	}
	set = map[string]string{}
	for _, name := range settles {
		if w, ok := want[name]; ok && have[name] != w {
			set[name] = w
		} else if _, has := have[name]; has && !ok {
			inherit = append(inherit, name)
		}
	}
	return set, inherit
}

func (q *receiveRequest) check() *Error {
	s := state.Step{Volume: q.Volume, UUID: q.UUID, Lead: q.Lead, Peer: q.From, Reclaim: q.Reclaim, Properties: q.Properties}
	if err := checkStep(s); err != nil {
		return err
	}
	if q.Volume == "" || q.UUID == "" || q.From == "" || q.To == 0 && !q.Line || q.Epoch.IsZero() || !flagsForm.MatchString(q.SendFlags) ||
		len(q.Transfer) > 64 || q.Bytes < 0 || q.Tidy != "" && !strings.HasPrefix(q.Tidy, "drover-") || q.Child != "" && !childPath.MatchString(q.Child) {
		return errorf(CodeBadRequest, "the stream's head is incomplete or malformed")
	}
	if q.Line && (q.To != 0 || q.Base == 0 || q.Child != "" || q.Transfer != "" || q.Token != "" || q.Discard != "" || q.Bytes != 0 || q.Tidy != "" || q.Settled != nil) {
		return errorf(CodeBadRequest, "a line is for a last increment only")
	}
	if q.Settled == nil {
		return nil
	}
	return q.Settled.check()
}

// receivable decides whether a stream may be received onto c or one of its children, c nil if there is no copy, after what
// q.Discard names has gone. It reports true if the snapshot is there already.
func receivable(c *state.Copy, q receiveRequest, taken state.Epoch) (bool, *Error) {
	switch {
	case c == nil && (q.Base != 0 || q.Token != "" || q.Child != ""):
		return false, errorf(CodeUnexpected, "there is no copy to add to")
	case c == nil && q.Epoch.Less(taken):
		return false, errorf(CodeRefused, "a copy here has been at epoch %s; the sender is at %s and out of date", taken, q.Epoch)
	case c == nil:
		return false, nil
	case c.UUID != q.UUID || c.Role != state.Standby:
		return false, errorf(CodeUnexpected, "it is (%s, %s), not a standby", c.Role, c.Epoch).about(c)
	case !c.Readonly:
		return false, errorf(CodeRefused, "it is a standby, but readonly was switched off by hand; set it aside").about(c)
	case q.Line && len(c.Children) > 0:
		return false, errorf(CodeUnexpected, "it has datasets below it: no line for them").about(c)
	case q.Epoch.Less(c.Epoch):
		return false, errorf(CodeRefused, "it is at epoch %s; the sender is at %s and out of date", c.Epoch, q.Epoch).about(c)
	}
	return fits(c, c.Part(q.Child), q)
}

// fits decides whether a stream is one for a part of the standby c, nil if the stream makes it.
func fits(c, part *state.Copy, q receiveRequest) (bool, *Error) {
	switch {
	case part == nil && (q.Base != 0 || q.Token != ""):
		return false, errorf(CodeUnexpected, "there is no %s/%s to add to", c.Dataset, q.Child).about(c)
	case part == nil:
		return false, nil
	case q.Child != "" && (c.Child(q.Child).Device || c.Child(q.Child).Claims != ""):
		return false, errorf(CodeInTheWay, "%s is not this volume's: rename it", part.Dataset).about(c)
	case part.Find(q.To) != nil:
		return true, nil
	case part.ResumeToken != q.Token:
		return false, errorf(CodeUnexpected, "its half-received stream is another one").about(c)
	case q.Token == "" && q.Base == 0:
		return false, errorf(CodeUnexpected, "there is a copy already").about(c)
	case q.Base != 0 && part.Find(q.Base) == nil:
		return false, errorf(CodeUnexpected, "it does not have the stream's base").about(c)
	}
	return false, nil
}
