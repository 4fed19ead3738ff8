package agent

import (
	"strings"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// This file decides what to send, purely. A volume travels in legs of one snapshot each: a full stream of the oldest, then
// one increment per snapshot, so that the snapshots of other tools arrive too and every OpenZFS version takes them.

// leg is one stream.
type leg struct {
	done    bool // the target has the goal: nothing to send
	to      state.Snapshot
	base    state.Snapshot // zero for a full stream
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
	base := newestCommon(src, dst)
	if base < 0 {
		return leg{}, errorf(CodeRefused, "the target's copy %s has no snapshot in common with %s: set it aside", dst.Dataset, src.Dataset).about(src)
	}
	if src.Snapshots[base].Txg > src.Find(goal).Txg || base+1 >= len(src.Snapshots) {
		return leg{}, errorf(CodeRefused, "the target is ahead of snapshot %s", src.Find(goal).Name).about(src)
	}
	l.base, l.to = src.Snapshots[base], src.Snapshots[base+1]
	return l, nil
}

// newestCommon returns the index of src's newest snapshot that dst has too, or -1. Only guids are compared.
func newestCommon(src, dst *state.Copy) int {
	for i := len(src.Snapshots) - 1; i >= 0; i-- {
		if dst.Find(src.Snapshots[i].GUID) != nil {
			return i
		}
	}
	return -1
}

// matches reports whether what a peer's resume token says is about src: name and guids, of the snapshot and of its base.
// A token comes from another machine and could name any dataset of this one.
func matches(t zfs.Token, src *state.Copy) (state.Snapshot, bool) {
	to := src.Find(t.ToGUID)
	if to == nil || t.ToName != src.Dataset+"@"+to.Name {
		return state.Snapshot{}, false
	}
	if t.FromGUID != 0 && src.Find(t.FromGUID) == nil {
		return state.Snapshot{}, false
	}
	return *to, true
}

// receiveRequest is the head of a stream from agent to agent: everything that the target needs to refuse it before a byte
// of data.
type receiveRequest struct {
	Volume     state.VolumeName
	UUID       state.UUID
	Lead       state.VolumeName `json:",omitempty"`
	From       state.NodeID     // the sender
	Epoch      state.Epoch      // of the sender's copy
	To         state.GUID       // the snapshot that the stream carries
	Base       state.GUID       // 0 for a full stream
	Token      string           `json:",omitempty"` // the half-received stream that this one resumes
	Discard    string           `json:",omitempty"` // the half-received stream that goes first
	SendFlags  string
	Reclaim    state.Reclaim     `json:",omitempty"`
	Properties map[string]string `json:",omitempty"` // for a first copy
	Bytes      int64             `json:",omitempty"` // estimate; 0 if room need not be checked
	Tidy       string            `json:",omitempty"` // older snapshots whose names begin so go when this one is there
	Keep       state.GUID        `json:",omitempty"` // but not this one
}

func (q *receiveRequest) check() *Error {
	s := state.Step{Volume: q.Volume, UUID: q.UUID, Lead: q.Lead, Peer: q.From, Reclaim: q.Reclaim, Properties: q.Properties}
	if err := checkStep(s); err != nil {
		return err
	}
	if q.Volume == "" || q.UUID == "" || q.From == "" || q.To == 0 || q.Epoch.IsZero() || !flagsForm.MatchString(q.SendFlags) ||
		q.Bytes < 0 || q.Tidy != "" && !strings.HasPrefix(q.Tidy, "drover-") {
		return errorf(CodeBadRequest, "the stream's head is incomplete or malformed")
	}
	return nil
}

// receivable decides whether a stream may be received onto c, nil if there is no copy, after what q.Discard names has gone.
// It reports true if the snapshot is there already.
func receivable(c *state.Copy, q receiveRequest, taken state.Epoch) (bool, *Error) {
	if c == nil {
		switch {
		case q.Base != 0 || q.Token != "":
			return false, errorf(CodeUnexpected, "there is no copy to add to")
		case q.Epoch.Less(taken):
			return false, errorf(CodeRefused, "a copy here has been at epoch %s; the sender is at %s and out of date", taken, q.Epoch)
		}
		return false, nil
	}
	switch {
	case c.UUID != q.UUID || c.Role != state.Standby:
		return false, errorf(CodeUnexpected, "it is (%s, %s), not a standby", c.Role, c.Epoch).about(c)
	case !c.Readonly:
		return false, errorf(CodeRefused, "it is a standby, but readonly was switched off by hand; set it aside").about(c)
	case q.Epoch.Less(c.Epoch):
		return false, errorf(CodeRefused, "it is at epoch %s; the sender is at %s and out of date", c.Epoch, q.Epoch).about(c)
	case c.Find(q.To) != nil:
		return true, nil
	case c.ResumeToken != q.Token:
		return false, errorf(CodeUnexpected, "its half-received stream is another one").about(c)
	case q.Token == "" && q.Base == 0:
		return false, errorf(CodeUnexpected, "there is a copy already").about(c)
	case q.Base != 0 && c.Find(q.Base) == nil:
		return false, errorf(CodeUnexpected, "it does not have the stream's base").about(c)
	}
	return false, nil
}
