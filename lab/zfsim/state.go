package zfsim

import (
	"slices"
	"strings"

	"github.com/drover-project/drover/lab/zfsim/internal/store"
)

// pool is everything that is durable about one pool.
type pool struct {
	Name     string
	GUID     uint64
	Vdev     string // the file that stands for the disk
	Size     uint64 // bytes, as zpool list shows it
	Txg      uint64 // last transaction group that was given out
	NextID   uint64
	Created  int64
	Exported bool              `json:",omitempty"`
	ReadOnly bool              `json:",omitempty"`
	Props    map[string]string `json:",omitempty"`
	Datasets []*dataset        // sorted by name
	Pending  []op              `json:",omitempty"` // what must follow outside this file
	Garbage  bool              `json:",omitempty"` // blocks were freed since the last collection
}

type dataset struct {
	Name      string
	ID        uint64
	GUID      uint64
	CreateTxg uint64
	Creation  int64
	Props     map[string]string `json:",omitempty"` // local values
	Origin    *origin           `json:",omitempty"`
	Snaps     []*snapshot       `json:",omitempty"` // by CreateTxg
	Marks     []*bookmark       `json:",omitempty"`
	Tree      store.Ref         // the head as it was last known
	Hist      store.Hist        // of Tree
	Mounted   string            `json:",omitempty"` // the mountpoint in use
	MountedRO bool              `json:",omitempty"` // mounted with -o ro
	Recv      *recvState        `json:",omitempty"`
	Large     bool              `json:",omitempty"` // was received with -L
}

type origin struct{ ID, GUID uint64 }

type snapshot struct {
	Name      string // without dataset
	GUID      uint64
	CreateTxg uint64
	Creation  int64
	Props     map[string]string `json:",omitempty"`
	Holds     map[string]int64  `json:",omitempty"` // tag -> time
	Defer     bool              `json:",omitempty"`
	Tree      store.Ref
	Hist      store.Hist
}

type bookmark struct {
	Name       string
	GUID       uint64
	CreateTxg  uint64
	Creation   int64
	Referenced uint64
}

// recvState is a receive that runs or was interrupted.
type recvState struct {
	Txg       uint64 // birth of its blocks
	New       bool   `json:",omitempty"` // the dataset exists only for it
	Resumable bool   `json:",omitempty"`
	ToGUID    uint64
	FromGUID  uint64 `json:",omitempty"`
	ToName    string
	Features  uint64
	Creation  int64
}

func (p *pool) find(name string) *dataset {
	i, ok := slices.BinarySearchFunc(p.Datasets, name, func(d *dataset, n string) int { return strings.Compare(d.Name, n) })
	if !ok {
		return nil
	}
	return p.Datasets[i]
}

func (p *pool) byID(id uint64) *dataset {
	for _, d := range p.Datasets {
		if d.ID == id {
			return d
		}
	}
	return nil
}

func (p *pool) add(d *dataset) {
	p.Datasets = append(p.Datasets, d)
	p.sort()
}

func (p *pool) sort() {
	slices.SortFunc(p.Datasets, func(a, b *dataset) int { return strings.Compare(a.Name, b.Name) })
}

func (p *pool) remove(d *dataset) {
	p.Datasets = slices.DeleteFunc(p.Datasets, func(x *dataset) bool { return x == d })
}

// tree returns the dataset and all below it, parents first.
func (p *pool) tree(d *dataset) []*dataset {
	var ds []*dataset
	for _, x := range p.Datasets {
		if x == d || strings.HasPrefix(x.Name, d.Name+"/") {
			ds = append(ds, x)
		}
	}
	return ds
}

func (p *pool) children(d *dataset) []*dataset {
	var ds []*dataset
	for _, x := range p.Datasets {
		if parentName(x.Name) == d.Name {
			ds = append(ds, x)
		}
	}
	return ds
}

func (p *pool) parent(d *dataset) *dataset { return p.find(parentName(d.Name)) }

func parentName(name string) string {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return ""
	}
	return name[:i]
}

// clones returns the datasets whose origin is the snapshot.
func (p *pool) clones(d *dataset, s *snapshot) []*dataset {
	var cs []*dataset
	for _, x := range p.Datasets {
		if x.Origin != nil && x.Origin.ID == d.ID && x.Origin.GUID == s.GUID {
			cs = append(cs, x)
		}
	}
	return cs
}

func (d *dataset) snap(name string) *snapshot {
	for _, s := range d.Snaps {
		if s.Name == name {
			return s
		}
	}
	return nil
}

func (d *dataset) snapByGUID(guid uint64) *snapshot {
	for _, s := range d.Snaps {
		if s.GUID == guid {
			return s
		}
	}
	return nil
}

func (d *dataset) mark(name string) *bookmark {
	for _, b := range d.Marks {
		if b.Name == name {
			return b
		}
	}
	return nil
}

func (d *dataset) last() *snapshot {
	if len(d.Snaps) == 0 {
		return nil
	}
	return d.Snaps[len(d.Snaps)-1]
}

// lastTxg is the txg of the newest snapshot, 0 without one.
func (p *pool) lastTxg(d *dataset) uint64 {
	if s := d.last(); s != nil {
		return s.CreateTxg
	}
	return p.originTxg(d)
}

func (p *pool) originTxg(d *dataset) uint64 {
	if o := p.originSnap(d); o.snap != nil {
		return o.snap.CreateTxg
	}
	return 0
}

// originSnap is the snapshot that the dataset is a clone of; the zero object if it is none.
func (p *pool) originSnap(d *dataset) object {
	if d.Origin == nil {
		return object{}
	}
	if o := p.byID(d.Origin.ID); o != nil {
		if s := o.snapByGUID(d.Origin.GUID); s != nil {
			return object{p: p, ds: o, snap: s}
		}
	}
	return object{}
}

// keepTxg is the oldest point that an increment of the dataset may start from.
func (p *pool) keepTxg(d *dataset) uint64 {
	keep := ^uint64(0)
	for _, s := range d.Snaps {
		keep = min(keep, s.CreateTxg)
	}
	for _, b := range d.Marks {
		keep = min(keep, b.CreateTxg)
	}
	if o := p.originTxg(d); o > 0 {
		keep = min(keep, o)
	}
	return keep
}

// originName is the full name of the snapshot that the dataset is a clone of, "" for none.
func (p *pool) originName(d *dataset) string {
	if o := p.originSnap(d); o.snap != nil {
		return o.name()
	}
	return ""
}

// roots returns all trees that hold blocks.
func (p *pool) roots() []store.Ref {
	var rs []store.Ref
	for _, d := range p.Datasets {
		rs = append(rs, d.Tree)
		for _, s := range d.Snaps {
			rs = append(rs, s.Tree)
		}
	}
	for _, o := range p.Pending {
		rs = append(rs, o.From, o.To)
	}
	return rs
}
