//go:build !unix

// Command scribe is an app for tests on real OpenZFS; there is none here.
package main

func main() {}
