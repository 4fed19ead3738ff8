//go:build linux

// Command xattr sets and prints extended attributes of files in a node, for tests: the tools of the nodes cannot print them.
//
//	xattr set FILE NAME VALUE
//	xattr list FOLDER         # path, name and value of each below it
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "xattr:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 4 && args[0] == "set":
		return unix.Setxattr(args[1], args[2], []byte(args[3]), 0)
	case len(args) == 2 && args[0] == "list":
		return filepath.WalkDir(args[1], func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			return list(path)
		})
	}
	return errors.New("want set FILE NAME VALUE, or list FOLDER")
}

func list(path string) error {
	names := make([]byte, 4096)
	n, err := unix.Listxattr(path, names)
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 4096)
		size, err := unix.Getxattr(path, name, value)
		if err != nil {
			return err
		}
		fmt.Printf("%s %s=%s\n", path, name, value[:size])
	}
	return nil
}
