// Package todo is the app that the lab moves about: a two-tier to-do list with a real database, and the
// tools that prove that a move loses nothing.
//
// It is one program with four commands:
//
//   - db keeps the to-dos in SQLite, in a folder that must already exist, and serves them as JSON;
//   - web serves a page and the Todo-Backend API (https://todobackend.com), and reaches db over the network;
//   - load adds numbered to-dos without end, keeps a ledger of what was acknowledged, and measures the
//     longest time without an acknowledgement;
//   - check compares a ledger with what the app has now.
//
// It is not part of Drover and knows nothing of it: it is an ordinary app that stops on SIGTERM, reads
// its port from the environment as Marathon sets it, and keeps what it acknowledged.
//
// Invariants:
//
//   - A 200 or 201 for a write means that the write is committed and flushed to the disk.
//   - At most one process has the database open (a lock on a file beside it).
//   - db never creates its folder: started where its volume is not mounted, it fails.
//   - Every request may be repeated. The client chooses the id of a new to-do, a change carries the new
//     values and not a difference, and removing what is gone succeeds.
package todo
