// Package marathon is a client for Marathon's REST API and event stream (1.5 to 1.11), and a reader of the Mesos master
// that Marathon works with. It is the only place that knows their JSON: callers see the nouns of package state, this
// package's [Error], and definitions as raw JSON.
//
// It is not a general Marathon library. There are no pods, groups or rollbacks in it, nothing is cached but where the
// Mesos master is, and it decides nothing: whether to force a lock or to repeat a change is for the caller.
//
// # Invariants
//
//   - Silence is never emptiness. A list that is missing from an answer, an answer that is not JSON, a 404 that is not
//     Marathon's own: each is an error, never "nothing there".
//   - A mutation is sent once. It goes to a second address only if it is certain that no byte of it reached the first. If its
//     outcome is unknown the error says so ([ErrAmbiguous]); the caller looks before it tries again.
//   - What a definition carries is kept as it came, unknown fields and the form of numbers included.
//   - Events are hints to look again. They can be lost, doubled and reordered, and nothing here rests on one.
//   - Credentials are in no error and no log line, and never follow a redirect from TLS to plain text.
package marathon
