package agent

import (
	"context"
	"time"
)

// stuckFor is how long nothing may move in a stream before it is cut, to be resumed. A pool that writes a transaction group is
// quiet for seconds, one that frees a lot for a minute or so.
const stuckFor = 5 * time.Minute

// stillAfter reports whether nothing has moved at either end for so long though something should have. A limit may keep a stream
// still, and what zfs does after it has taken everything moves no byte.
func (a *account) stillAfter(d time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Since(a.moved) >= d && a.hangs()
}

// hangs reports whether something should move. The caller holds a.mu.
func (a *account) hangs() bool {
	ended := a.doing == answered && a.pulse.Level == 0
	return a.doing != limited && !ended
}

// watch ends a stream in which nothing moves: no byte at either end, and the target's resume token, which is what would be
// lost, unchanged between two looks. token asks for it; who does not answer has not moved either.
func (a *account) watch(ctx context.Context, patience time.Duration, token func(context.Context) string, end func(error)) {
	tick := time.NewTicker(patience / 4)
	defer tick.Stop()
	var before *string
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !a.stillAfter(patience / 2) {
			before = nil
			continue
		}
		now := token(ctx)
		if before != nil && *before != now {
			before = nil // the pool is slow, not stuck
		}
		if before != nil && a.stillAfter(patience) {
			end(errorf(CodeUnknown, "nothing has moved for %s, and what has arrived is the same: the stream is cut, and goes on from there", patience))
			return
		}
		if before == nil {
			before = &now
		}
	}
}

// token returns the part's resume token that the target shows now, "" if it shows none or does not answer.
func (p *part) token(ctx context.Context) string {
	c, err := p.peer(ctx)
	if its := c.Part(p.path); err == nil && its != nil {
		return its.ResumeToken
	}
	return ""
}
