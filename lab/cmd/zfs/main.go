// Command zfs is the lab's stand-in for the zfs and zpool commands of OpenZFS; it is zpool when it is called by that
// name. See package zfsim.
package main

import (
	"os"

	"github.com/drover-project/drover/lab/zfsim"
)

func main() {
	os.Exit(zfsim.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
