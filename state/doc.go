// Package state holds Drover's nouns: what is desired, what is observed, and the plan and steps that lead from one to the
// other. It is data only: no I/O, no clock, no decisions (those are in package reconcile).
//
// Invariants held here:
//   - A [Source] that did not answer is unknown, never empty: whoever reads a [Node] or [Marathon] asks Answered first.
//   - An [Epoch] orders all ownership of a volume; a forced failover (F) outranks every planned one (N).
//   - Snapshots are compared by [GUID] only. Names are for people.
package state
