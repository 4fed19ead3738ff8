// Package gate is the TCP gate of one node: an address that stays while an app moves. It listens on the addresses of all
// endpoints and passes each connection on to where the app runs, byte for byte. While a route is held, or has no backend,
// accepted connections wait, unread, until a route lets them through or their time is over.
//
// It does not know the protocols that it carries, does not decide where anything runs, and guards no data: a stale route
// leads to a refused connection, never to a second writer (that is the agent's comparison of role and epoch).
//
// Invariants:
//   - A connection that was accepted while a route was held is passed on in its turn or closed when its time is over, by the
//     gate's own monotonic clock; nobody has to tell the gate to let go.
//   - Not a byte is read from a client before its connection to the backend stands, so nothing is lost by closing it.
//   - A route of an older epoch never replaces a newer one, restarts included.
//   - After a change of backend no connection to the former one is left.
package gate
