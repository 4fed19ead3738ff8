package state

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Observed is what every source said, and which did not answer.
type Observed struct {
	Marathon Marathon
	Mesos    Mesos
	Register Register
	Nodes    map[NodeID]*Node // every member of the register; one that does not answer is here with its Source.Err

	// ReadyFor is how long the observer has seen each app ready without a break and has not yet saved as grace.
	// It is the one thing here that is counted, not seen; losing it only delays a deletion.
	ReadyFor map[AppID]time.Duration
	// DownFor is how long each app has been stopped for a cutover, by the observer's own monotonic clock. An observer that
	// did not stop the app itself does not know; then the definition's Version and the clock on the wall have to do.
	DownFor map[AppID]time.Duration
	// Past holds what earlier moves took; predictions start from it.
	Past map[AppID]Timing
	// Attempts holds the cutovers of each app that went back, so that the next one waits longer.
	Attempts map[AppID]Attempts
}

// Timing is what the parts of an app's last cutover took.
type Timing struct {
	Stop  time.Duration
	Start time.Duration
}

// Attempts counts cutovers that missed their budget and went back.
type Attempts struct {
	Missed int
	Last   time.Time
	Users  []User // who still used a volume of the app when the last one was given up though the app was stopped
}

// Source says when something was asked and whether it answered. A source with an error is unknown, not empty.
type Source struct {
	At  time.Time
	Err string // why it did not answer; "" if it did
}

// Answered reports whether the source answered when it was last asked.
func (s Source) Answered() bool { return s.Err == "" && !s.At.IsZero() }

// Marathon is what Marathon said.
type Marathon struct {
	Source
	Apps        map[AppID]*RunningApp
	Deployments []Deployment
	Queue       []QueueEntry
}

// RunningApp is an app as Marathon holds it.
type RunningApp struct {
	ID          AppID
	Instances   int
	Constraints []Constraint
	Definition  json.RawMessage // whole, as Marathon returned it, without tasks and counters
	Version     time.Time       // of the definition; Marathon's clock
	Tasks       []Task
}

// TaskState is a Mesos task state without its TASK_ prefix, in lower case: "running", "unreachable", ...
type TaskState string

// The states that decisions are made on; others are passed through.
const (
	TaskStaging     TaskState = "staging"
	TaskStarting    TaskState = "starting"
	TaskRunning     TaskState = "running"
	TaskKilling     TaskState = "killing"
	TaskUnreachable TaskState = "unreachable"
)

// Health is the outcome of an app's health checks on one task.
type Health string

// A task without checks, or whose checks have not answered yet, has HealthUnknown.
const (
	HealthUnknown Health = ""
	Healthy       Health = "healthy"
	Unhealthy     Health = "unhealthy"
)

// Task is one task of an app, as Marathon lists it.
type Task struct {
	ID      string
	Host    Hostname
	AgentID string
	State   TaskState
	Health  Health
	Ports   []int
	Started time.Time // zero until it runs
}

// Deployment is one running deployment: a lock on the apps that it affects.
type Deployment struct {
	ID      string
	Version time.Time
	Apps    []AppID
}

// QueueEntry is an app that waits for offers, and why the last ones were refused.
type QueueEntry struct {
	App     AppID
	Count   int
	Delay   time.Duration  // back-off that is left
	Refused map[string]int // reason -> offers declined for it
}

// Mesos is what the Mesos master said.
type Mesos struct {
	Source
	Agents []MesosAgent
	// Tasks is the last known state of every task that the master remembers, finished ones included. It is the only
	// remote evidence that tells "killed" from "unreachable".
	Tasks map[string]TaskState
}

// MesosAgent is one Mesos agent.
type MesosAgent struct {
	ID         string
	Hostname   Hostname
	Attributes map[string]string // as text, normalised as Marathon compares it
	Active     bool              // false: gets no offers
	Free       Resources         // unreserved and unused
}

// Resources is what an app asks for or an agent has left.
type Resources struct {
	CPUs  float64
	Mem   float64 // MiB
	Disk  float64 // MiB
	Ports int     // how many are free
}

// Register is what the register remembers about things that may be silent.
type Register struct {
	Source
	Births  map[VolumeName]Birth
	Members map[NodeID]Member
	Forced  map[UUID]uint64 // highest F claimed for a volume by a forced failover
	Marks   map[AppID]Mark
}

// Birth is the claim that a volume exists. It is made before the dataset is created, so that a volume is born once.
type Birth struct {
	Volume  VolumeName
	UUID    UUID
	Node    NodeID // where it was, or is to be, created
	Created bool   // the dataset was seen; from then on it is never created again
}

// Member is a node that was seen once and has not been forgotten by a person.
type Member struct {
	ID       NodeID
	Hostname Hostname
	Address  string // host:port of its agent
}

// Mark is a person's word on one app's move.
type Mark struct {
	Kind   MarkKind
	Digest string // for a cancelled move: the placement it was cancelled for; another placement lifts the mark
}

// MarkKind is what a person asked for.
type MarkKind string

// A paused move waits, caught up, until resumed. A cancelled one goes back and is not tried again until its placement in
// the manifest changes.
const (
	Paused    MarkKind = "paused"
	Cancelled MarkKind = "cancelled"
)

// Node is what one node's agent said.
type Node struct {
	Source
	ID       NodeID
	Hostname Hostname
	Address  string // host:port of its agent
	Pool     Pool
	Root     string   // dataset below which Drover creates volumes, such as "tank/drover"
	Mounts   string   // folder below which they are mounted, such as "/drover"
	Datasets []string // every filesystem and volume on the pool: what is in the way, what can be adopted
	Copies   []Copy
	Refused  map[UUID]Epoch     // highest epoch this node has sworn never to take, per volume
	Streams  []Stream           // under way now, as the sending side sees them
	Orphans  []Orphan           // commands that keep volumes locked though no step under way is theirs
	Rates    map[NodeID]float64 // bytes/s last measured from this node to another
	Gate     Gate
	Limits   Limits // of its streams, as last set
	Term     Term   // highest seen
}

// Orphan is a command that has outlived its step: one whose agent was killed, or that its agent gave up on because it does not end.
// Until it ends what it does is not known, and its volume stays locked on its node.
type Orphan struct {
	UUID    UUID      // of the volume
	PID     int       // 0 if it is not known which process it is
	Command string    // its words, shortened; "" if they are not known
	Since   time.Time // when the process began; zero if that is not known
}

// String names the command, where it can be looked for, and since when it runs.
func (o Orphan) String() string {
	const what = "a command that was left behind"
	if o.PID == 0 {
		return what
	}
	return fmt.Sprintf("%s, process %d (%s), since %s", what, o.PID, o.Command, o.Since.UTC().Format("2006-01-02 15:04:05 MST"))
}

// Pool is a node's pool.
type Pool struct {
	Name   string
	Health string // ONLINE, DEGRADED, SUSPENDED, ...
	Size   int64  // bytes
	Free   int64  // bytes
}

// Role is what a copy may do. It changes only by compare-and-set at the copy's agent.
type Role string

// The roles. Only a primary is writable.
const (
	Primary  Role = "primary"
	Fenced   Role = "fenced"   // was primary, writes are stopped, nothing given away yet
	Released Role = "released" // given to a named target; only the target may decide now
	Retired  Role = "retired"  // the old copy, kept for the way back
	Standby  Role = "standby"  // receives; may be incomplete
)

// Copy is one dataset that holds a volume, with the facts that decisions rest on.
type Copy struct {
	Dataset string
	Volume  VolumeName
	UUID    UUID
	Role    Role
	Epoch   Epoch
	Release *Release // what this copy was given away to; set while released or retired
	Lead    VolumeName
	Filesystem
	Users       []User  // processes with an open file, directory, root or mapping in it, in any namespace
	Quota       int64   // refquota in bytes, 0 for none
	SyncOff     bool    // sync=disabled, its own or inherited: what an app took for saved may be lost in a power cut
	Receiving   bool    // a receive runs on it now
	Children    []Child // by path
	Reclaim     Reclaim
	GraceServed time.Duration
}

// Filesystem is what is known of one file system, be it a copy's own or one below it.
type Filesystem struct {
	Readonly    bool
	Mounted     bool
	Mountpoint  string
	Snapshots   []Snapshot        // oldest first
	Bookmarks   []Snapshot        `json:",omitempty"` // what remains of snapshots: bases of increments that outlive them; oldest first
	Written     int64             // bytes since the newest snapshot
	Used        int64             // bytes, snapshots and what is below it included
	Referenced  int64             // bytes of the live data
	Properties  map[string]string // local native properties
	Compressed  bool              // its blocks are compressed, and travel so: compression is not off, its own or inherited
	ResumeToken string            // of a half-received stream; "" if none
	Encrypted   bool              // by ZFS; it travels as it is on disk, and its key is the operator's to load
	KeyMissing  bool              // it is encrypted, and its key is not loaded
	Origin      string            // the snapshot that it is a clone of, or ""
	Limits      map[string]string // quotas and reservations that a standby gets when it is promoted: its source's
	SendFlags   string            // flags of the first stream; they are sticky
}

// Newest returns the newest snapshot, or nil.
func (f *Filesystem) Newest() *Snapshot {
	if len(f.Snapshots) == 0 {
		return nil
	}
	return &f.Snapshots[len(f.Snapshots)-1]
}

// Find returns the snapshot with the given guid, or nil.
func (f *Filesystem) Find(g GUID) *Snapshot {
	for i := range f.Snapshots {
		if f.Snapshots[i].GUID == g {
			return &f.Snapshots[i]
		}
	}
	return nil
}

// Had reports whether it has the snapshot with the given guid, or a bookmark of it: an increment of it can begin there.
func (f *Filesystem) Had(g GUID) bool { return f.Find(g) != nil || f.Marked(g) }

// Marked reports whether it has a bookmark of the snapshot with the given guid.
func (f *Filesystem) Marked(g GUID) bool {
	return slices.ContainsFunc(f.Bookmarks, func(s Snapshot) bool { return s.GUID == g })
}

// Base returns the newest snapshot of to at which an increment can begin: it has that too, or a bookmark of it. Nil if there is none.
// Only guids are compared.
func (f *Filesystem) Base(to *Filesystem) *Snapshot {
	var base *Snapshot
	for _, all := range [][]Snapshot{f.Snapshots, f.Bookmarks} {
		for i := len(all) - 1; i >= 0; i-- {
			if s := &all[i]; to.Find(s.GUID) != nil {
				if base == nil || base.Txg < s.Txg {
					base = s
				}
				break
			}
		}
	}
	return base
}

// ChangedSince reports whether it has data that is not in one of its snapshots, or lacks that snapshot. Snapshots that
// somebody took of it since, while nothing was written, hold nothing of their own.
func (f *Filesystem) ChangedSince(g GUID) bool {
	changed := f.Written > 0
	for i := len(f.Snapshots) - 1; i >= 0; i-- {
		if f.Snapshots[i].GUID == g {
			return changed
		}
		changed = changed || f.Snapshots[i].Written > 0
	}
	return true
}

// Release records to whom a fenced copy was given: the evidence that a promotion needs. Once written it is true until the
// target promotes or refuses.
type Release struct {
	From  NodeID
	To    NodeID
	Epoch Epoch
	GUID  GUID // the source's newest snapshot
	// Below is [Copy.Below] of the source: the evidence for its children. "" if it has none.
	Below string `json:",omitempty"`
}

// Snapshot is one snapshot of a copy.
type Snapshot struct {
	Name    string // without dataset and "@"
	GUID    GUID
	Txg     uint64 // createtxg: order within one pool
	Created time.Time
	Written int64 // bytes since the snapshot before
	Held    bool  // by Drover
}

// User is a process that uses a dataset.
type User struct {
	PID     int
	Command string
	How     string // "open", "cwd", "root", "mapped", "mounted": the first that was found
}

// Stream is data on its way from one node to another.
type Stream struct {
	Volume   VolumeName
	Child    string `json:",omitempty"` // path of the dataset below the volume's; "" for its own
	UUID     UUID
	App      AppID
	Move     MoveID
	To       NodeID
	Snapshot string
	Bytes    int64 // sent so far, a resumed part not included
	Resumed  int64 // bytes that the target had of it before, of a stream that was cut
	Total    int64 // estimate of what is sent in the end; more than Bytes until the end
	Started  time.Time
	Rate     float64   // bytes/s, recent
	Bound    Bound     // what it waits for most
	Waiting  int64     // bytes that have arrived and wait for the target's pool
	Room     int64     // bytes that could
	Quiet    time.Time // since when nothing has moved, by the sender's clock; zero if something does
	// Patience is how long it may be quiet before it is cut, to be resumed; 0 if it moves, or is not cut for that.
	Patience time.Duration `json:",omitempty"`
}

// Name returns what the stream is of: a volume, or a dataset below one.
func (s Stream) Name() string { return strings.TrimSuffix(string(s.Volume)+"/"+s.Child, "/") }

// Bound is what a stream waits for most.
type Bound string

// The bounds. The target's buffer tells its pool from the rest: it is full while the pool is the slower one.
const (
	BoundUnknown Bound = ""
	BoundTarget  Bound = "target"  // the pool of the target
	BoundSource  Bound = "source"  // the pool of the source
	BoundNetwork Bound = "network" // the way between them, processors included
	BoundLimit   Bound = "limit"   // a bandwidth limit
)

// Gate is the state of one node's gate.
type Gate struct {
	Routes []Route
	Errors map[string]string // endpoint name -> why its address cannot be listened on
}

// Route says where the gates pass an endpoint's connections.
type Route struct {
	App      AppID
	Endpoint Endpoint
	Backend  string        // host:port of the task; "" if there is none: connections wait up to Hold, then are closed
	Epoch    Epoch         // of the app's lead volume; a gate ignores a route older than the one it has
	Held     bool          // new connections wait
	Hold     time.Duration // for at most so long, by the gate's own clock
}
