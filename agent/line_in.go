package agent

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/drover-project/drover/agent/stream"
	"github.com/drover-project/drover/state"
)

// This file is a line at its target: a stream that was let in and has not begun. It has the volume's lock and a `zfs receive` that waits
// for its first byte, and gives both up as soon as anybody else wants the volume. Until it begins the copy is not receiving.

// waiting is a line that waits for its stream.
type waiting struct {
	cancel context.CancelCauseFunc
	begun  func() // notes that the volume is being received from now on

	mu   sync.Mutex
	open bool // its zfs receive reads
	used bool // its stream has begun
	over bool // it is given up
}

var errLetGo = errors.New("the line was let go before its stream began")

// await notes a line, whose context ends when it is let go: by [underway.letGo], or when it has waited for too long. over ends it.
func (u *underway) await(ctx context.Context, v *receiver) (_ context.Context, w *waiting, over func()) {
	uuid := v.q.UUID
	ctx, cancel := context.WithCancelCause(ctx)
	w = &waiting{cancel: cancel}
	received := func() {}
	w.begun = func() { received = u.receive(v) }
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.idle == nil {
		u.idle = map[state.UUID]*waiting{}
	}
	u.idle[uuid] = w
	u.running.Add(1)
	timer := time.AfterFunc(cmp.Or(u.life, lineLife), w.letGo)
	return ctx, w, func() {
		timer.Stop()
		w.letGo()
		cancel(nil)
		received()
		u.forget(uuid, w)
	}
}

func (u *underway) forget(uuid state.UUID, w *waiting) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.idle[uuid] == w {
		delete(u.idle, uuid)
	}
	u.running.Done()
}

// letGo lets a volume's line go if its stream has not begun. The volume's lock is free when its `zfs receive` has ended.
func (u *underway) letGo(uuid state.UUID) {
	u.mu.Lock()
	w := u.idle[uuid]
	u.mu.Unlock()
	if w != nil {
		w.letGo()
	}
}

func (w *waiting) letGo() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.used || w.over {
		return
	}
	w.over = true
	w.cancel(errLetGo)
}

// opened notes that zfs receive has been started.
func (w *waiting) opened() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = true
}

// begin says that the stream comes, unless the line was let go.
func (w *waiting) begin() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return errLetGo
	}
	w.used = true
	w.begun()
	return nil
}

// unused reports whether a line ended without a stream.
func (w *waiting) unused() bool {
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.used
}

// announced waits for the guid of the snapshot that comes, and for the head of its stream, which must say the same.
func (v *receiver) announced(in *stream.Reader) ([]byte, error) {
	v.line.opened()
	var b [8]byte
	if _, err := io.ReadFull(in, b[:]); err != nil {
		return nil, err
	}
	if err := v.line.begin(); err != nil {
		return nil, err
	}
	v.q.To = state.GUID(binary.BigEndian.Uint64(b[:]))
	v.log().Info("receive starts")
	if v.q.To == 0 || v.c.Find(v.q.To) != nil {
		return nil, errorf(CodeUnexpected, "snapshot %s is there already", v.q.To).about(v.c)
	}
	return v.head(in)
}
