package zfsim

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/drover-project/drover/lab/zfsim/internal/store"
	"github.com/drover-project/drover/lab/zfsim/internal/stream"
)

// receiving is one stream on its way in.
type receiving struct {
	c      *cli
	f      flagSet
	props  map[string]string // -o
	target string            // file system
	snap   string            // name of the snapshot to make
	read   int64             // bytes of the stream before this one
	begin  stream.Begin
	what   string // beginning of error messages
	in     *stream.Reader

	p       *pool // as of the beginning
	id      uint64
	recv    recvState
	newest  uint64 // guid of the newest snapshot, 0 for none
	base    store.Ref
	hist    store.Hist
	keep    uint64
	partial *partial
	room    uint64
	quota   bool // it is a quota that limits room
	said    bool // announced by -v
}

func (c *cli) receive(opts []opt, args []string) error {
	f := flagsOf(opts)
	if f.has('d') || f.has('e') {
		return errors.New("receive -d and -e are not modelled by this stand-in: Drover never uses them")
	}
	switch {
	case len(args) == 0:
		return usageError("missing snapshot argument")
	case len(args) > 1:
		return usageError("too many arguments")
	}
	if f.has('A') {
		return c.abortReceive(args[0])
	}
	props, err := c.receiveProps(opts)
	if err != nil {
		return err
	}
	return c.receiveAll(f, props, args[0])
}

// receiveProps reads -o and -x. As there are no properties in streams, -x only has to be well formed.
func (c *cli) receiveProps(opts []opt) (map[string]string, error) {
	seen := map[string]bool{}
	for _, o := range opts {
		if o.c != 'o' && o.c != 'x' {
			continue
		}
		k, _, _ := strings.Cut(o.val, "=")
		def := propOf(k)
		if seen[k] {
			return nil, usageError(fmt.Sprintf("property '%s' specified multiple times", k))
		}
		seen[k] = true
		if def == nil && !isUserProp(k) || def != nil && (def.stat || def.oneTime && k != "encryption") {
			what := "cannot receive: cannot receive: "
			if c.m.old {
				what = "cannot receive: "
			}
			return nil, fmt.Errorf("%sinvalid property '%s'", what, k)
		}
	}
	return c.parseOptions(opts, 'o', "cannot receive: ")
}

// receiveAll takes one stream, or all of a package.
func (c *cli) receiveAll(f flagSet, props map[string]string, target string) error {
	in := &arriving{r: c.in, s: c.m.faults.stream(poolOf(target))}
	r := stream.NewReader(bufio.NewReaderSize(in, 1<<20))
	begin, err := c.readBegin(r)
	if err != nil {
		return err
	}
	if !begin.Compound {
		return c.receiveOne(r, begin, f, props, target)
	}
	return c.receivePackage(r, f, props, target)
}

func (c *cli) receivePackage(r *stream.Reader, f flagSet, props map[string]string, target string) error {
	c.packed = true
	for ignored := 0; ; {
		begin, err := r.Begin()
		if errors.Is(err, stream.ErrMagic) && r.EndPackage() {
			return nil
		}
		if err != nil {
			return errors.New("cannot receive: incomplete stream")
		}
		// After a snapshot that is already there, 2.1 passes over the next stream, and cannot go on with the one after.
		if ignored++; c.m.old && c.ignored && ignored == 1 {
			if err := drain(r); err != nil {
				return err
			}
			continue
		}
		if !c.ignored {
			ignored = 0
		}
		if err := c.receiveOne(r, begin, f, props, target); err != nil {
			return err
		}
	}
}

// drain reads to the end of a stream.
func drain(r *stream.Reader) error {
	for {
		rec, err := r.Next()
		if err != nil {
			return errors.New("cannot receive incremental stream: incomplete stream")
		}
		if rec.Kind == 0 {
			return nil
		}
	}
}

// arriving is the way in of a stream, at the pool's speed.
type arriving struct {
	r io.Reader
	s *throttle
}

func (a *arriving) Read(b []byte) (int, error) {
	n, err := a.r.Read(b)
	a.s.pass(n)
	return n, err
}

func (c *cli) readBegin(r *stream.Reader) (stream.Begin, error) {
	begin, err := r.Begin()
	switch {
	case errors.Is(err, stream.ErrMagic):
		return begin, errors.New("cannot receive: invalid stream (bad magic number)")
	case err != nil:
		return begin, errors.New("cannot receive: failed to read from stream")
	}
	if unknown := begin.Features &^ stream.Features; unknown != 0 {
		said := fmt.Sprintf("cannot receive: stream has unsupported feature, feature flags = %x", begin.Features)
		if !c.m.old {
			said += fmt.Sprintf(" (unknown flags = %x)", unknown)
		}
		return begin, errors.New(said)
	}
	return begin, nil
}

func (c *cli) receiveOne(r *stream.Reader, begin stream.Begin, f flagSet, props map[string]string, target string) error {
	rv := &receiving{c: c, f: f, props: props, begin: begin, in: r, read: r.Read}
	rv.target, rv.snap, _ = strings.Cut(target, "@")
	if rv.snap == "" {
		_, rv.snap, _ = strings.Cut(begin.ToName, "@")
	}
	rv.what = "cannot receive " + rv.kind() + " stream: "
	if checkName(rv.target+"@"+rv.snap, '@') != "" {
		return errors.New(rv.what + "invalid backup stream")
	}
	start := time.Now()
	err := rv.start()
	if errors.Is(err, errIgnored) {
		return rv.ignore(start)
	}
	if err != nil || f.has('n') {
		return wrapReason(rv.what, err)
	}
	if err := rv.run(); err != nil {
		return err
	}
	rv.report(start)
	return nil
}

func (rv *receiving) kind() string {
	switch {
	case rv.begin.Resuming():
		return "resume"
	case rv.begin.FromGUID != 0:
		return "incremental"
	}
	return "new filesystem"
}

func (rv *receiving) ignore(start time.Time) error {
	rv.say("receiving")
	if rv.f.has('v') {
		rv.c.printf("snap %s@%s already exists; ignoring\n", rv.target, rv.snap)
		rv.rate(start, 0)
	}
	rv.c.ignored = true
	return drain(rv.in)
}

func (rv *receiving) say(verb string) {
	if !rv.f.has('v') || rv.said {
		return
	}
	rv.said = true
	kind := "full"
	if rv.begin.FromGUID != 0 {
		kind = "incremental"
	}
	rv.c.printf("%s %s stream of %s into %s@%s\n", verb, kind, rv.begin.ToName, rv.target, rv.snap)
}

func (rv *receiving) report(start time.Time) {
	if rv.f.has('v') {
		rv.rate(start, rv.in.Read-rv.read)
	}
}

func (rv *receiving) rate(start time.Time, n int64) {
	text, seconds := rv.c.m.elapsed(time.Since(start))
	rv.c.printf("received %s stream in %s (%s/sec)\n", nice(uint64(n)), text, nice(uint64(float64(n)/max(seconds, 0.001))))
}

// start checks the destination and notes in the pool that a receive runs.
func (rv *receiving) start() error {
	pool := poolOf(rv.target)
	if rv.f.has('n') {
		err := rv.c.view(pool, func(tx *txn) error { return rv.check(tx) })
		if err == nil {
			rv.say("would receive")
		}
		return err
	}
	if _, err := rv.c.m.load(pool); errors.Is(err, errNoPool) {
		return printed{fmt.Errorf("cannot open '%s': %w\n%sunable to restore to destination", parentOrSelf(rv.target), errNotExist, rv.what)}
	}
	if rv.f.has('F') && rv.begin.FromGUID != 0 && !rv.begin.Resuming() {
		if err := rv.c.update(pool, rv.rewind); err != nil {
			return err
		}
	}
	err := rv.c.update(pool, rv.enter)
	if err == nil {
		rv.say("receiving")
		rv.c.out.Flush() // shown while it runs; the write error shows at the end
	}
	return err
}

// enter makes the record of the receive, after the checks.
func (rv *receiving) enter(tx *txn) error {
	if err := rv.check(tx); err != nil {
		return err
	}
	d := tx.p.find(rv.target)
	switch {
	case d == nil:
		d = tx.record(rv.target, nil)
		d.Hist = store.Hist{tx.txg: fsOverhead}
		d.Recv = rv.newState(tx, true)
	case d.Recv == nil:
		d.Recv = rv.newState(tx, false)
	}
	rv.applyProps(d)
	rv.id, rv.recv, rv.p = d.ID, *d.Recv, tx.p
	if s := d.last(); s != nil {
		rv.newest = s.GUID
	}
	if err := tx.m.refresh(tx.p, 0); err != nil {
		return err
	}
	sp := tx.m.space(tx.p)
	rv.room, rv.quota = sp.available(d), sp.quotaBound(d)
	rv.base, rv.hist, rv.keep = d.Tree, d.Hist, tx.p.keepTxg(d)
	var err error
	rv.partial, err = tx.m.openPartial(tx.p, d, rv.begin.Resuming())
	return err
}

func (rv *receiving) newState(tx *txn, fresh bool) *recvState {
	return &recvState{Txg: tx.txg, New: fresh, Resumable: rv.f.has('s'), ToGUID: rv.begin.ToGUID, FromGUID: rv.begin.FromGUID,
		ToName: rv.begin.ToName, Features: rv.begin.Features, Creation: int64(rv.begin.Creation)}
}

// rewind is -F, a step of its own before the receive: what came after the base goes, and the head becomes the base.
func (rv *receiving) rewind(tx *txn) error {
	if err := rv.check(tx); err != nil {
		return err
	}
	d := tx.p.find(rv.target)
	base := d.snapByGUID(rv.begin.FromGUID)
	for i := len(d.Snaps) - 1; i >= 0 && d.Snaps[i] != base; i-- {
		tx.dropSnap(d, d.Snaps[i])
	}
	return tx.resetTo(d, base)
}

// applyProps sets the plain -o properties at once; the quota-like ones wait until the data is there.
func (rv *receiving) applyProps(d *dataset) {
	for k, v := range rv.props {
		if def := propOf(k); def == nil || !def.apart {
			d.Props = merged(d.Props, map[string]string{k: v})
		}
	}
}

// run takes the stream in and commits it.
func (rv *receiving) run() error {
	err := rv.take()
	if err == nil {
		err = rv.commit()
	}
	if err != nil {
		return rv.failed(err)
	}
	rv.partial.close()
	return rv.late()
}

// errFull tells that the limit was reached.
var errFull = errors.New("no room")

func (rv *receiving) take() error {
	for {
		rec, err := rv.in.Next()
		if err != nil {
			return err
		}
		if rec.Kind == 0 {
			return rv.partial.checkpoint()
		}
		if uint64(rv.partial.pack.Size())+uint64(len(rec.Payload)) > rv.room {
			rv.partial.at.Held = rv.room
			return errFull
		}
		if err := rv.partial.add(rec, rv.in.Read); err != nil {
			return err
		}
	}
}

// failed ends a receive: with -s what came is kept, without it is dropped.
func (rv *receiving) failed(cause error) error {
	keep := rv.recv.Resumable && !errors.Is(cause, errDrop)
	cerr := rv.partial.checkpoint()
	rv.partial.close()
	if cerr != nil {
		cause = cerr
	}
	if !keep {
		if err := rv.c.m.update(rv.p.Name, rv.drop); err != nil {
			return err
		}
	}
	return errors.New(rv.what + rv.why(cause, keep))
}

// errDrop marks failures after which nothing is kept.
var errDrop = errors.New("dropped")

func (rv *receiving) drop(tx *txn) error {
	if d := tx.p.byID(rv.id); d != nil && d.Recv != nil && d.Recv.Txg == rv.recv.Txg {
		tx.p.dropReceive(d)
	}
	return nil
}

func (rv *receiving) why(cause error, kept bool) string {
	cut, damaged := errors.Is(cause, io.ErrUnexpectedEOF), errors.Is(cause, stream.ErrChecksum)
	switch {
	case (cut || damaged) && kept:
		return rv.savedText()
	case cut:
		return "incomplete stream"
	case damaged:
		return "checksum mismatch"
	case errors.Is(cause, errFull) && rv.quota:
		return fmt.Sprintf("destination %s space quota exceeded.", rv.target)
	case errors.Is(cause, errFull):
		return errNoSpace.Error()
	}
	return strings.TrimPrefix(cause.Error(), errDrop.Error()+": ")
}

func (rv *receiving) savedText() string {
	token := "-"
	if p, err := rv.c.m.loadAny(rv.p.Name); err == nil {
		if d := p.byID(rv.id); d != nil && d.Recv != nil {
			token = rv.c.m.token(p, d)
		}
	}
	return "checksum mismatch or incomplete stream.\nPartially received snapshot is saved.\n" +
		"A resuming stream can be generated on the sending system by running:\n    zfs send -t " + token
}

// commit turns what came in into a snapshot.
func (rv *receiving) commit() error {
	st := rv.c.m.store(rv.p)
	defer st.Close()
	root, hist, err := rv.partial.merge(st, rv.base, rv.hist, rv.keep)
	if err != nil {
		return err
	}
	ready := store.Ref{}
	if rv.recv.New {
		if ready, err = rv.fillHead(st, root); err != nil {
			return err
		}
	}
	return rv.c.m.update(rv.p.Name, func(tx *txn) error {
		d := tx.p.byID(rv.id)
		if d == nil || d.Recv == nil {
			return fmt.Errorf("%w: %w", errDrop, errNotExist)
		}
		if err := rv.checkEnd(tx, d); err != nil {
			return err
		}
		return rv.finish(tx, d, root, ready, hist)
	})
}

// fillHead makes the head of a new file system. Nobody else looks at it yet, so the pool's lock is not needed.
func (rv *receiving) fillHead(st *store.Store, root store.Ref) (store.Ref, error) {
	head := rv.c.m.path("heads", rv.p.Name, fmt.Sprint(rv.id))
	if err := st.Apply(head, store.Ref{}, root); err != nil {
		return root, err
	}
	pack, err := st.Append(rv.recv.Txg)
	if err != nil {
		return root, err
	}
	ready, err := st.Restat(head, root, 0, pack)
	if cerr := pack.Close(); err == nil {
		err = cerr
	}
	return ready, err
}

func (rv *receiving) finish(tx *txn, d *dataset, root, ready store.Ref, hist store.Hist) error {
	if s := d.snap(rv.snap); s != nil {
		return fmt.Errorf("%w: %w", errDrop, errExists)
	}
	d.Tree, d.Hist = root, hist
	d.Large = d.Large || rv.recv.Features&stream.FeatureLargeBlocks != 0
	tx.addSnapshot(d, rv.snap, rv.recv.ToGUID, rv.recv.Creation, nil)
	d.Recv = nil
	if rv.recv.New {
		d.Tree = ready
	} else {
		tx.p.then(op{Do: opApply, ID: d.ID, From: rv.base, To: root, Txg: rv.recv.Txg, Since: rv.recv.Txg - 1})
	}
	tx.p.then(op{Do: opNoRecv, ID: d.ID})
	return nil
}

// late does what may fail without undoing the receive: quotas, which only warn, and the mount.
func (rv *receiving) late() error {
	for k, v := range rv.props {
		if def := propOf(k); def == nil || !def.apart {
			continue
		}
		err := rv.c.m.update(rv.p.Name, func(tx *txn) error { return tx.setApart(rv.target, k, v) })
		if err != nil {
			fmt.Fprintf(rv.c.err, "cannot receive %s property on %s: %v\n", k, rv.target, err)
		}
	}
	return rv.c.m.update(rv.p.Name, func(tx *txn) error {
		d := tx.p.byID(rv.id)
		if d == nil {
			return nil
		}
		if rv.recv.New && !rv.f.has('u') {
			if err := tx.automount(d); err != nil {
				return err
			}
		}
		if len(tx.p.Pending) > 0 {
			return nil
		}
		return tx.m.noteScan(tx.p, d)
	})
}
