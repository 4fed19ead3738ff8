// Package marathond is a Marathon-compatible server with a Mesos-like agents list, for the lab and for tests.
//
// It is for people who have no Mesos cluster: it speaks Marathon's REST and event stream and the few endpoints
// of a Mesos master that describe agents and tasks, places apps by constraints and resources, and runs every
// task as a real process. By default it behaves as Marathon 1.8; [Options.Emulate] switches what is listed at
// [Version]. It is not a Mesos: there are no frameworks but its own, no containers, no images, no reservations
// and no isolation. What it was built from is Marathon's source and tests; it was never compared with a running
// Marathon except by whoever points the suite in marathontest at one.
//
// # Addresses
//
// All agents of a lab share one machine. A task's "host" is its agent's hostname, which need not resolve. The
// address that does answer is the task's ipAddresses[0].ipAddress (and the address in the agent's "pid" at
// /slaves): it is [Agent.IP], 127.0.0.1 unless configured, with the port from the task's ports. Ports are handed
// out per IP, not per agent, so agents that share an address may be configured with the same port range. A task
// sees HOST as the agent's hostname and LIBPROCESS_IP and MESOS_CONTAINER_IP as the address.
//
// # Volumes
//
// A host volume with a relative containerPath appears in the task's sandbox as a symbolic link to its hostPath,
// which must exist, otherwise the task fails to start. An absolute containerPath would need a mount namespace:
// such a task fails with a message that names the path. So do tasks with an image. Persistent and external volumes are
// refused when the app is posted.
//
// # Placement
//
// Agents are offered in the order in which they are configured and the first that fits is taken. A task that is being
// killed keeps its resources and ports until its processes are gone. Regions and zones can be constrained but an app
// without such a constraint may run in any.
//
// # Ends of tasks
//
// SIGTERM goes to the task's process group, SIGKILL after the grace to the group and, on Linux, to everything else the
// task has started. What outlives the task's first process has the rest of the grace during a kill and is ended at
// once otherwise; only then is the task reported as ended. So a TASK_KILLED is proof here that no process is left, and
// a 200 from the call that kills is none, as in Marathon.
//
// # Faults
//
// POST /lab/faults with a [FaultRequest] does what the methods of [Server] do: cut an agent off, power it off, mark it
// gone, bring it back, make kills slow or ignored, event streams silent or closed, the API slow, failing or speaking
// HTML, connections break after a change was applied, the leader change. DELETE /lab/faults ends all but the agents'.
//
// # Layers
//
// api_*.go turn HTTP into calls; schema, normalize and validate make an app definition out of JSON; plan,
// strategy and deployment decide; placement and constraint choose an agent; mesos keeps the master's and the
// agents' view of tasks; launch and executor run processes; events tells the world.
//
// # Invariants
//
//   - Everything a restarted server needs is in one state file, written before any process is started or signalled.
//   - Deployments look at the whole state and never remember progress that the state does not show, so a restart,
//     a kill -9 included, continues them.
//   - At most one running deployment affects an app.
//   - A task's processes belong to an executor that outlives the server. Whether it lives is told by a named
//     pipe it inherited, never by a process id; a process id is only ever signalled together with its start time.
package marathond
