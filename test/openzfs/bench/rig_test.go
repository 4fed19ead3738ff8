//go:build linux

package bench

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/test/openzfs"
)

func TestMain(m *testing.M) { openzfs.Main(m) }

// rig is three nodes with agents, of which two are used; ssh leads from the first to the second.
type rig struct {
	*openzfs.Drover
	testing.TB
	from, to *openzfs.Node
}

func newRig(b *testing.B, disk int64, volumes ...state.VolumeName) *rig {
	b.Helper()
	r := &rig{Drover: openzfs.NewDrover(b, openzfs.Options{Disk: disk, Memory: 1024}, volumes...), TB: b}
	r.from, r.to = r.Nodes[0], r.Nodes[1]
	return r
}

// withTools gives both nodes the folder of Debian's programs, and starts sshd on the second.
func (r *rig) withTools() {
	r.Helper()
	out, err := exec.CommandContext(r.Context(), filepath.Join(openzfs.Root(), "hack/openzfs/tools.sh")).Output()
	if err != nil {
		var ended *exec.ExitError
		if errors.As(err, &ended) {
			err = fmt.Errorf("%w: %s", err, ended.Stderr)
		}
		r.Fatal("programs to compare with: ", err)
	}
	tools := strings.TrimSpace(string(out))
	for _, n := range []*openzfs.Node{r.from, r.to} {
		n.Sh("mkdir /tools && mount -t hostfs -o " + tools + " none /tools && for d in dev proc sys tmp; do mount --bind /$d /tools/$d; done && " +
			"mount -t tmpfs tmpfs /tools/run && mount -t tmpfs -o mode=700 tmpfs /tools/root && mkdir /tools/run/sshd /tools/root/.ssh && " +
			"cp /tools/etc/bench_key.pub /tools/root/.ssh/authorized_keys && cp /tools/etc/bench_key /tools/root/.ssh/id_ed25519")
	}
	r.to.Sh("chroot /tools /usr/sbin/sshd")
	r.from.Sh("chroot /tools /usr/bin/ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new " + r.to.IP + " true")
}

// volume makes a volume at the first node; compression is the property's value.
func (r *rig) volume(name state.VolumeName, compression string) {
	r.Helper()
	s := r.step(state.CreateVolume, name)
	s.Epoch, s.Properties = state.Epoch{N: 1}, map[string]string{"compression": compression, "recordsize": "128K"}
	if _, err := r.Do(r.Context(), r.from, nil, s); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) step(kind state.StepKind, name state.VolumeName) state.Step {
	h := fnv.New32a()
	h.Write([]byte(name))
	uuid := state.UUID(fmt.Sprintf("%08x-0000-4000-8000-000000000000", h.Sum32()))
	return state.Step{Kind: kind, App: "/" + state.AppID(name), Volume: name, Lead: name, UUID: uuid}
}

// replicate sends a volume's first copy, all of it, as Drover does.
func (r *rig) replicate(name state.VolumeName) error {
	s := r.step(state.Replicate, name)
	s.Expect = state.Expect{Role: state.Primary, Epoch: state.Epoch{N: 1}}
	s.Move, s.Snapshot = "bench-0.2", "drover-0.2-0"
	_, err := r.Do(r.Context(), r.from, r.to, s)
	return err
}

// forget removes what a run has left behind on both sides, so that the next one begins as the first.
func (r *rig) forget(dataset string) {
	r.Helper()
	for _, n := range []*openzfs.Node{r.from, r.to} {
		n.Sh("for s in $(zfs list -H -r -t snapshot -o name " + dataset + " 2>/dev/null); do for t in $(zfs holds -H $s | cut -f2); do zfs release $t $s; done; done; " +
			"for s in $(zfs list -H -r -t snapshot -o name " + dataset + " 2>/dev/null); do zfs destroy $s; done; zpool sync")
	}
	r.to.Sh("! zfs list " + dataset + " >/dev/null 2>&1 || zfs destroy -r " + dataset + "; zpool sync")
}

// taken is what one run took: time, and processor time of the host on each side.
type taken struct {
	wall, src, dst time.Duration
}

// measure times one run. Both pools are at rest before.
func (r *rig) measure(run func() error) taken {
	r.Helper()
	r.from.Sh("zpool sync")
	r.to.Sh("zpool sync")
	src, dst, begin := r.from.CPU(), r.to.CPU(), time.Now()
	if err := run(); err != nil {
		r.Fatal(err)
	}
	return taken{time.Since(begin), r.from.CPU() - src, r.to.CPU() - dst}
}
