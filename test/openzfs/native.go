package openzfs

import "os"

// Native says that tests are to use this machine's own OpenZFS.
func Native() bool { return os.Getenv("DROVER_TEST_ZFS") == "native" }
