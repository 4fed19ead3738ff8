package register

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The points of a write and of a removal, at which tests let the process die.
const (
	pointCreated = "created"
	pointWritten = "written"
	pointSynced  = "synced"
	pointRenamed = "renamed"
	pointRemoved = "removed"
	pointDone    = "done"
)

// An entry's file is one line with its format, version and the digest of its data, then the data. So nothing that a broken
// disk or a person's editor leaves there is taken for an entry.
const header = "drover-entry 1 version %d sha256 %x\n"

func encode(e Entry) []byte {
	return append(fmt.Appendf(nil, header, e.Version, sha256.Sum256(e.Data)), e.Data...)
}

func decode(b []byte) (Entry, error) {
	var e Entry
	var sum []byte
	line, data, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return e, errors.New("it has no header")
	}
	if _, err := fmt.Sscanf(string(line)+"\n", header, &e.Version, &sum); err != nil || e.Version < 1 {
		return e, fmt.Errorf("its header %.80q is not understood", line)
	}
	e.Data = data
	if !bytes.Equal(encode(e), b) {
		return Entry{}, errors.New("its digest does not match")
	}
	return e, nil
}

// read reads an entry. ErrNotFound only if there is no such file.
func (f *File) read(name string) (Entry, error) {
	b, err := os.ReadFile(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{}, ErrNotFound
	}
	if err != nil {
		return Entry{}, err
	}
	e, err := decode(b)
	if err != nil {
		return Entry{}, fmt.Errorf("%w: %s: %w; restore the file from a backup, do not delete it", ErrDamaged, f.path(name), err)
	}
	return e, nil
}

// write replaces a file: whoever dies on the way leaves the old or the new content, and once it returns the new one
// survives a power cut. The caller has the exclusive lock.
func (f *File) write(name string, content []byte) error {
	if err := f.folder(filepath.Dir(name)); err != nil {
		return err
	}
	file, err := os.OpenFile(f.path(newFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	f.at(pointCreated)
	_, err = file.Write(content)
	f.at(pointWritten)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	f.at(pointSynced)
	if err := os.Rename(f.path(newFile), f.path(name)); err != nil {
		return err
	}
	f.at(pointRenamed)
	if err := syncFolder(f.path(filepath.Dir(name))); err != nil {
		return err
	}
	f.at(pointDone)
	return nil
}

func (f *File) remove(name string) error {
	if err := os.Remove(f.path(name)); err != nil {
		return err
	}
	f.at(pointRemoved)
	if err := syncFolder(f.path(filepath.Dir(name))); err != nil {
		return err
	}
	f.at(pointDone)
	return nil
}

// folder makes the folder of a kind. Its own entry is synced each time: whoever made it may have died before that.
func (f *File) folder(name string) error {
	if name == "." {
		return nil
	}
	if err := os.MkdirAll(f.path(name), 0o755); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(f.path(name)))
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
