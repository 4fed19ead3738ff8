package state

import (
	"encoding/json"
	"time"
)

// StepKind is verb and object of a step.
type StepKind string

// The steps, in the order in which a volume's life meets them.
const (
	ClaimVolume   StepKind = "claim volume"   // register: the volume is born, once
	CreateVolume  StepKind = "create volume"  // agent
	AdoptVolume   StepKind = "adopt volume"   // agent: an existing dataset becomes the primary copy
	RecordBirth   StepKind = "record birth"   // register: never create it again
	SetProperties StepKind = "set properties" // agent
	MountVolume   StepKind = "mount volume"   // agent

	SetAside  StepKind = "set aside"     // agent: what is in a copy's way on the target is renamed, never destroyed
	Rejoin    StepKind = "rejoin"        // agent: a retired copy becomes a standby, for a move back
	Replicate StepKind = "replicate"     // source agent: full stream
	Resume    StepKind = "resume"        // source agent: go on with a half-received stream
	AbortRecv StepKind = "abort receive" // target agent: drop a half-received stream that cannot be resumed
	CatchUp   StepKind = "catch-up"      // source agent: snapshot and increment

	HoldConnections StepKind = "hold connections" // every gate
	StopApp         StepKind = "stop app"         // Marathon, then the source agent: until nothing uses the volume
	Fence           StepKind = "fence"            // source agent
	LastIncrement   StepKind = "last increment"   // source agent
	ReleaseVolume   StepKind = "release"          // source agent
	Promote         StepKind = "promote"          // target agent: the commit point
	Retire          StepKind = "retire"           // source agent
	StartApp        StepKind = "start app"        // Marathon: deploy pinned to where the data is
	VerifyReady     StepKind = "verify ready"     // Marathon
	SetRoutes       StepKind = "set routes"       // every gate: where connections go; lets held ones through

	SwearOff StepKind = "swear off" // target agent: never take this epoch
	GoBack   StepKind = "go back"   // source agent: writable again

	KeepBase  StepKind = "keep base"  // the primary's agent: a bookmark of the snapshots that an old copy rests on
	SaveGrace StepKind = "save grace" // old copy's agent
	DeleteOld StepKind = "delete old" // old copy's agent

	DeployApp StepKind = "deploy app" // Marathon: create or update
	ScaleApp  StepKind = "scale app"  // Marathon: instances only
	RemoveApp StepKind = "remove app" // Marathon: it left the manifests, and --prune was given
)

// Step is one thing to do, as data. It has one effect, guarded where it happens; doing it twice is harmless.
type Step struct {
	Kind   StepKind
	App    AppID
	Volume VolumeName `json:",omitempty"`
	UUID   UUID       `json:",omitempty"`
	Lead   VolumeName `json:",omitempty"` // the app's leading volume
	Move   MoveID     `json:",omitempty"`
	Node   NodeID     `json:",omitempty"` // whose agent does it
	Peer   NodeID     `json:",omitempty"` // the other side: target of a stream, or giver of a release
	Nodes  []NodeID   `json:",omitempty"` // for steps on every gate: the nodes that need it

	PeerAddress string `json:",omitempty"` // host:port of the peer's agent

	// Expect is what the copy must be when the step arrives; anything else is refused.
	Expect Expect
	// Epoch is the new epoch of a release, promotion, refusal, or way back.
	Epoch   Epoch    `json:",omitzero"`
	Release *Release `json:",omitempty"` // evidence for a promotion
	Refusal *Refusal `json:",omitempty"` // evidence for going back after a release
	Taken   *Taken   `json:",omitempty"` // evidence for retiring

	Dataset    string            `json:",omitempty"`
	Snapshot   string            `json:",omitempty"` // to take and send, without dataset
	Base       GUID              `json:",omitempty"` // the newest common snapshot; 0 for a full stream
	Datasets   int               `json:",omitempty"` // how many travel, if the volume has some below its own
	Child      string            `json:",omitempty"` // path of the dataset below the copy's that the step is about; "" for the copy
	Sweep      bool              `json:",omitempty"` // when the stream has arrived, older snapshots of earlier moves go too
	Keep       []GUID            `json:",omitempty"` // but not these: copies on other nodes rest on them; or those to bookmark
	Properties map[string]string `json:",omitempty"`
	Quota      int64             `json:",omitempty"`
	Reclaim    Reclaim           `json:",omitempty"`
	Grace      time.Duration     `json:",omitempty"` // seconds served, to save
	Token      string            `json:",omitempty"` // resume token

	Definition json.RawMessage `json:",omitempty"` // for Marathon, complete
	Instances  int             `json:",omitempty"`
	Force      bool            `json:",omitempty"` // override a deployment lock that is Drover's own
	Probes     []Probe         `json:",omitempty"` // what must answer for the app to be ready
	Routes     []Route         `json:",omitempty"` // all routes of App; a gate's routes of other apps stay as they are

	Beside bool          `json:",omitempty"` // begins together with the step before it
	Bytes  int64         `json:",omitempty"` // estimate
	Took   time.Duration `json:",omitempty"` // estimate
	Outage bool          `json:",omitempty"` // the app is down while this runs
	Why    string        // for people: what made this necessary
}

// Probe is one question that a ready app answers: an HTTP GET with a status from 200 to 399, or, without a path, a TCP
// connection. These are the rules of Marathon's health checks.
type Probe struct {
	Address string // host:port
	Path    string `json:",omitempty"` // with its slash; "" for TCP
	TLS     bool   `json:",omitempty"` // HTTPS; the certificate is not checked, as Marathon does not
}

// Expect is the (role, epoch) pair that a guarded step is compared with. The zero Expect expects no copy at all.
type Expect struct {
	Role  Role  `json:",omitempty"`
	Epoch Epoch `json:",omitzero"`
}

// Refusal is a target's durable word that it will never take an epoch up to this one.
type Refusal struct {
	Node  NodeID
	Epoch Epoch
}

// Taken is the fact that a target is primary.
type Taken struct {
	Node  NodeID
	Epoch Epoch
}

// Decision is what Next decided about one app: a step, a reason to wait, a reason that a person must act on, or nothing.
type Decision struct {
	App     AppID
	Step    *Step    // nil if there is nothing to do now
	Beside  []Step   // what is done at the same time, for other volumes of the app
	Waiting string   // goes on by itself when this changes
	Stalled string   // needs a person; says what happened, where, and what to do
	Notes   []string // worth saying, need no action
	Left    bool     // the app left the manifests and is still there; it is removed only on request
	// After is when to look again though nothing may have changed, such as the end of a grace; 0 for the usual interval.
	After time.Duration
}

// Steps returns what is to be done now, all of it at the same time.
func (d *Decision) Steps() []Step {
	if d.Step == nil {
		return nil
	}
	return append([]Step{*d.Step}, d.Beside...)
}

// Plan is what would be done, in order, for each app.
type Plan struct {
	Apps []AppPlan
}

// AppPlan is one app's part of a plan.
type AppPlan struct {
	App     AppID
	Summary string // "move node1 -> node2", "create on node1", ...
	Reason  string // "placement: disk CLUSTER spinning -> ssd"
	Steps   []Step
	Waiting string
	Stalled string
	Notes   []string
	Budget  time.Duration // for the outage; 0 if there is none
}
