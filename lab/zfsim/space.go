package zfsim

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/drover-project/drover/lab/zfsim/internal/store"
)

const (
	fsOverhead = 24064 // an empty file system refers to 24 KiB, 512 of which are its root's entry
	// unborn is the birth of blocks that a dry scan found in a head: later than every snapshot.
	unborn = 1 << 62
	// poolOverhead is what a pool takes beside its datasets, bytes.
	poolOverhead = 100 << 10
	// scanAge is how old a head's figures may get, as OpenZFS writes out within 5 s.
	scanAge = 5 * time.Second
)

// scanInfo is what a head held when it was last looked at.
type scanInfo struct {
	Base    store.Ref // the tree that it was compared with
	Hist    store.Hist
	Changed bool
	At      time.Time
	Took    time.Duration
}

func (m *machine) scanPath(p *pool, d *dataset) string {
	return m.path("scans", p.Name, strconv.FormatUint(d.ID, 10))
}

// fresh returns what is known of a head: nil if it was not looked at since its tree was made.
func (m *machine) fresh(p *pool, d *dataset) *scanInfo {
	b, err := os.ReadFile(m.scanPath(p, d))
	if err != nil {
		return nil
	}
	info := &scanInfo{}
	if json.Unmarshal(b, info) != nil || info.Base != d.Tree {
		return nil
	}
	return info
}

// rescan looks at a head now. It stores nothing but the figures.
func (m *machine) rescan(p *pool, s *store.Store, d *dataset) (*scanInfo, error) {
	if d.Recv != nil && d.Recv.New {
		return &scanInfo{Base: d.Tree, Hist: d.Hist}, nil
	}
	begin := time.Now()
	res, err := s.Scan(m.scanOptions(p, d, unborn, nil))
	if err != nil {
		return nil, err
	}
	info := &scanInfo{Base: d.Tree, Hist: res.Hist, Changed: res.Changed, At: begin, Took: time.Since(begin)}
	return info, m.saveScan(p, d, info)
}

func (m *machine) saveScan(p *pool, d *dataset, info *scanInfo) error {
	b, err := json.Marshal(info)
	if err != nil {
		return err
	}
	path := m.scanPath(p, d)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return replaceFile(path, b)
}

func (m *machine) scanOptions(p *pool, d *dataset, txg uint64, pack *store.Pack) store.ScanOptions {
	heads := m.path("heads") + string(filepath.Separator)
	o := store.ScanOptions{Head: m.head(p, d), Prev: d.Tree, Hist: d.Hist, Txg: txg, Keep: p.keepTxg(d), Pack: pack,
		Mounted: func(target string) bool { return len(target) > len(heads) && target[:len(heads)] == heads }}
	if pack != nil && d.Mounted != "" { // a dry scan keeps no stat data, and what is mapped cannot be unmounted
		o.Mapped = mappedForWriting(o.Head)
	}
	return o
}

// refresh looks at the heads whose figures are older than age, or, where looking takes long, than twenty times as
// long.
func (m *machine) refresh(p *pool, age time.Duration) error {
	s := m.store(p)
	defer s.Close()
	for _, d := range p.Datasets {
		info := m.fresh(p, d)
		if info != nil && time.Since(info.At) < max(age, 20*info.Took) {
			continue
		}
		if _, err := m.rescan(p, s, d); err != nil {
			return err
		}
	}
	return nil
}

// space computes the figures of a pool's datasets.
type space struct {
	p     *pool
	hists map[*dataset]store.Hist
	used  map[*dataset]uint64
}

func (m *machine) space(p *pool) *space {
	sp := &space{p: p, hists: map[*dataset]store.Hist{}, used: map[*dataset]uint64{}}
	for _, d := range p.Datasets {
		sp.hists[d] = d.Hist
		if info := m.fresh(p, d); info != nil {
			sp.hists[d] = info.Hist
		}
		if d.Recv != nil {
			sp.used[d] = m.partialBytes(p, d)
		}
	}
	return sp
}

func (sp *space) referenced(d *dataset) uint64 {
	n := sp.hists[d].Total()
	if d.Recv != nil && d.Recv.New {
		n += sp.used[d]
	}
	return n
}

// next is the histogram of what follows snapshot i: the next snapshot, or the head.
func (sp *space) next(d *dataset, i int) store.Hist {
	if i+1 < len(d.Snaps) {
		return d.Snaps[i+1].Hist
	}
	return sp.hists[d]
}

func (sp *space) prevTxg(d *dataset, i int) uint64 {
	if i == 0 {
		return sp.p.originTxg(d)
	}
	return d.Snaps[i-1].CreateTxg
}

// unique is what destroying the snapshot would free.
func (sp *space) unique(d *dataset, i int) uint64 {
	s := d.Snaps[i]
	return s.Hist.Gone(sp.next(d, i), sp.prevTxg(d, i), s.CreateTxg)
}

// bySnapshots is what destroying all snapshots would free.
func (sp *space) bySnapshots(d *dataset) uint64 {
	var n uint64
	for i, s := range d.Snaps {
		n += s.Hist.Gone(sp.next(d, i), sp.p.originTxg(d), s.CreateTxg)
	}
	return n
}

func (sp *space) byDataset(d *dataset) uint64 {
	return sp.hists[d].Since(sp.p.originTxg(d)) + sp.used[d]
}

func (sp *space) byRefreservation(d *dataset) uint64 {
	// What a snapshot holds too counts for nothing: it may have to be written anew.
	want, have := number(d.Props["refreservation"]), sp.hists[d].Since(sp.p.lastTxg(d))
	return want - min(want, have)
}

func (sp *space) byChildren(d *dataset) uint64 {
	var n uint64
	for _, c := range sp.p.children(d) {
		n += max(sp.usedBy(c), number(c.Props["reservation"]))
	}
	return n
}

func (sp *space) usedBy(d *dataset) uint64 {
	return sp.byDataset(d) + sp.bySnapshots(d) + sp.byChildren(d) + sp.byRefreservation(d)
}

// allocated is what the pool's datasets take together.
func (sp *space) allocated() uint64 {
	return sp.usedBy(sp.p.Datasets[0]) + poolOverhead
}

// capacity is what datasets may use: OpenZFS keeps a part back.
func (p *pool) capacity() uint64 { return p.Size - slop(p.Size) }

func slop(size uint64) uint64 { return max(size/32, min(size/2, 128<<20)) }

func minus(a, b uint64) uint64 { return a - min(a, b) }

// available is what may still be written into the dataset.
func (sp *space) available(d *dataset) uint64 {
	room := minus(sp.p.capacity(), sp.allocated())
	for x := d; x != nil; x = sp.p.parent(x) {
		if q := number(x.Props["quota"]); q > 0 {
			room = min(room, minus(q, sp.usedBy(x)))
		}
	}
	if q := number(d.Props["refquota"]); q > 0 {
		room = min(room, minus(q, sp.referenced(d)))
	}
	return room
}

// quotaBound reports whether it is a quota, not the pool, that limits the dataset.
func (sp *space) quotaBound(d *dataset) bool {
	return sp.available(d) < minus(sp.p.capacity(), sp.allocated())
}

func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0 // unset, or "none"
	}
	return n
}

// vdevSize is the size of a pool on a file of so many bytes: labels go off, and the rest is cut into whole metaslabs.
func vdevSize(file uint64) uint64 {
	usable := minus(file, 9<<19)
	slab := uint64(16 << 20)
	for slab*2 <= usable/16 && slab < 512<<20 {
		slab *= 2
	}
	if usable < 16<<20 {
		slab = 1 << 20
	}
	return usable / slab * slab
}
