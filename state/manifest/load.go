package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/drover-project/drover/state"
)

// File is one manifest file's name, as mistakes cite it, and its content.
type File struct {
	Name string
	Data []byte
}

// Load reads the given files and folders as one set. Of a folder it reads the files that [IsManifest] accepts, not those
// in its subfolders; symbolic links are followed, so a mounted Kubernetes ConfigMap is read once. A file that is reached
// twice under one path counts once.
//
// The error is a *multierror.Error of [Problem], and then the Desired is empty.
func Load(paths ...string) (state.Desired, error) {
	var s set
	var files []File
	for _, path := range s.expand(paths) {
		data, err := os.ReadFile(path)
		if err != nil {
			s.unreadable(path, err)
			continue
		}
		files = append(files, File{Name: path, Data: data})
	}
	return s.parse(files)
}

// IsManifest reports whether a file of this name in a folder is read as a manifest: *.yaml, *.yml and *.json, but no hidden
// file, no editor's backup, and no JSON Schema (*.schema.json).
func IsManifest(name string) bool {
	name = filepath.Base(name)
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") || strings.HasSuffix(name, ".schema.json") {
		return false
	}
	return slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name))
}

// expand replaces folders by their manifests and drops repetitions.
func (s *set) expand(paths []string) []string {
	var out []string
	for _, path := range paths {
		path = filepath.Clean(path)
		info, err := os.Stat(path)
		switch {
		case err != nil:
			s.unreadable(path, err)
		case info.IsDir():
			out = append(out, s.folder(path)...)
		default:
			out = append(out, path)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (s *set) folder(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.unreadable(dir, err)
		return nil
	}
	var out []string
	for _, e := range entries {
		if IsManifest(e.Name()) {
			out = append(out, s.regular(filepath.Join(dir, e.Name()))...)
		}
	}
	if len(out) == 0 && !s.partial {
		s.add(Problem{File: dir, Message: "no manifest here: want files *.yaml, *.yml or *.json (subfolders are not read)"})
	}
	return out
}

// regular returns the file of a folder, or nothing if it is a folder itself. A pipe would hold up the reader for ever.
func (s *set) regular(path string) []string {
	info, err := os.Stat(path) // follows links
	switch {
	case err != nil:
		s.unreadable(path, err)
	case info.Mode().IsRegular():
		return []string{path}
	case !info.IsDir():
		s.unreadable(path, errors.New("not a regular file"))
	}
	return nil
}

func (s *set) unreadable(path string, err error) {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	s.unread(Problem{File: path, Message: fmt.Sprintf("cannot be read: %v", err)})
}
