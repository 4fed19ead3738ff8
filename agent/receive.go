package agent

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"

	"github.com/drover-project/drover/agent/stream"
	"github.com/drover-project/drover/state"
	"github.com/drover-project/drover/zfs"
)

// receiver is one stream at its target.
type receiver struct {
	a     *Agent
	z     *zfs.ZFS // its children hold the volume's lock
	q     receiveRequest
	c     *state.Copy // nil before a first stream
	first bool        // the dataset, the copy's or a child's, is made by this stream
	line  *waiting    // nil for a stream that comes at once
	ring  *stream.Ring
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
	a.under.letGo(q.UUID) // whoever offers a stream now has given up on the line
	v := &receiver{a: a, q: q}
	if q.Line {
		var over func()
		ctx, v.line, over = a.under.await(ctx, v)
		defer over()
	}
	lock, err := a.locks.share(ctx, q.UUID, q.Transfer, "a receive")
	if err != nil {
		a.refuse(w, r, a.phrase(state.Step{Kind: "receive", Volume: q.Volume}, err))
		return
	}
	defer lock.release()
	if v.line == nil {
		defer a.under.receive(v)()
	}
	v.z = lock.zfs(a.zfs)
	if q.Tidy == "" {
		v.z = v.z.WithoutHolds()
	}
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
	v.first = v.c.Part(v.q.Child) == nil
	if v.c != nil {
		if _, err := follow(ctx, v.z, v.c); err != nil {
			return false, err
		}
	}
	return false, v.room(ctx)
}

// destination says where the stream goes, and what is set there before it: of a first copy everything, so that a half-received one is
// known for what it is.
func (v *receiver) destination() (dataset string, props map[string]string) {
	switch {
	case v.c == nil:
		return v.a.home(v.q.Volume), v.identity()
	case v.first:
		return v.c.Dataset + "/" + v.q.Child, v.childIdentity()
	}
	return v.c.Part(v.q.Child).Dataset, nil
}

// discard drops the half-received stream that the sender cannot resume, if it is still that one.
func (v *receiver) discard(ctx context.Context) (err error) {
	part := v.c.Part(v.q.Child)
	if v.c.Role != state.Standby || part == nil || part.ResumeToken != v.q.Discard {
		return errorf(CodeUnexpected, "its half-received stream is another one").about(v.c)
	}
	v.c, err = v.a.dropPartial(ctx, v.z, part)
	return err
}

// room refuses a stream that would fill the pool, with what the streams that are under way are yet to bring: a full pool stays full of
// half-received streams.
func (v *receiver) room(ctx context.Context) error {
	if v.q.Bytes == 0 {
		return nil
	}
	pool, err := v.z.Pool(ctx, v.a.poolName())
	if err != nil {
		return err
	}
	const spare = 8 << 20
	need, others := v.q.Bytes+v.q.Bytes/20+spare, v.a.under.toCome(v)
	if pool.Free < need+others {
		return errorf(CodeNoSpace, "pool %s has %d bytes free, the stream needs %d, and those that are under way %d: free space, or choose another node",
			pool.Name, pool.Free, need, others)
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
	case errors.Is(err, zfs.ErrFeature):
		return errorf(CodeUnsupported, "its OpenZFS or its pool is too old for what the data needs: upgrade it, or choose another node: %w", err)
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
	part := v.c.Part(v.q.Child)
	if part == nil || part.Find(v.q.To) == nil {
		return errorf(CodeInternal, "zfs receive ended well, but the snapshot is not there")
	}
	if v.c.Role != state.Standby || !v.c.Readonly || !part.Readonly {
		return errorf(CodeInternal, "zfs receive ended well, but the copy is (%s, readonly %s), not a standby", v.c.Role, onOff(v.c.Readonly && part.Readonly))
	}
	if v.q.Tidy == "" {
		return nil
	}
	if err := v.takeAfter(ctx, part); err != nil {
		return err
	}
	return v.tidy(ctx, part)
}

// takeAfter gives a part the properties that its source has by now.
func (v *receiver) takeAfter(ctx context.Context, part *state.Copy) error {
	if v.q.Settled == nil {
		return nil
	}
	set, inherit := v.q.Settled.differing(part, v.q.Child, v.c.Mountpoint)
	for _, name := range inherit {
		if err := v.z.Inherit(ctx, part.Dataset, name); err != nil {
			return err
		}
	}
	if len(set) == 0 {
		return nil
	}
	return v.z.SetEach(ctx, part.Dataset, set)
}

// tidy holds the snapshot, the common one from now on, and lets go of older ones.
func (v *receiver) tidy(ctx context.Context, part *state.Copy) error {
	if err := v.z.Hold(ctx, zfs.Tag, part.Dataset+"@"+part.Find(v.q.To).Name); err != nil {
		return err
	}
	if err := dropOlder(ctx, v.z, part, v.q.Tidy, v.q.To, v.q.Keep); err != nil {
		v.a.log.Warn("older snapshots stay", "volume", v.q.Volume, "dataset", part.Dataset, "err", err)
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
	if v.q.Settled != nil {
		maps.Copy(props, v.q.Settled.properties("", ""))
	}
	maps.Copy(props, v.q.Properties)
	props[zfs.PropVolume] = string(v.q.Volume)
	props[zfs.PropUUID] = string(v.q.UUID)
	props[zfs.PropLead] = string(v.q.Lead)
	props[zfs.PropReclaim] = string(reclaim(v.q.Reclaim))
	props[zfs.PropSendFlags] = v.q.SendFlags
	props["mountpoint"] = v.a.mountpoint(v.q.Volume)
	return props
}

// childIdentity are the properties of a first child on this node. It inherits all that makes its copy one.
func (v *receiver) childIdentity() map[string]string {
	props := map[string]string{"canmount": "noauto"}
	if v.q.Settled != nil {
		props = v.q.Settled.properties(v.q.Child, v.c.Mountpoint)
	}
	props[zfs.PropSendFlags] = v.q.SendFlags
	if above := v.c.Part(parent(v.q.Child)); above != nil && above.Encrypted && v.q.SendFlags != rawFlags {
		props["encryption"] = "off" // as at its source; it would inherit that of its parent here
	}
	return props
}

// parent returns the path above a child's; "" is the copy itself.
func parent(child string) string {
	at := strings.LastIndexByte(child, '/')
	return child[:max(at, 0)]
}
