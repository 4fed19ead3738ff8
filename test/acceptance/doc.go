// Package acceptance has the tests of what a user does and of what goes wrong meanwhile, on a whole cluster: manifests are
// edited, apps move with their data, parts are stopped, killed and lied to. See package cluster for what every test checks
// beside its own assertions.
package acceptance
