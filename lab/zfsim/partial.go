package zfsim

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/drover-project/drover/lab/zfsim/internal/store"
	"github.com/drover-project/drover/lab/zfsim/internal/stream"
)

// partial is what has come in of a stream: blocks in a pack, everything else in a journal, and a small file that says
// how far both are good. Killed at any instant, it can be gone on with from the last such point.
type partial struct {
	dir     string
	lock    *os.File
	pack    *store.Pack
	journal *os.File
	w       *bufio.Writer
	jw      *stream.Writer
	at      progress
	since   int64  // stream bytes since the last checkpoint
	before  uint64 // stream bytes of earlier attempts
	mark    *os.File
}

// progress is a point up to which everything has come in and is stored.
type progress struct {
	Object, Offset uint64 // the next record wanted
	Bytes          uint64 // of the stream
	Journal, Pack  uint64 // good lengths
	Held           uint64 // room that a receive keeps which found too little
}

const progressSize = 52

func (p progress) encode() []byte {
	b := make([]byte, 0, progressSize)
	for _, v := range []uint64{p.Object, p.Offset, p.Bytes, p.Journal, p.Pack, p.Held} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

func decodeProgress(b []byte) (progress, error) {
	if len(b) != progressSize || crc32.ChecksumIEEE(b[:48]) != binary.LittleEndian.Uint32(b[48:]) {
		return progress{}, errors.New("progress of a receive is damaged")
	}
	u := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	return progress{u(0), u(1), u(2), u(3), u(4), u(5)}, nil
}

func (m *machine) recvDir(p *pool, d *dataset) string {
	return m.path("recv", p.Name, fmt.Sprint(d.ID))
}

// receiving reports whether a process is receiving into the dataset now.
func (m *machine) receiving(p *pool, d *dataset) bool {
	f, err := os.OpenFile(filepath.Join(m.recvDir(p, d), "lock"), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close() // closing unlocks
	return flock(f, syscall.LOCK_EX|syscall.LOCK_NB) != nil
}

// hasDeadReceive reports whether a receive died that cannot be resumed.
func (m *machine) hasDeadReceive(p *pool) bool {
	for _, d := range p.Datasets {
		if d.Recv != nil && !d.Recv.Resumable && !m.receiving(p, d) {
			return true
		}
	}
	return false
}

// progressOf returns how far an interrupted or running receive is.
func (m *machine) progressOf(p *pool, d *dataset) progress {
	b, err := os.ReadFile(filepath.Join(m.recvDir(p, d), "progress"))
	if err != nil {
		return progress{Object: 1}
	}
	at, err := decodeProgress(b)
	if err != nil {
		return progress{Object: 1}
	}
	return at
}

// partialBytes is the room that a receive takes. One that found too little keeps all it found, as with OpenZFS.
func (m *machine) partialBytes(p *pool, d *dataset) uint64 {
	at := m.progressOf(p, d)
	return max(at.Pack, at.Held)
}

// token is the resume token of a dataset.
func (m *machine) token(p *pool, d *dataset) string {
	at, r := m.progressOf(p, d), d.Recv
	return stream.Token{Object: at.Object, Offset: at.Offset, Bytes: at.Bytes, ToGUID: r.ToGUID, FromGUID: r.FromGUID,
		ToName: r.ToName, LargeBlock: r.Features&stream.FeatureLargeBlocks != 0, Embed: r.Features&stream.FeatureEmbed != 0,
		Compress: r.Features&stream.FeatureCompressed != 0}.String()
}

// openPartial starts to store a stream, or goes on where it was cut.
func (m *machine) openPartial(p *pool, d *dataset, resume bool) (*partial, error) {
	pt := &partial{dir: m.recvDir(p, d), at: progress{Object: 1}}
	if !resume {
		if err := os.RemoveAll(pt.dir); err != nil {
			return nil, err
		}
	} else {
		pt.at = m.progressOf(p, d)
		pt.before = pt.at.Bytes
	}
	if err := os.MkdirAll(pt.dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if pt.lock, err = lockFile(filepath.Join(pt.dir, "lock"), syscall.LOCK_EX); err != nil {
		return nil, err
	}
	if pt.pack, err = m.store(p).Create(d.Recv.Txg, int64(pt.at.Pack)); err != nil {
		return nil, err
	}
	if pt.mark, err = os.OpenFile(filepath.Join(pt.dir, "progress"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	pt.at.Held = 0
	return pt, pt.openJournal()
}

func (pt *partial) openJournal() (err error) {
	if pt.journal, err = os.OpenFile(filepath.Join(pt.dir, "journal"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if err := pt.journal.Truncate(int64(pt.at.Journal)); err != nil {
		return err
	}
	if _, err := pt.journal.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	pt.w = bufio.NewWriterSize(pt.journal, 64<<10)
	pt.jw = stream.NewWriter(pt.w)
	pt.jw.Sent = int64(pt.at.Journal)
	return pt.checkpoint()
}

// add stores one record. read is how much of the stream was read so far.
func (pt *partial) add(rec stream.Record, read int64) error {
	payload := rec.Payload
	if rec.Kind == stream.Data {
		ref, err := pt.pack.Put(rec.Payload)
		if err != nil {
			return err
		}
		if payload, err = json.Marshal(ref); err != nil {
			return err
		}
	}
	if err := pt.jw.Record(rec.Kind, rec.Object, rec.Offset, payload); err != nil {
		return err
	}
	pt.advance(rec)
	pt.at.Bytes = pt.before + uint64(read)
	if pt.since += int64(len(rec.Payload)) + 32; pt.since < 1<<20 {
		return nil
	}
	return pt.checkpoint()
}

// advance moves to the record that is wanted after rec.
func (pt *partial) advance(rec stream.Record) {
	switch rec.Kind {
	case stream.Put:
		pt.at.Object, pt.at.Offset = rec.Object, 0
	case stream.Data, stream.Hole:
		pt.at.Object, pt.at.Offset = rec.Object, rec.Offset+store.BlockSize
	case stream.Remove:
		pt.at.Object, pt.at.Offset = rec.Object+1, 0
	}
}

// checkpoint makes everything so far survive the death of this process.
func (pt *partial) checkpoint() error {
	pt.since = 0
	if err := pt.pack.Flush(); err != nil {
		return err
	}
	if err := pt.w.Flush(); err != nil {
		return err
	}
	pt.at.Journal, pt.at.Pack = uint64(pt.jw.Sent), uint64(pt.pack.Size())
	_, err := pt.mark.WriteAt(pt.at.encode(), 0)
	return err
}

// close gives the files free; the caller has made a checkpoint, or drops it all.
func (pt *partial) close() {
	pt.pack.Close() // flushed by the checkpoint
	pt.journal.Close()
	pt.mark.Close()
	pt.lock.Close()
}

// merge builds the tree that base becomes with what came in.
func (pt *partial) merge(st *store.Store, base store.Ref, hist store.Hist, keep uint64) (store.Ref, store.Hist, error) {
	j, err := os.Open(filepath.Join(pt.dir, "journal"))
	if err != nil {
		return store.Ref{}, nil, err
	}
	defer j.Close() // only read
	mg, err := st.NewMerge(pt.pack, base, hist, keep)
	if err != nil {
		return store.Ref{}, nil, err
	}
	if err := replay(j, int64(pt.at.Journal), mg); err != nil {
		return store.Ref{}, nil, err
	}
	root, h, err := mg.Close()
	return root, h, first(err, pt.pack.Flush)
}

func first(err error, then func() error) error {
	if err != nil {
		return err
	}
	return then()
}

func replay(j io.Reader, size int64, mg *store.Merge) error {
	r := stream.NewReader(bufio.NewReaderSize(io.LimitReader(j, size), 256<<10))
	last := uint64(0)
	for r.Read < size {
		rec, err := r.Next()
		if err != nil {
			return fmt.Errorf("journal of the receive: %w", err)
		}
		if rec.Kind == stream.Put && rec.Object == last {
			continue // sent again after a resume
		}
		last = rec.Object
		if err := replayRecord(rec, mg); err != nil {
			return err
		}
	}
	return nil
}

func replayRecord(rec stream.Record, mg *store.Merge) error {
	switch rec.Kind {
	case stream.Put:
		e, err := store.DecodeMeta(rec.Payload)
		if err != nil {
			return err
		}
		return mg.Put(e)
	case stream.Data:
		var ref store.Ref
		if err := json.Unmarshal(rec.Payload, &ref); err != nil {
			return err
		}
		return mg.Block(int64(rec.Offset), ref)
	case stream.Hole:
		return mg.Block(int64(rec.Offset), store.Ref{})
	}
	return mg.Remove(string(rec.Payload))
}

func (c *cli) abortReceive(name string) error {
	if _, err := c.open(name, false); err != nil {
		return usageError(err.Error())
	}
	return c.update(poolOf(name), func(tx *txn) error {
		d := tx.p.find(name)
		switch {
		case d == nil || d.Recv == nil || !d.Recv.Resumable && !tx.m.receiving(tx.p, d):
			return fmt.Errorf("'%s' does not have any resumable receive state to abort", name)
		case tx.m.receiving(tx.p, d) && d.Recv.New:
			return fmt.Errorf("cannot destroy '%s': %w", name, errBusy)
		case tx.m.receiving(tx.p, d):
			return fmt.Errorf("cannot destroy '%s/%%recv': %w", name, errBusy)
		}
		tx.p.dropReceive(d)
		return nil
	})
}

// dropReceive forgets a receive, and the dataset if it existed only for it.
func (p *pool) dropReceive(d *dataset) {
	p.then(op{Do: opNoRecv, ID: d.ID})
	p.then(op{Do: opNoPack, Txg: d.Recv.Txg})
	if d.Recv.New {
		p.remove(d)
		p.then(op{Do: opNoHead, ID: d.ID})
	}
	d.Recv = nil
}
