// Package bench measures what a client of an app sees of a move, in a lab with real processes for every part. It holds
// benchmarks only and asserts nothing about time; that nothing acknowledged is lost it does assert.
package bench
