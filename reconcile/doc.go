// Package reconcile decides. [Next] looks at what is desired and what is observed and names each app's next step; [Plan]
// repeats it on predicted states until nothing is left. The dry run prints what Plan returns, and the controller carries
// out what Next returns: they are the same function.
//
// It is pure: no I/O, no clock, no randomness; now is an argument. It looks at whole states, never at events, so a
// crash is only a longer gap between two looks.
//
// Where to find what:
//
//	next.go        one decision per app: the order of the rules
//	birth.go       claim, create, adopt: how a volume comes to be, once
//	settle.go      half-done handovers: forward or back, before the manifest is looked at again
//	move.go        prepare, replicate, catch up; when a cutover may begin
//	cutover.go     the steps while the app is down
//	run.go         what Marathon holds: deploy, start, scale, ready, routes
//	old.go         grace and deletion of old copies
//	place.go       which node; constraint.go: Marathon's placement operators
//	memo.go        what is worked out once for many looks and apps
//	definition.go  the app definition that Drover writes
//	predict.go     each step's effect on what is observed; plan.go, print.go: the dry run
package reconcile
