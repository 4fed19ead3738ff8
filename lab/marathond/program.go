package marathond

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// findProgram looks a task's program up on the task's own PATH, relative names in its sandbox.
func findProgram(l launchFile) (string, error) {
	name := l.Argv[0]
	if filepath.IsAbs(name) {
		return name, nil
	}
	if strings.Contains(name, "/") {
		return filepath.Join(l.Dir, name), nil
	}
	for _, kv := range l.Env {
		list, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(list) {
			path := filepath.Join(dir, name)
			if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("program %q is not on the task's PATH", name)
}
