// Package manifest turns manifests, as people write them in YAML or JSON, into one [state.Desired].
//
// It is strict: what it does not know it refuses, because a misspelt field that is silently ignored is a setting that
// silently does not hold. It reports every mistake of every file at once, each with file, line, field and what would be
// right, and it is offline: whether a node fits a constraint, or a dataset exists, is decided in package reconcile.
//
// Invariants:
//   - A set with any mistake yields no state.Desired at all. Nothing is ever "mostly" in force.
//   - A set without an App or a Volume is a mistake, never a wish to remove everything.
//   - spec.marathon passes through whole: unknown fields are kept, and numbers keep the digits they were written with.
//   - state.Desired.Digest depends on what the set means: not on formatting, comments, or the order of files and documents.
//   - A Volume document that no App uses is allowed: an app that leaves the manifests leaves its volume, and a volume
//     may be declared before its app.
//
// How a document is read: go.yaml.in/yaml gives nodes with line numbers; these are compared with the Go types in types.go,
// and what does not fit is reported and taken out, so that one mistake hides no other; sigs.k8s.io/yaml decodes the rest
// by its JSON tags; then the values are checked one by one, and at last the set as a whole.
package manifest
