package store

import (
	"fmt"
	"slices"
	"strings"
)

// Kinds of entries.
const (
	Dir      = 'd'
	File     = 'f'
	Symlink  = 'l'
	HardLink = 'h' // another name of the file at Target, which comes earlier in the order
	Gone     = 'x' // there was something at this path; kept so that increments can tell
)

// Entry is one path of a tree.
type Entry struct {
	Path     string // relative to the head; "" is the head itself
	Kind     byte
	Mode     uint32 // permission bits and setuid, setgid, sticky as in stat(2)
	UID, GID uint32
	Mtime    int64  // nanoseconds
	Size     int64  // bytes, of files
	Target   string // of symbolic and hard links
	Xattrs   []Xattr
	Birth    uint64 // txg in which anything of the above or of the blocks last changed

	Blocks []Ref // of files with few blocks
	Index  []Ref // of larger files: objects that hold indexSpan references each

	// What stat(2) said when the content was last known to be this. Ctime 0: not known. Never sent.
	Ino   uint64
	Ctime int64 // nanoseconds
}

// Xattr is one extended attribute.
type Xattr struct{ Name, Value string }

const (
	inlineBlocks = 8
	indexSpan    = 1024
	entryCost    = sector // what an entry counts for in space, bytes
)

// equal reports whether two entries are the same to a reader of the tree: stat data and births aside.
func (e *Entry) equal(o *Entry) bool {
	return e.sameMeta(o) && sameRefs(e.Blocks, o.Blocks) && sameRefs(e.Index, o.Index)
}

func (e *Entry) sameMeta(o *Entry) bool {
	return e.Kind == o.Kind && e.Mode == o.Mode && e.UID == o.UID && e.GID == o.GID && e.Mtime == o.Mtime &&
		e.Size == o.Size && e.Target == o.Target && slices.Equal(e.Xattrs, o.Xattrs)
}

func sameRefs(a, b []Ref) bool { return slices.Equal(a, b) }

// EncodeMeta returns what travels in a stream: all but references and stat data.
func (e *Entry) EncodeMeta() []byte {
	var enc encoder
	e.meta(&enc)
	return enc.b
}

func (e *Entry) meta(enc *encoder) {
	enc.string(e.Path)
	enc.uint(uint64(e.Kind))
	enc.uint(uint64(e.Mode))
	enc.uint(uint64(e.UID))
	enc.uint(uint64(e.GID))
	enc.int(e.Mtime)
	enc.int(e.Size)
	enc.string(e.Target)
	enc.uint(uint64(len(e.Xattrs)))
	for _, x := range e.Xattrs {
		enc.string(x.Name)
		enc.string(x.Value)
	}
}

// DecodeMeta reads what EncodeMeta wrote. It refuses paths that lead out of the head.
func DecodeMeta(b []byte) (*Entry, error) {
	d := &decoder{b: b}
	e := decodeMeta(d)
	if d.err != nil || len(d.b) > 0 {
		return nil, fmt.Errorf("entry: %w", errCorrupt)
	}
	return e, e.check()
}

func decodeMeta(d *decoder) *Entry {
	e := &Entry{Path: d.string(), Kind: byte(d.uint()), Mode: uint32(d.uint()), UID: uint32(d.uint()),
		GID: uint32(d.uint()), Mtime: d.int(), Size: d.int(), Target: d.string()}
	for range d.count(2) {
		e.Xattrs = append(e.Xattrs, Xattr{d.string(), d.string()})
	}
	return e
}

func (e *Entry) check() error {
	if !strings.ContainsRune("dflhx", rune(e.Kind)) || e.Size < 0 || !insidePath(e.Path) {
		return fmt.Errorf("entry %q: %w", e.Path, errCorrupt)
	}
	if e.Kind == HardLink && (e.Target == "" || !insidePath(e.Target)) {
		return fmt.Errorf("entry %q: link target: %w", e.Path, errCorrupt)
	}
	return nil
}

// insidePath accepts relative slash paths without empty, "." or ".." parts.
func insidePath(p string) bool {
	if p == "" {
		return true
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsRune(part, 0) {
			return false
		}
	}
	return true
}

func (e *Entry) encode(enc *encoder) {
	e.meta(enc)
	enc.uint(e.Birth)
	enc.refs(e.Blocks)
	enc.refs(e.Index)
	enc.uint(e.Ino)
	enc.int(e.Ctime)
}

func decodeEntry(d *decoder) *Entry {
	e := decodeMeta(d)
	e.Birth, e.Blocks, e.Index, e.Ino, e.Ctime = d.uint(), d.refs(), d.refs(), d.uint(), d.int()
	return e
}

// comparePaths orders paths as a depth-first walk with sorted names meets them.
func comparePaths(a, b string) int {
	for i := range min(len(a), len(b)) {
		if x, y := rank(a[i]), rank(b[i]); x != y {
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

func rank(c byte) byte {
	if c == '/' {
		return 0
	}
	return c
}

// blockCount is the number of blocks that a file of this size has.
func blockCount(size int64) int { return int((size + BlockSize - 1) / BlockSize) }
