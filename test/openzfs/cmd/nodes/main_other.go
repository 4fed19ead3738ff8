//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "nodes with OpenZFS run under User-mode Linux, which needs Linux on x86-64")
	os.Exit(3)
}
