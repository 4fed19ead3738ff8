// Command nodes lets a person work with nodes that have real OpenZFS: it starts some, runs commands, static programs or compiled
// tests in them, cuts their power and starts them again, and brings back output, files and exit code. It is not for tests, which
// use package openzfs itself. See hack/openzfs/README.md.
package main
