package zfs

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var (
	full     = SendRequest{Snapshot: "tank/v@1"}
	standbyV = ReceiveRequest{Dataset: "tank/v"}
)

func send(t *testing.T, ctx context.Context, z *ZFS) *Sending {
	t.Helper()
	s, err := z.Send(ctx, full)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestSendEndsOnlyAfterZFSDid(t *testing.T) {
	z, _ := fake(t, "printf data")
	s := send(t, testContext(t), z)
	if b, err := io.ReadAll(s); string(b) != "data" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	if err := errors.Join(s.Wait(), s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
}

func TestSendThatBreaksDoesNotEnd(t *testing.T) {
	z, _ := fake(t, `printf data; echo "warning: cannot send 'tank/v@1': dataset key must be loaded" >&2; exit 1`)
	s := send(t, testContext(t), z)
	b, err := io.ReadAll(s)
	if string(b) != "data" || !errors.Is(err, ErrKey) {
		t.Errorf("got %q, %v, want the data and ErrKey", b, err)
	}
	if err := s.Close(); !errors.Is(err, ErrKey) {
		t.Errorf("close: got %v, want ErrKey", err)
	}
}

func TestSendThatIsKilledDoesNotEnd(t *testing.T) {
	z, _ := fake(t, "printf data; kill -9 $$")
	if _, err := io.ReadAll(send(t, testContext(t), z)); !errors.Is(err, ErrKilled) {
		t.Errorf("got %v, want ErrKilled", err)
	}
}

// TestSendClosedEarly closes a stream whose zfs ignores SIGTERM and is blocked on a full pipe.
func TestSendClosedEarly(t *testing.T) {
	z, dir := fake(t, "trap '' TERM; echo $$ >$DIR/pid; while :; do cat /dev/zero 2>/dev/null || sleep 0.01; done")
	s := send(t, testContext(t), z)
	if _, err := io.ReadFull(s, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	within(t, "close", func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Wait(); !errors.Is(err, ErrTimeout) {
		t.Errorf("wait: got %v, want ErrTimeout", err)
	}
	gone(t, dir)
}

func TestSendThatHangsEndsWithTheContext(t *testing.T) {
	z, _ := fake(t, "sleep 1000")
	ctx, cancel := context.WithCancelCause(testContext(t))
	s := send(t, ctx, z)
	why := errors.New("the receiver is gone")
	cancel(why)
	within(t, "read", func() {
		if _, err := io.ReadAll(s); !errors.Is(err, why) {
			t.Errorf("got %v, want %v", err, why)
		}
	})
}

func TestReceiveFeedsAllOfTheStream(t *testing.T) {
	z, dir := fake(t, "cat >$DIR/got")
	sent := make([]byte, 3<<20)
	rand.Read(sent)
	if err := z.Receive(testContext(t), standbyV, bytes.NewReader(sent)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readFile(t, dir, "got"), sent) {
		t.Error("something else arrived")
	}
}

const (
	cut = `cannot receive new filesystem stream: checksum mismatch or incomplete stream.
Partially received snapshot is saved.`
	modified = `cannot receive incremental stream: destination tank/v has been modified
since most recent snapshot`
)

func TestReceiveOfAStreamThatBreaks(t *testing.T) {
	z, _ := fake(t, `cat >/dev/null; echo "`+cut+`" >&2; exit 1`)
	broken := errors.New("connection reset")
	r := io.MultiReader(strings.NewReader("data"), failing{broken})
	err := z.Receive(testContext(t), standbyV, r)
	if !errors.Is(err, ErrIncomplete) || !errors.Is(err, broken) {
		t.Errorf("got %v, want ErrIncomplete caused by %v", err, broken)
	}
}

func TestReceiveThatEndedWellOfAStreamThatDidNot(t *testing.T) {
	z, _ := fake(t, "cat >/dev/null")
	broken := errors.New("the sender's zfs failed")
	err := z.Receive(testContext(t), standbyV, failing{broken})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestReceiveWhoseZFSDiesWhileTheStreamBlocks is the case in which os/exec by itself would wait for ever.
func TestReceiveWhoseZFSDiesWhileTheStreamBlocks(t *testing.T) {
	z, _ := fake(t, `echo "`+modified+`" >&2; exit 1`)
	us, peer := net.Pipe()
	defer peer.Close()
	within(t, "receive from a connection", func() {
		if err := z.Receive(t.Context(), standbyV, us); !errors.Is(err, ErrModified) {
			t.Errorf("got %v, want ErrModified", err)
		}
	})
	if _, err := us.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the stream is not closed: %v", err)
	}
	blocked := &blocking{free: make(chan struct{})}
	defer close(blocked.free)
	within(t, "receive from what cannot be closed", func() {
		if err := z.Receive(t.Context(), standbyV, blocked); !errors.Is(err, ErrModified) {
			t.Errorf("got %v, want ErrModified", err)
		}
	})
}

type blocking struct{ free chan struct{} }

func (b *blocking) Read([]byte) (int, error) { <-b.free; return 0, io.EOF }

func TestReceiveWhoseZFSDiesInTheStream(t *testing.T) {
	z, _ := fake(t, `head -c 100000 >/dev/null; echo "cannot receive new filesystem stream: out of space" >&2; exit 1`)
	within(t, "receive", func() {
		if err := z.Receive(t.Context(), standbyV, endless{}); !errors.Is(err, ErrNoSpace) {
			t.Errorf("got %v, want ErrNoSpace", err)
		}
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestReceiveThatStopsReadingTooEarly(t *testing.T) {
	z, _ := fake(t, "head -c 100 >/dev/null")
	within(t, "receive", func() {
		if err := z.Receive(t.Context(), standbyV, endless{}); err == nil {
			t.Error("a stream that goes on after its end is no error")
		}
	})
}

func TestReceiveEndsWithTheContext(t *testing.T) {
	z, dir := fake(t, "trap '' TERM; echo $$ >$DIR/pid; while :; do sleep 0.01; done")
	ctx, cancel := context.WithCancel(testContext(t))
	go func() { appears(t, filepath.Join(dir, "pid")); cancel() }()
	within(t, "receive", func() {
		if err := z.Receive(ctx, standbyV, endless{}); !errors.Is(err, ErrTimeout) {
			t.Errorf("got %v, want ErrTimeout", err)
		}
	})
	gone(t, dir)
}

// TestReceiveWaitsForTheStreamsLastWord: zfs has all that it wants, but whether the sender ended well is still to come.
func TestReceiveWaitsForTheStreamsLastWord(t *testing.T) {
	z, dir := fake(t, "head -c 4 >/dev/null; echo $$ >$DIR/pid")
	us, peer := net.Pipe()
	var sender sync.WaitGroup
	sender.Go(func() {
		if _, err := peer.Write([]byte("data")); err != nil {
			t.Error(err)
		}
		gone(t, dir)
		_ = peer.Close()
	})
	if err := z.Receive(testContext(t), standbyV, us); err != nil {
		t.Error(err)
	}
	sender.Wait()
}

func TestReceiveWithAWarning(t *testing.T) {
	z, _ := fake(t, `cat >/dev/null
		echo "cannot receive quota property on tank/v: size is less than current used or reserved space" >&2`)
	err := z.Receive(testContext(t), standbyV, strings.NewReader("data"))
	if !errors.Is(err, ErrWarning) || errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "quota property") {
		t.Errorf("got %v, want a warning that names the quota", err)
	}
}

// TestReceiveOfAStreamWithoutALastWord: zfs has all that it wants, but nobody says whether the sender ended well.
func TestReceiveOfAStreamWithoutALastWord(t *testing.T) {
	z, dir := fake(t, "echo $$ >$DIR/pid")
	us, peer := net.Pipe()
	defer peer.Close()
	ctx, cancel := context.WithCancelCause(testContext(t))
	why := errors.New("the sender is silent")
	go func() {
		gone(t, dir)
		cancel(why)
	}()
	within(t, "receive", func() {
		if err := z.Receive(ctx, standbyV, us); !errors.Is(err, why) {
			t.Errorf("got %v, want %v", err, why)
		}
	})
}
