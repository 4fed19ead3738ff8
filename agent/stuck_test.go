package agent

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drover-project/drover/agent/stream"
	"github.com/drover-project/drover/lab/zfsim"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

func TestStuckStreamIsCut(t *testing.T) {
	same := func(context.Context) string { return "1-a-b-c" }
	for name, c := range map[string]struct {
		each  func(*account, int) // every second
		token func(context.Context) string
		cut   bool
	}{
		"nothing moves":                  {func(*account, int) {}, same, true},
		"the target does not answer":     {func(*account, int) {}, func(context.Context) string { return "" }, true},
		"pulses in which nothing moves":  {func(a *account, _ int) { a.told(stream.Pulse{Taken: 7, Level: 9, Size: 9}) }, same, true},
		"a ring that is not emptied":     {func(a *account, _ int) { a.enter(answered); a.told(stream.Pulse{Taken: 7, Level: 9, Size: 9}) }, same, true},
		"bytes are sent":                 {func(a *account, _ int) { a.add(1) }, same, false},
		"bytes are taken":                {func(a *account, i int) { a.told(stream.Pulse{Taken: int64(i), Level: 9, Size: 9}) }, same, false},
		"a limit keeps it still":         {func(a *account, _ int) { a.enter(limited) }, same, false},
		"zfs receive has all and works":  {func(a *account, _ int) { a.enter(answered) }, same, false},
		"what has arrived still changes": {func(*account, int) {}, func(context.Context) string { return strconv.FormatInt(time.Now().Unix(), 10) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccount(state.Step{}, "")
				ctx, end := context.WithCancelCause(t.Context())
				began, cut := time.Now(), time.Time{}
				go func() {
					a.watch(ctx, time.Minute, c.token, func(err error) { cut = time.Now(); end(err) })
				}()
				for i := range 300 {
					c.each(a, i)
					time.Sleep(time.Second)
				}
				if c.cut != isKind(context.Cause(ctx), ErrUnknown) {
					t.Errorf("cut: %v", context.Cause(ctx))
				}
				if took := cut.Sub(began); c.cut && (took < time.Minute || took > 2*time.Minute) {
					t.Errorf("cut after %s", took)
				}
				end(nil)
				synctest.Wait()
			})
		})
	}
}

// Hours may have arrived of a half-received stream: it is dropped only for what never passes.
func TestTokenRules(t *testing.T) {
	for err, drop := range map[error]bool{
		zfs.ErrTokenStale: true, zfs.ErrTokenCorrupt: true, zfs.ErrOutput: true, zfs.ErrUsage: true, zfs.ErrNotFound: true,
		zfs.ErrTimeout: false, zfs.ErrKilled: false, zfs.ErrSuspended: false, zfs.ErrKey: false, zfs.ErrBusy: false,
		errors.New("said in words that nobody knows"): false,
	} {
		if got := unusable(fmt.Errorf("send -nvt: %w", err)); got != drop {
			t.Errorf("%v: dropped %v, want %v", err, got, drop)
		}
	}
}

// A look at a token that fails for now keeps what has arrived.
func TestHalfReceivedStreamOutlivesAFailedLook(t *testing.T) {
	h := pair(t)
	h.from.faults(zfsim.Faults{Rules: []zfsim.Rule{{Command: "send", Args: "drover-0.2-0", Action: zfsim.ActKillStream, Bytes: 4 << 20}}})
	if _, err := h.from.try(h.replicateStep()); err == nil {
		t.Fatal("a cut stream looks like one that ended")
	}
	token := h.to.copy(h.v).ResumeToken
	h.from.faults(zfsim.Faults{Rules: []zfsim.Rule{{Command: "send", Args: "-t", Action: zfsim.ActExit1}}})
	if _, err := h.from.try(h.replicateStep()); err == nil || h.to.copy(h.v).ResumeToken != token || token == "" {
		t.Fatalf("after a failed look: %v, token %q, was %q", err, h.to.copy(h.v).ResumeToken, token)
	}
	h.resumed()
}
