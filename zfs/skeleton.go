package zfs

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/drover-project/drover/state"
)

var errSkeleton = errors.New("zfs: not written yet")

func New(o Options) *ZFS                  { return &ZFS{path: o.Path, log: o.Log, timeout: o.Timeout} }
func (z *ZFS) Holding(lock *os.File) *ZFS { c := *z; c.lock = lock; return &c }

type Version struct{ Userland, Kernel string }

func (z *ZFS) Version(ctx context.Context) (Version, error) { return Version{}, errSkeleton }
func (z *ZFS) Pool(ctx context.Context, name string) (state.Pool, error) {
	return state.Pool{}, errSkeleton
}
func (z *ZFS) Datasets(ctx context.Context, pool string) ([]string, error)   { return nil, errSkeleton }
func (z *ZFS) Copies(ctx context.Context, root string) ([]state.Copy, error) { return nil, errSkeleton }
func (z *ZFS) Copy(ctx context.Context, dataset string) (state.Copy, error) {
	return state.Copy{}, errSkeleton
}
func (z *ZFS) LocalProperties(ctx context.Context, dataset string) (map[string]string, error) {
	return nil, errSkeleton
}
func (z *ZFS) Create(ctx context.Context, dataset string, props map[string]string) error {
	return errSkeleton
}
func (z *ZFS) Set(ctx context.Context, dataset string, props map[string]string) error {
	return errSkeleton
}
func (z *ZFS) SetEach(ctx context.Context, dataset string, props map[string]string) error {
	return errSkeleton
}
func (z *ZFS) Inherit(ctx context.Context, dataset, prop string) error { return errSkeleton }
func (z *ZFS) Snapshot(ctx context.Context, name string, props map[string]string, dataset ...string) error {
	return errSkeleton
}
func (z *ZFS) Hold(ctx context.Context, tag string, snapshots ...string) error { return errSkeleton }
func (z *ZFS) ReleaseHold(ctx context.Context, tag string, snapshots ...string) error {
	return errSkeleton
}
func (z *ZFS) Holds(ctx context.Context, snapshots ...string) (map[string][]string, error) {
	return nil, errSkeleton
}
func (z *ZFS) Bookmark(ctx context.Context, snapshot, bookmark string) error { return errSkeleton }
func (z *ZFS) Bookmarks(ctx context.Context, dataset string) (map[string]state.GUID, error) {
	return nil, errSkeleton
}
func (z *ZFS) Destroy(ctx context.Context, name string) error { return errSkeleton }
func (z *ZFS) DestroySnapshots(ctx context.Context, dataset string, names ...string) error {
	return errSkeleton
}
func (z *ZFS) DestroyTree(ctx context.Context, dataset string) error              { return errSkeleton }
func (z *ZFS) Rename(ctx context.Context, from, to string) error                  { return errSkeleton }
func (z *ZFS) Rollback(ctx context.Context, snapshot string) error                { return errSkeleton }
func (z *ZFS) Mount(ctx context.Context, dataset string, options ...string) error { return errSkeleton }
func (z *ZFS) Unmount(ctx context.Context, dataset string) error                  { return errSkeleton }
func (z *ZFS) Sync(ctx context.Context, pool string) error                        { return errSkeleton }
func (z *ZFS) WrittenSince(ctx context.Context, snapshot string) (int64, error) {
	return 0, errSkeleton
}
func (z *ZFS) Estimate(ctx context.Context, q SendRequest) (int64, error) { return 0, errSkeleton }
func (z *ZFS) Origin(ctx context.Context, dataset string) (string, error) { return "", errSkeleton }
func (z *ZFS) Clone(ctx context.Context, snapshot, dataset string, props map[string]string) error {
	return errSkeleton
}

type SendRequest struct {
	Snapshot string
	Base     string
	Token    string
	Flags    []string
}
type Sending struct{}

func (s *Sending) Read(p []byte) (int, error) { return 0, errSkeleton }
func (s *Sending) Close() error               { return errSkeleton }
func (s *Sending) Wait() error                { return errSkeleton }

func (z *ZFS) Send(ctx context.Context, q SendRequest) (*Sending, error) { return nil, errSkeleton }

type ReceiveRequest struct {
	Dataset    string
	Properties map[string]string
	Exclude    []string
}

func (z *ZFS) Receive(ctx context.Context, q ReceiveRequest, r io.Reader) error { return errSkeleton }
func (z *ZFS) AbortReceive(ctx context.Context, dataset string) error           { return errSkeleton }

type Token struct {
	ToName                                  string     // ds@s on the sender
	ToGUID, FromGUID                        state.GUID // FromGUID 0: a full stream
	LargeBlock, Embed, Compress, Raw, Saved bool
	Object, Offset                          uint64
	Bytes                                   int64 // received so far
}

func (z *ZFS) TokenContents(ctx context.Context, token string) (Token, error) {
	return Token{}, errSkeleton
}
