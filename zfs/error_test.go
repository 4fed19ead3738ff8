package zfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var kindNames = map[string]error{
	"none": nil, "ErrBusy": ErrBusy, "ErrChildren": ErrChildren, "ErrExists": ErrExists, "ErrHeld": ErrHeld,
	"ErrIncomplete": ErrIncomplete, "ErrKey": ErrKey, "ErrModified": ErrModified, "ErrNewer": ErrNewer, "ErrNoBase": ErrNoBase,
	"ErrNoPool": ErrNoPool, "ErrNoSpace": ErrNoSpace, "ErrNotFound": ErrNotFound, "ErrPartial": ErrPartial,
	"ErrReadonlyPool": ErrReadonlyPool, "ErrSuspended": ErrSuspended, "ErrTokenCorrupt": ErrTokenCorrupt,
	"ErrTokenStale": ErrTokenStale, "ErrUsage": ErrUsage,
}

// TestMessages reads what OpenZFS really printed on each failure: "$" and the command, "rc=" with the kind that we take it
// for, "err|" and the message.
func TestMessages(t *testing.T) {
	for _, version := range []string{"2.1.11", "2.3.2"} {
		text, err := os.ReadFile(filepath.Join("testdata", "messages-"+version+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		for record := range strings.SplitSeq("\n"+string(text), "\n$ ") {
			if strings.TrimSpace(record) == "" {
				continue
			}
			head, said, _ := strings.Cut(record, "\n  err| ")
			command, rc, _ := strings.Cut(head, "\n")
			name := strings.Fields(rc)[1]
			want, known := kindNames[name]
			if !known {
				t.Fatalf("%s: no kind %q", command, name)
			}
			if got := classify(strings.ReplaceAll(said, "\n  err| ", "\n")); !errors.Is(got, want) {
				t.Errorf("%s %s: got %v, want %v", version, command, got, want)
			}
		}
	}
}

func TestMessagesSeenOnlyInSource(t *testing.T) {
	for said, want := range map[string]error{
		"cannot create snapshots : pool I/O is currently suspended":                           ErrSuspended,
		"cannot resume send: 'a/v@s' is no longer the same snapshot used in the initial send": ErrTokenStale,
		"cannot resume send: incremental source 0x96c1130d4f5e08fa no longer exists":          ErrTokenStale,
		"cannot receive: invalid stream (bad magic number)":                                   ErrIncomplete,
		"cannot destroy 'b/v/%recv': dataset is busy":                                         ErrPartial,
		"something that nobody has ever seen":                                                 nil,
		"":                                                                                    nil,
		"cannot open 'tank/suspended-invalid-usage:-busy': dataset does not exist":            ErrNotFound,
		"cannot unmount 'tank/suspended-invalid-usage:-toolong': an unknown reason":           nil,
		"cannot receive incremental stream: most recent snapshot of b/a-rather-long does not\nmatch incremental source\n": ErrNoBase,
	} {
		if got := classify(said); !errors.Is(got, want) {
			t.Errorf("%q: got %v, want %v", said, got, want)
		}
	}
}

func TestErrorTellsCommandKindAndCause(t *testing.T) {
	err := error(&Error{
		Command: []string{"zfs", "receive", "-s", "tank/v"}, Exit: 1, Kind: ErrIncomplete, Cause: context.Canceled,
		Stderr: "cannot receive new filesystem stream:\nincomplete stream\n",
	})
	want := "zfs receive -s tank/v: cannot receive new filesystem stream: incomplete stream (exit 1)"
	if got := err.Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, kind := range []error{ErrIncomplete, context.Canceled} {
		if !errors.Is(err, kind) {
			t.Errorf("is not %v", kind)
		}
	}
	if errors.Is(err, ErrModified) {
		t.Error("is ErrModified too")
	}
	silent := &Error{Command: []string{"zfs"}, Exit: -1, Kind: ErrKilled}
	if got, want := silent.Error(), "zfs: killed: outcome unknown (exit -1)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOnlySays(t *testing.T) {
	held := "cannot hold snapshot 'a/v@1': tag already exists on this dataset\n"
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"one line", &Error{Exit: 1, Stderr: held}, true},
		{"two lines", &Error{Exit: 1, Stderr: held + held}, true},
		{"another line", &Error{Exit: 1, Stderr: held + "cannot hold snapshot 'a/v@2': out of space\n"}, false},
		{"silence", &Error{Exit: 1}, false},
		{"killed meanwhile", &Error{Exit: -1, Stderr: held}, false},
		{"another error", errors.New(held), false},
		{"none", nil, false},
	} {
		if got := onlySays(c.err, "tag already exists"); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
