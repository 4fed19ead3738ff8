package agent

import (
	"testing"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// history makes a copy with one snapshot per letter; a letter is a guid.
func history(letters, token string) *state.Copy {
	c := &state.Copy{Dataset: "tank/drover/v", Filesystem: state.Filesystem{ResumeToken: token}}
	for i, l := range letters {
		c.Snapshots = append(c.Snapshots, state.Snapshot{Name: string(l), GUID: state.GUID(l), Txg: uint64(i + 1)})
	}
	return c
}

func TestNextLeg(t *testing.T) {
	for name, c := range map[string]struct {
		src, dst string
		token    string // of dst
		resumes  byte   // what the token is of; 0 if it does not fit
		absent   bool
		goal     byte
		want     string // "base-to", "-to" full, "~to" resumed, "!" before it what is discarded; "done"; "" refused
	}{
		"full stream of the oldest":         {src: "abc", absent: true, goal: 'c', want: "-a"},
		"then one by one":                   {src: "abc", dst: "a", goal: 'c', want: "a-b"},
		"to the goal":                       {src: "abc", dst: "ab", goal: 'c', want: "b-c"},
		"done":                              {src: "abc", dst: "abc", goal: 'c', want: "done"},
		"no further than the goal":          {src: "abcd", dst: "abc", goal: 'c', want: "done"},
		"from the newest common one":        {src: "acd", dst: "abc", goal: 'd', want: "c-d"},
		"the target's own are let be":       {src: "abd", dst: "abx", goal: 'd', want: "b-d"},
		"nothing in common":                 {src: "abc", dst: "xy", goal: 'c'},
		"the goal is gone":                  {src: "ab", dst: "a", goal: 'c'},
		"the target is ahead of the goal":   {src: "acb", dst: "b", goal: 'c'},
		"resume a first stream":             {src: "abc", token: "t", resumes: 'a', goal: 'c', want: "~a"},
		"resume an increment":               {src: "abc", dst: "a", token: "t", resumes: 'b', goal: 'c', want: "~b"},
		"a first stream that does not fit":  {src: "abc", token: "t", goal: 'c', want: "!-a"},
		"an increment that does not fit":    {src: "abc", dst: "a", token: "t", goal: 'c', want: "!a-b"},
		"a standby without anything at all": {src: "abc", goal: 'c'},
	} {
		dst := history(c.dst, c.token)
		if c.absent {
			dst = nil
		}
		l, err := nextLeg(history(c.src, ""), dst, state.GUID(c.goal), func(string) (state.Snapshot, bool) {
			return state.Snapshot{Name: string(c.resumes), GUID: state.GUID(c.resumes)}, c.resumes != 0
		})
		if got := text(l, err); got != c.want {
			t.Errorf("%s: %q, want %q (%v)", name, got, c.want, err)
		}
	}
}

func text(l leg, err *Error) string {
	switch {
	case err != nil:
		return ""
	case l.done:
		return "done"
	case l.token != "":
		return "~" + l.to.Name
	case l.discard != "":
		return "!" + l.base.Name + "-" + l.to.Name
	}
	return l.base.Name + "-" + l.to.Name
}

// A resume token comes from another machine: only one about exactly our snapshots is used.
func TestForeignTokensAreNotUsed(t *testing.T) {
	src := history("abc", "")
	good := zfs.Token{ToName: "tank/drover/v@b", ToGUID: 'b', FromGUID: 'a'}
	if s, ok := matches(good, src); !ok || s.Name != "b" {
		t.Error("our own token is refused")
	}
	for name, change := range map[string]func(*zfs.Token){
		"another dataset":  func(k *zfs.Token) { k.ToName = "tank/secrets@b" },
		"another name":     func(k *zfs.Token) { k.ToName = "tank/drover/v@c" },
		"another snapshot": func(k *zfs.Token) { k.ToGUID = 'x' },
		"another base":     func(k *zfs.Token) { k.FromGUID = 'x' },
	} {
		k := good
		change(&k)
		if _, ok := matches(k, src); ok {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTidyPrefix(t *testing.T) {
	for name, want := range map[string]string{
		"drover-0.2-3": "drover-0.2-", "drover-0.2-final": "drover-0.2-", "hourly-3": "", "drover-": "", "drover": "", "": "",
	} {
		if got := tidyPrefix(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
