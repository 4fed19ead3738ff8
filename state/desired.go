package state

import (
	"encoding/json"
	"time"
)

// Desired is one whole, valid set of manifests.
type Desired struct {
	Digest  string // identifies the set: a hash over its meaning, not its formatting
	Cluster Cluster
	Apps    map[AppID]App
	Volumes map[VolumeName]Volume
}

// Cluster holds what applies to every app.
type Cluster struct {
	Name       string
	Prune      bool // remove apps that left the manifests without being asked each time
	PruneLimit int  // at most so many removals in one pass; more is refused as a likely mistake
	Bandwidth  Bandwidth
}

// Bandwidth is what moves may take of the network, in bytes per second; 0 is no limit.
type Bandwidth struct {
	Node  int64              // of every node that Nodes does not name: what it sends, and apart from that what it receives
	Nodes map[Hostname]int64 // of one node
	Links []LinkBandwidth
}

// LinkBandwidth is what one node may send to another, in bytes per second.
type LinkBandwidth struct {
	From, To Hostname
	Limit    int64
}

// App is one application as the manifests want it.
type App struct {
	ID          AppID
	Instances   int             // always 1 for an app with volumes
	Volumes     []Mount         // the first one leads: it decides for all of them
	Constraints []Constraint    // placement, as Marathon evaluates it
	Endpoints   []Endpoint      // addresses that stay while the app moves
	Cutover     Cutover         // the outage it may be given
	Bandwidth   int64           // bytes per second that the streams of its moves may take together; 0 for no limit of its own
	Grace       time.Duration   // how long the app must be seen ready before an old copy is deleted
	Definition  json.RawMessage // spec.marathon: passed through, unknown fields included
	Where       Position
}

// Mount says where an app sees a volume.
type Mount struct {
	Volume        VolumeName
	ContainerPath string // in the container, or relative to the sandbox
	Env           string // environment variable that carries the path; "" for the default, see reconcile
}

// Endpoint is an address that every node's gate listens on and passes to wherever the app runs.
type Endpoint struct {
	Name    string // also the name of the port definition it leads to, if there is one of that name
	Address string // IP address the gates listen on
	Port    int
}

// Cutover bounds the outage of a move.
type Cutover struct {
	MaxOutage time.Duration // the budget; decides whether and when to cut over, and when to go back
	MaxRounds int           // catch-up rounds before the move is called stalled
}

// Constraint is one Marathon placement constraint.
type Constraint struct {
	Field string // "hostname", "@hostname" or an agent attribute
	Op    string // upper case: CLUSTER, UNIQUE, LIKE, UNLIKE, MAX_PER, GROUP_BY, IS
	Value string // "" if the operator has none
}

// Reclaim says what becomes of a volume that left the manifests.
type Reclaim string

// The two reclaim policies. Delete still needs a person's explicit act.
const (
	Retain Reclaim = "Retain"
	Delete Reclaim = "Delete"
)

// Volume is one volume as the manifests want it.
type Volume struct {
	Name       VolumeName
	Quota      int64             // bytes, 0 for none (refquota: what the volume's own data may take)
	Properties map[string]string // ZFS properties to keep set on every copy
	Reclaim    Reclaim
	Adopt      string // an existing dataset to take over instead of creating an empty one; "" to create
	Where      Position
}

// Position is where in the manifests something was said.
type Position struct {
	File string
	Line int // from 1; 0 if unknown
}
