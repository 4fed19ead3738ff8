// Package controller is the loop: observe, decide, do one step for each app, observe again. It decides nothing itself (that
// is package reconcile) and guards nothing (that is each agent's comparison of role and epoch): two controllers at once
// thrash at worst, which the register's term ends.
//
// Invariants:
//   - Nothing that matters lives only here. What it counts by itself (grace not saved yet, how long an app has been down)
//     may be lost; then a deletion comes later, or a cutover goes back sooner.
//   - An invalid set of manifests changes nothing; the last good one stays in force.
//   - At most one step of an app runs at a time; one stuck app does not hold up others.
package controller
