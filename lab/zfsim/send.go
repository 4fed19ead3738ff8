package zfsim

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/drover-project/drover/lab/zfsim/internal/store"
	"github.com/drover-project/drover/lab/zfsim/internal/stream"
)

var sendLong = map[string]byte{"large-block": 'L', "embed": 'e', "compressed": 'c', "raw": 'w', "dryrun": 'n',
	"verbose": 'v', "parsable": 'P', "props": 'p', "replicate": 'R', "resume": 't', "holds": 'h', "backup": 'b', "proctitle": 'V'}

// sending is one stream to be made.
type sending struct {
	p        *pool
	ds       *dataset
	snap     *snapshot
	fromTxg  uint64
	fromGUID uint64
	fromName string // as the estimate shows it
	features uint64
	object   uint64 // where to go on; 0 for a whole stream
	offset   uint64
}

func (c *cli) send(opts []opt, args []string) error {
	f := flagsOf(opts)
	if f.has('t') && strings.ContainsFunc("iIRpbDh", func(r rune) bool { return f.has(byte(r)) }) {
		return usageError("invalid flags combined with -t")
	}
	for _, letter := range []byte("RDpbhSs") {
		if f.has(letter) {
			return fmt.Errorf("send -%c is not modelled by this stand-in: Drover never uses it", letter)
		}
	}
	if f.has('t') {
		return c.resumeSend(f)
	}
	switch {
	case len(args) == 0:
		return usageError("missing snapshot argument")
	case len(args) > 1:
		return usageError("too many arguments")
	}
	if from, ok := f['i']; ok && !strings.ContainsAny(from, "@#") {
		fmt.Fprintln(c.err, "Warning: incremental source didn't specify type, assuming snapshot. Use '@' or '#' prefix to avoid ambiguity.")
	}
	streams, err := c.planSend(args[0], f)
	if err != nil {
		return err
	}
	return c.runSend(streams, f)
}

// planSend resolves the operands to streams: several with -I.
func (c *cli) planSend(name string, f flagSet) ([]sending, error) {
	o, err := c.open(name, false)
	if err != nil {
		return nil, err
	}
	if o.snap == nil {
		return nil, fmt.Errorf("warning: cannot send '%s': target is busy; if a filesystem, it must not be mounted", name)
	}
	one := sending{p: o.p, ds: o.ds, snap: o.snap, features: c.features(o, f)}
	switch {
	case f.has('I'):
		return c.planRange(one, f['I'])
	case f.has('i'):
		err = c.setSource(&one, f['i'])
	}
	return []sending{one}, err
}

func (c *cli) features(o object, f flagSet) uint64 {
	feats := uint64(stream.FeatureSpill)
	raw := f.has('w')
	if (f.has('L') || raw) && (o.ds.Large || number(c.m.prop(o.p, o.ds, "recordsize")) > store.BlockSize) {
		feats |= stream.FeatureLargeBlocks
	}
	if f.has('e') || raw {
		feats |= stream.FeatureEmbed
	}
	if f.has('c') || raw {
		feats |= stream.FeatureCompressed
	}
	return feats
}

// sourceName completes an incremental source that was given in short.
func sourceName(ds, from string) string {
	if strings.HasPrefix(from, "@") || strings.HasPrefix(from, "#") {
		return ds + from
	}
	if !strings.ContainsAny(from, "@#") {
		return ds + "@" + from
	}
	return from
}

func (c *cli) setSource(s *sending, from string) error {
	name := sourceName(s.ds.Name, from)
	warn := func(why string) error {
		return fmt.Errorf("warning: cannot send '%s@%s': %s", s.ds.Name, s.snap.Name, why)
	}
	src := lookup(s.p, name)
	switch {
	case src.ds == nil && strings.Contains(name, "#"):
		return warn(fmt.Sprintf("incremental source (%s) does not exist", name))
	case src.ds == nil:
		return cannotOpen(name, errNotExist)
	case src.kind() == 'f' || src.createTxg() >= s.snap.CreateTxg || !s.p.sameHistory(s.ds, src):
		return warn("not an earlier snapshot from the same fs")
	}
	s.fromTxg, s.fromGUID, s.fromName = src.createTxg(), src.guid(), name
	return nil
}

// sameHistory reports whether the source belongs to the dataset, or to what it was cloned from.
func (p *pool) sameHistory(d *dataset, src object) bool {
	for limit := ^uint64(0); d != nil; {
		if src.ds == d {
			return src.createTxg() <= limit
		}
		if d.Origin == nil {
			return false
		}
		limit = p.originTxg(d)
		d = p.byID(d.Origin.ID)
	}
	return false
}

func (c *cli) planRange(last sending, from string) ([]sending, error) {
	if strings.Contains(from, "#") {
		return nil, errors.New("Error: multiple snapshots cannot be sent from a bookmark.") //nolint:staticcheck // the words of OpenZFS
	}
	if err := c.setSource(&last, from); err != nil {
		return nil, err
	}
	var out []sending
	txg, guid := last.fromTxg, last.fromGUID
	_, short, _ := strings.Cut(last.fromName, "@")
	for _, s := range last.ds.Snaps {
		if s.CreateTxg <= txg || s.CreateTxg > last.snap.CreateTxg {
			continue
		}
		one := last
		one.snap, one.fromTxg, one.fromGUID, one.fromName = s, txg, guid, short
		out = append(out, one)
		txg, guid, short = s.CreateTxg, s.GUID, s.Name
	}
	return out, nil
}

func (s *sending) name() string { return s.ds.Name + "@" + s.snap.Name }

// runSend estimates if asked, and writes the streams.
func (c *cli) runSend(streams []sending, f flagSet) error {
	st := c.m.store(streams[0].p)
	defer st.Close()
	if f.has('v') || f.has('n') && f.has('P') {
		if err := c.estimate(st, streams, f); err != nil {
			return err
		}
	}
	if f.has('n') {
		return nil
	}
	if isTerminal(c.raw) {
		return errors.New("Error: Stream can not be written to a terminal.\nYou must redirect standard output.") //nolint:staticcheck // the words of OpenZFS
	}
	return c.writeStreams(st, streams, f)
}

func isTerminal(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0 && st.Mode()&os.ModeDevice != 0 && f.Name() != os.DevNull && !isNull(st)
}

// isNull tells /dev/null, which is a character device too.
func isNull(st os.FileInfo) bool {
	null, err := os.Stat(os.DevNull)
	return err == nil && os.SameFile(st, null)
}

func (c *cli) estimate(st *store.Store, streams []sending, f flagSet) error {
	out := c.err
	if f.has('n') {
		out = c.out
	}
	var total int64
	for i := range streams {
		s := &streams[i]
		w := stream.NewWriter(io.Discard)
		if err := s.write(st, w, true); err != nil {
			return err
		}
		total += w.Sent
		fmt.Fprint(out, s.describe(w.Sent, f.has('P')))
	}
	if f.has('P') {
		fmt.Fprintf(out, "size\t%d\n", total)
	} else {
		fmt.Fprintf(out, "total estimated size is %s\n", strings.TrimSuffix(nice(uint64(total)), "B"))
	}
	return nil
}

func (s *sending) describe(size int64, parsable bool) string {
	switch {
	case parsable && s.fromName == "":
		return fmt.Sprintf("full\t%s\t%d\n", s.name(), size)
	case parsable:
		return fmt.Sprintf("incremental\t%s\t%s\t%d\n", s.fromName, s.name(), size)
	case s.fromName == "":
		return fmt.Sprintf("full send of %s estimated size is %s\n", s.name(), nice(uint64(size)))
	}
	from := s.fromName
	if !strings.ContainsAny(from, "@#") { // one of several
		from = "@" + from
	}
	return fmt.Sprintf("send from %s to %s estimated size is %s\n", from, s.name(), nice(uint64(size)))
}

// writeStreams writes to standard output; several streams travel in a package.
func (c *cli) writeStreams(st *store.Store, streams []sending, f flagSet) error {
	p := streams[0].p
	out := &limited{w: c.raw, s: c.m.faults.stream(p.Name)}
	buf := bufio.NewWriterSize(out, 256<<10)
	w := stream.NewWriter(buf)
	stop := c.progress(out, streams, f)
	defer stop()
	err := c.writeAll(st, w, streams)
	if ferr := buf.Flush(); err == nil {
		err = ferr
	}
	if err != nil {
		return fmt.Errorf("warning: cannot send '%s': %w", streams[0].name(), err)
	}
	return nil
}

func (c *cli) writeAll(st *store.Store, w *stream.Writer, streams []sending) error {
	packed := len(streams) > 1
	if packed {
		if err := w.Begin(stream.Begin{Compound: true, ToName: streams[0].name()}); err != nil {
			return err
		}
	}
	for i := range streams {
		release, err := c.m.holdForSend(streams[i].p, streams[i].snap)
		if err != nil {
			return err
		}
		err = streams[i].write(st, w, false)
		release()
		if err != nil {
			return err
		}
	}
	if packed {
		return w.End(0)
	}
	return nil
}

// holdForSend keeps the snapshot from being destroyed for as long as this process reads it.
func (m *machine) holdForSend(p *pool, s *snapshot) (release func(), err error) {
	if err := os.MkdirAll(m.path("sends", p.Name), 0o755); err != nil {
		return nil, err
	}
	path := m.path("sends", p.Name, fmt.Sprintf("%d-%d", s.GUID, os.Getpid()))
	f, err := lockFile(path, syscall.LOCK_EX)
	if err != nil {
		return nil, err
	}
	now, err := m.loadAny(p.Name) // it may have gone between the first look and the lock
	if err == nil && !slices.ContainsFunc(now.Datasets, func(d *dataset) bool { return d.snapByGUID(s.GUID) != nil }) {
		err = errNotExist
	}
	release = func() {
		os.Remove(path) // if it stays, its lock says that nobody is there
		f.Close()
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// limited is the way out of a stream, at the speed and up to the point that the faults allow.
type limited struct {
	w io.Writer
	s *throttle
}

var errCut = errors.New("I/O error")

func (l *limited) Write(b []byte) (int, error) {
	n, err := l.w.Write(b[:l.s.pass(len(b))])
	if err == nil && n < len(b) {
		err = errCut
	}
	return n, err
}

// progress prints a line each second with -v; the returned function ends it.
func (c *cli) progress(out *limited, streams []sending, f flagSet) func() {
	if !f.has('v') {
		return func() {}
	}
	if !f.has('P') {
		fmt.Fprintf(c.err, "TIME        SENT   SNAPSHOT %s\n", streams[0].name())
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case now := <-tick.C:
				c.progressLine(now, out.s.passed(), streams[0].name(), f.has('P'))
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

func (c *cli) progressLine(now time.Time, sent int64, name string, parsable bool) {
	if parsable {
		fmt.Fprintf(c.err, "%s\t%d\t%s\n", now.Format("15:04:05"), sent, name)
		return
	}
	fmt.Fprintf(c.err, "%s   %5s   %s\n", now.Format("15:04:05"), nice(uint64(sent)), name)
}

// write makes the stream: every entry that was born after the source, in path order, with its blocks. dry counts only.
func (s *sending) write(st *store.Store, w *stream.Writer, dry bool) error {
	begin := stream.Begin{Features: s.features, Creation: uint64(s.snap.Creation), ToGUID: s.snap.GUID,
		FromGUID: s.fromGUID, ToName: s.name(), Object: s.object, Offset: s.offset}
	if err := w.Begin(begin); err != nil {
		return err
	}
	cur, err := st.Walk(s.snap.Tree, s.fromTxg)
	object := uint64(0)
	for ; err == nil && cur.Entry() != nil; err = cur.Next() {
		e := cur.Entry()
		if e.Birth <= s.fromTxg || e.Kind == store.Gone && s.fromTxg == 0 {
			continue
		}
		if object++; object < s.object {
			continue
		}
		if err := s.entry(st, w, e, object, dry); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	return w.End(s.snap.GUID)
}

func (s *sending) entry(st *store.Store, w *stream.Writer, e *store.Entry, object uint64, dry bool) error {
	if e.Kind == store.Gone {
		return w.Record(stream.Remove, object, 0, []byte(e.Path))
	}
	from := int64(0)
	if object == s.object {
		from = int64(s.offset)
	}
	if from == 0 {
		if err := w.Record(stream.Put, object, 0, e.EncodeMeta()); err != nil {
			return err
		}
	}
	if e.Kind != store.File {
		return nil
	}
	var buf []byte
	return st.EachBlock(e, from, func(off int64, r store.Ref) (err error) {
		switch {
		case off < from || r.Birth <= s.fromTxg || !r.Stored() && s.fromTxg == 0:
			return nil
		case !r.Stored():
			return w.Record(stream.Hole, object, uint64(off), nil)
		case dry:
			w.Skip(int(r.Len))
			return nil
		}
		if buf, err = st.Read(r, buf); err != nil {
			return err
		}
		return w.Record(stream.Data, object, uint64(off), buf)
	})
}

// resumeSend continues where a token says. All its failures end with code 255.
func (c *cli) resumeSend(f flagSet) error {
	s, err := c.planResume(f)
	if err != nil {
		c.out.Flush() // the token's contents come first; the write error shows at the end
		fmt.Fprintf(c.err, "cannot resume send: %v\n", err)
		return exit(255)
	}
	return c.runSend([]sending{*s}, f)
}

func (c *cli) planResume(f flagSet) (*sending, error) {
	t, err := stream.ParseToken(f['t'])
	if err != nil {
		return nil, err
	}
	if f.has('v') && f.has('n') {
		c.printf("%s", t.Describe())
	}
	o, err := c.resumed(t)
	if err != nil {
		return nil, err
	}
	s := &sending{p: o.p, ds: o.ds, snap: o.snap, features: tokenFeatures(t), object: t.Object, offset: t.Offset}
	if t.FromGUID == 0 {
		return s, nil
	}
	return s, c.resumeSource(s, t.FromGUID)
}

// resumed finds the snapshot that a token speaks of: by its guid, whatever its name is now.
func (c *cli) resumed(t stream.Token) (object, error) {
	o, err := c.open(t.ToName, false)
	if err == nil && o.snap != nil && o.snap.GUID == t.ToGUID {
		return o, nil
	}
	if p, lerr := c.m.load(poolOf(t.ToName)); lerr == nil {
		for _, d := range p.Datasets {
			if s := d.snapByGUID(t.ToGUID); s != nil {
				return object{p: p, ds: d, snap: s}, nil
			}
		}
	}
	if err != nil || o.snap == nil {
		return o, fmt.Errorf("'%s' used in the initial send no longer exists", t.ToName)
	}
	return o, fmt.Errorf("'%s' is no longer the same snapshot used in the initial send", t.ToName)
}

func tokenFeatures(t stream.Token) uint64 {
	feats := uint64(stream.FeatureSpill | stream.FeatureResuming)
	if t.LargeBlock {
		feats |= stream.FeatureLargeBlocks
	}
	if t.Embed {
		feats |= stream.FeatureEmbed
	}
	if t.Compress {
		feats |= stream.FeatureCompressed
	}
	return feats
}

// resumeSource finds the incremental source by guid, among snapshots and bookmarks.
func (c *cli) resumeSource(s *sending, guid uint64) error {
	for d := s.ds; d != nil; {
		if src := d.snapByGUID(guid); src != nil {
			s.fromTxg, s.fromGUID, s.fromName = src.CreateTxg, guid, d.Name+"@"+src.Name
			return nil
		}
		for _, b := range d.Marks {
			if b.GUID == guid {
				s.fromTxg, s.fromGUID, s.fromName = b.CreateTxg, guid, d.Name+"#"+b.Name
				return nil
			}
		}
		if d.Origin == nil {
			break
		}
		d = s.p.byID(d.Origin.ID)
	}
	return fmt.Errorf("incremental source 0x%x no longer exists", guid)
}
