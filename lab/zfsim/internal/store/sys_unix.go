package store

import (
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// stat is what lstat(2) says of one path.
type stat struct {
	kind         byte // 0 for what is not kept
	mode         uint32
	uid, gid     uint32
	mtime, ctime int64
	size         int64
	ino, nlink   uint64
	read         time.Time
}

func lstat(path string) (stat, error) {
	now := time.Now()
	var u unix.Stat_t
	if err := ignoringEINTR(func() error { return unix.Lstat(path, &u) }); err != nil {
		return stat{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	mtime, ctime := statTimes(&u)
	return stat{kind: kindOf(uint32(u.Mode)), mode: uint32(u.Mode) & 0o7777, uid: u.Uid, gid: u.Gid, mtime: mtime,
		ctime: ctime, size: u.Size, ino: u.Ino, nlink: uint64(u.Nlink), read: now}, nil
}

func ignoringEINTR(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func kindOf(mode uint32) byte {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return Dir
	case unix.S_IFREG:
		return File
	case unix.S_IFLNK:
		return Symlink
	}
	return 0
}

// entry makes an entry without content; nil for what is not kept.
func (st stat) entry(path string) *Entry {
	if st.kind == 0 {
		return nil
	}
	e := &Entry{Path: path, Kind: st.kind, Mode: st.mode, UID: st.uid, GID: st.gid, Mtime: st.mtime, Ino: st.ino}
	if st.kind == File {
		e.Size = st.size
	}
	if st.kind == Symlink {
		e.Mode = 0o777 // differs between systems and means nothing
	}
	if st.ctime < st.read.Add(-raceWindow).UnixNano() {
		e.Ctime = st.ctime
	}
	return e
}

// matches reports whether nothing touched the path since the entry's stat data were taken.
func (st stat) matches(e *Entry) bool {
	if e.Kind == HardLink {
		return st.kind == File && st.ino == e.Ino && st.ctime == e.Ctime
	}
	return st.kind == e.Kind && st.ino == e.Ino && st.ctime == e.Ctime && st.mtime == e.Mtime &&
		(st.kind != File || st.size == e.Size)
}

// readXattrs returns the user attributes of a file, sorted by name; none where the file system has none.
func readXattrs(path string) ([]Xattr, error) {
	names := make([]byte, 1024)
	n, err := unix.Listxattr(path, names)
	if errors.Is(err, unix.ERANGE) {
		names = make([]byte, 64<<10)
		n, err = unix.Listxattr(path, names)
	}
	if errors.Is(err, unix.ENOTSUP) || n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "listxattr", Path: path, Err: err}
	}
	var xs []Xattr
	for name := range strings.SplitSeq(strings.TrimRight(string(names[:n]), "\x00"), "\x00") {
		if v, ok := readXattr(path, name); ok {
			xs = append(xs, Xattr{name, v})
		}
	}
	slices.SortFunc(xs, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return xs, nil
}

func readXattr(path, name string) (string, bool) {
	if !keptXattr(name) {
		return "", false
	}
	buf := make([]byte, 64<<10)
	n, err := unix.Getxattr(path, name, buf)
	if err != nil {
		return "", false // removed since it was listed
	}
	return string(buf[:n]), true
}

// dataFinder tells holes of sparse files without reading them.
type dataFinder struct {
	f          *os.File
	size       int64
	start, end int64 // a known run of data; start may lie beyond a hole
	off        bool  // the file system cannot tell
}

// hole reports whether [off, off+n) has no data. Offsets must ascend.
func (d *dataFinder) hole(off, n int64) bool {
	if d.off || d.size < 2*BlockSize {
		return false
	}
	if off >= d.end {
		d.find(off)
	}
	return !d.off && off+n <= d.start
}

func (d *dataFinder) find(off int64) {
	start, err := unix.Seek(int(d.f.Fd()), off, seekData)
	if errors.Is(err, unix.ENXIO) {
		d.start, d.end = d.size+BlockSize, d.size+BlockSize
		return
	}
	end := start
	if err == nil {
		end, err = unix.Seek(int(d.f.Fd()), start, seekHole)
	}
	if err != nil {
		d.off = true
		return
	}
	d.start, d.end = start, end
}
