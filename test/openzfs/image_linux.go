package openzfs

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// DefaultRelease is the line of OpenZFS that nodes have unless another is asked for.
const DefaultRelease = "2.3"

var images sync.Map // of func() (string, error), by release

// image returns the folder of what nodes of a release are made of. The error is a sentence for a person.
func image(release string) (string, error) {
	found, _ := images.LoadOrStore(release, sync.OnceValues(func() (string, error) { return findImage(release) }))
	return found.(func() (string, error))()
}

func findImage(release string) (string, error) {
	cmd := exec.Command(filepath.Join(Root(), "hack", "openzfs", "build.sh"), "--find", release) //nolint:noctx // it only looks
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", errors.New(strings.TrimSpace(fmt.Sprintf("%s (%v)", strings.TrimSpace(said.String()), err)))
	}
	return strings.TrimSpace(string(out)), nil
}

// Root is the folder of this repository, where the tests were compiled.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}
