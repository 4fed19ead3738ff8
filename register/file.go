package register

import (
	"context"

	"github.com/drover-project/drover/state"
)

// File is a [Store] in files of one machine, for any number of processes on it.
type File struct{ dir string }

// OpenFile opens the store in dir, and makes it if dir is absent or empty.
func OpenFile(dir string) (*File, error) { return &File{dir}, errSkeleton }

// Get implements [Store].
func (f *File) Get(ctx context.Context, key string) (Entry, error) { return Entry{}, errSkeleton }

// Put implements [Store].
func (f *File) Put(ctx context.Context, key string, data []byte, version int64) (int64, error) {
	return 0, errSkeleton
}

// Delete implements [Store].
func (f *File) Delete(ctx context.Context, key string, version int64) error { return errSkeleton }

// List implements [Store].
func (f *File) List(ctx context.Context, kind string) ([]string, error) { return nil, errSkeleton }

// Campaign implements [Store].
func (f *File) Campaign(ctx context.Context, holder string) (Leadership, error) {
	return nil, errSkeleton
}

// Leader implements [Store].
func (f *File) Leader(ctx context.Context) (holder string, term state.Term, ok bool, err error) {
	return "", 0, false, errSkeleton
}
