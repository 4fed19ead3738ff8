//go:build !linux

// Command xattr is a tool for tests on real OpenZFS; there is none here.
package main

func main() {}
