package agent

import (
	"context"
	"errors"
	"net/http"

	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// receiver is one stream at its target.
type receiver struct {
	a     *Agent
	z     *zfs.ZFS // its children hold the volume's lock
	q     receiveRequest
	c     *state.Copy // nil before a first stream
	first bool        // the dataset is made by this stream
}

// serveReceive checks an offered stream under the volume's lock, then takes the connection over and receives.
func (a *Agent) serveReceive(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	var q receiveRequest
	err := decode(r.Body, &q)
	if err == nil {
		err = asErr(q.check())
	}
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	lock, err := a.locks.take(ctx, q.UUID, "a receive")
	if err != nil {
		a.refuse(w, r, a.phrase(state.Step{Kind: "receive", Volume: q.Volume}, err))
		return
	}
	defer lock.release()
	defer a.under.receive(q.UUID)()
	v := &receiver{a: a, z: lock.zfs(a.zfs), q: q}
	there, err := v.admit(ctx)
	switch {
	case err != nil:
		a.refuse(w, r, a.phrase(state.Step{Kind: "receive", Volume: q.Volume}, err))
	case there:
		a.write(w, http.StatusOK, receiveReply{Copy: v.c})
	default:
		v.takeOver(ctx, w, v.receive)
	}
}

// admit decides whether the stream may come. It reports true if its snapshot is there already.
func (v *receiver) admit(ctx context.Context) (bool, error) {
	var err error
	if v.c, err = v.a.find(ctx, v.z, v.q.UUID, v.q.Volume); err != nil {
		return false, err
	}
	if v.q.Discard != "" && v.c != nil {
		if err := v.discard(ctx); err != nil {
			return false, err
		}
	}
	var taken state.Epoch
	if v.c == nil {
		root, err := v.a.readRoot(ctx)
		if err != nil {
			return false, err
		}
		taken = root.taken[v.q.UUID]
	}
	there, refused := receivable(v.c, v.q, taken)
	if refused != nil || there {
		return there, asErr(refused)
	}
	v.first = v.c == nil
	return false, v.room(ctx)
}

// discard drops the half-received stream that the sender cannot resume, if it is still that one.
func (v *receiver) discard(ctx context.Context) (err error) {
	if v.c.Role != state.Standby || v.c.ResumeToken != v.q.Discard {
		return errorf(CodeUnexpected, "its half-received stream is another one").about(v.c)
	}
	v.c, err = v.a.dropPartial(ctx, v.z, v.c)
	return err
}

// room refuses a stream that would fill the pool: a full pool stays full of the half-received stream.
func (v *receiver) room(ctx context.Context) error {
	if v.q.Bytes == 0 {
		return nil
	}
	pool, err := v.z.Pool(ctx, v.a.poolName())
	if err != nil {
		return err
	}
	const spare = 8 << 20
	if need := v.q.Bytes + v.q.Bytes/20 + spare; pool.Free < need {
		return errorf(CodeNoSpace, "pool %s has %d bytes free, the stream needs %d: free space, or choose another node", pool.Name, pool.Free, need)
	}
	return nil
}

// explain gives zfs's errors the codes that the sender acts on.
func (v *receiver) explain(err error, dataset string) error {
	switch {
	case errors.Is(err, zfs.ErrExists) && v.first:
		return errorf(CodeInTheWay, "dataset %s is there already and is not this volume: rename it: %w", dataset, err)
	case errors.Is(err, zfs.ErrTokenStale), errors.Is(err, zfs.ErrPartial), errors.Is(err, zfs.ErrNoBase):
		return errorf(CodeUnexpected, "it does not take this stream: %w", err)
	case errors.Is(err, zfs.ErrModified):
		return errorf(CodeRefused, "it has been modified and cannot be added to: set it aside: %w", err)
	}
	return err
}

// arrived reads the copy and finds the snapshot in it: what counts.
func (v *receiver) arrived(ctx context.Context) (err error) {
	if v.c, err = v.a.find(ctx, v.z, v.q.UUID, v.q.Volume); err != nil {
		return err
	}
	if v.c == nil || v.c.Find(v.q.To) == nil {
		return errorf(CodeInternal, "zfs receive ended well, but the snapshot is not there")
	}
	if v.c.Role != state.Standby || !v.c.Readonly {
		return errorf(CodeInternal, "zfs receive ended well, but the copy is (%s, readonly %s), not a standby", v.c.Role, onOff(v.c.Readonly))
	}
	if v.q.Tidy == "" {
		return nil
	}
	return v.tidy(ctx)
}

// tidy holds the snapshot, the common one from now on, and lets go of this move's older ones.
func (v *receiver) tidy(ctx context.Context) error {
	if err := v.z.Hold(ctx, zfs.Tag, v.c.Dataset+"@"+v.c.Find(v.q.To).Name); err != nil {
		return err
	}
	if err := dropOlder(ctx, v.z, v.c, v.q.Tidy, v.q.To, v.q.Keep); err != nil {
		v.a.log.Warn("older snapshots stay", "volume", v.q.Volume, "err", err)
	}
	c, err := v.a.find(ctx, v.z, v.q.UUID, v.q.Volume)
	if err == nil && c != nil {
		v.c = c
	}
	return err
}

// identity are the properties of a first copy on this node. They are set when the stream begins, so that a half-received
// copy is known for what it is.
func (v *receiver) identity() map[string]string {
	props := (&change{role: state.Standby, epoch: v.q.Epoch, readonly: true}).properties()
	for name, value := range v.q.Properties {
		props[name] = value
	}
	props[zfs.PropVolume] = string(v.q.Volume)
	props[zfs.PropUUID] = string(v.q.UUID)
	props[zfs.PropLead] = string(v.q.Lead)
	props[zfs.PropReclaim] = string(reclaim(v.q.Reclaim))
	props[zfs.PropSendFlags] = v.q.SendFlags
	props["mountpoint"] = v.a.mountpoint(v.q.Volume)
	return props
}
