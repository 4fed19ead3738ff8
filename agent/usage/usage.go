// Package usage finds out who uses a dataset: processes with an open file, a working directory, a root or a mapping in it,
// and mount namespaces that have it mounted. Marathon's word that a task has ended proves nothing, and neither does an
// unmounted dataset: a container's own mount namespace keeps its mounts.
//
// It only looks; it ends nobody. Uses by the kernel itself (loop devices, exports, swap) are not seen.
//
// Invariants:
//   - A process that could not be looked into is counted, never taken for one that uses nothing.
//   - The caller itself and the zfs commands that it runs are not users.
package usage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/drover-project/drover/state"
)

// Target is a dataset to look for, with all that is below it.
type Target struct {
	Dataset string   // as the mount tables name it
	Path    string   // where it is mounted for the caller; "" if it is not
	Below   []string // where the datasets below it are mounted for the caller
	Resting bool     // nobody is to use it: who has it mounted in another namespace is a user though the caller has it mounted too
}

// Equal reports whether two targets are the same.
func (t Target) Equal(other Target) bool {
	return t.Dataset == other.Dataset && t.Path == other.Path && t.Resting == other.Resting && slices.Equal(t.Below, other.Below)
}

// has reports whether a mount's source is the target's dataset or one below it.
func (t Target) has(source string) bool {
	rest, ok := strings.CutPrefix(source, t.Dataset)
	return ok && (rest == "" || rest[0] == '/')
}

// paths returns where the target's files really are.
func (t Target) paths() []string {
	var paths []string
	for _, p := range append([]string{t.Path}, t.Below...) {
		if p != "" {
			paths = append(paths, resolve(p))
		}
	}
	return paths
}

func withinAny(path string, roots []string) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return within(path, root) })
}

// Found is what was found out about one target.
type Found struct {
	Users  []state.User
	Mounts []string // where it is mounted in namespaces other than the caller's, for people
}

// Report is one look at all processes.
type Report struct {
	Found  []Found // in the order of the targets
	Unseen int     // processes that the caller may not look into
}

// Notes says for people what the look could not see, or nothing.
func (r Report) Notes() []string {
	if r.Unseen == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d processes of other users could not be looked into; run the agent as root to see them", r.Unseen)}
}

// Find looks at all processes once.
func Find(ctx context.Context, targets ...Target) (Report, error) { return find(ctx, targets) }

// Await looks until nobody uses the target or ctx ends, and returns the last look. It is cheap while the same processes
// stay: only when they have gone are all processes looked at again.
func Await(ctx context.Context, t Target) (Report, error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	r, err := Find(context.WithoutCancel(ctx), t)
	for err == nil && len(r.Found[0].Users) > 0 {
		select {
		case <-ctx.Done():
			return r, nil
		case <-tick.C:
		}
		if remain(r.Found[0].Users, t) {
			continue
		}
		r, err = Find(context.WithoutCancel(ctx), t)
	}
	return r, err
}

// resolve returns where a path really is; the symlinks on the way are not used by anybody.
func resolve(path string) string {
	if path == "" {
		return ""
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path // gone or unreadable: compare with what is known
}

// within reports whether path is root or below it.
func within(path, root string) bool {
	rest, ok := strings.CutPrefix(path, root)
	return ok && root != "" && (rest == "" || rest[0] == '/' || strings.HasPrefix(rest, " (deleted)"))
}

var self = os.Getpid()

// ours reports whether a process is the caller or a zfs command of the caller.
func ours(pid, parent int, command string) bool {
	return pid == self || parent == self && (command == "zfs" || command == "zpool")
}
