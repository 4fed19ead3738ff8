package manifest

import "encoding/json"

// The comments in this file are what people read in their editors: Schema takes the descriptions from them.

// One Marathon app, and the volumes that move with it.
type App struct {
	// The version of this form.
	APIVersion string `json:"apiVersion" jsonschema:"enum=drover/v1"`
	// What this document describes.
	Kind string `json:"kind" jsonschema:"enum=App"`
	// Which app this is.
	Metadata AppMetadata `json:"metadata"`
	// What the app is to be.
	Spec AppSpec `json:"spec"`
}

// Which app this is.
type AppMetadata struct {
	// The app's id in Marathon: an absolute path of lower case segments.
	Name string `json:"name" jsonschema:"example=/todo/db"`
	// Free text for people and tools. Drover does not read it, and Marathon does not see it.
	Labels map[string]string `json:"labels,omitempty"`
}

// What an app is to be.
type AppSpec struct {
	// How many tasks. An app with volumes has exactly 1. For another app it may stand in spec.marathon instead.
	Instances *int `json:"instances,omitempty" jsonschema:"minimum=0,default=1"`
	// The volumes that move with the app. The first one leads: it decides for all of them.
	Volumes []Mount `json:"volumes,omitempty"`
	// Where the app may run.
	Placement Placement `json:"placement,omitzero"`
	// How much of an outage a move may cost.
	Cutover Cutover `json:"cutover,omitzero"`
	// How many bytes per second the streams of the app's moves may take. No limit of its own if it is left out.
	Bandwidth Quantity `json:"bandwidth,omitempty" jsonschema:"example=50Mi"`
	// How long the app must be seen ready in its new place before the old copy is deleted. Until then going back is quick.
	Grace Duration `json:"grace,omitempty" jsonschema:"default=24h"`
	// Addresses that stay while the app moves: every node listens on them and passes connections to where the app runs.
	Endpoints []Endpoint `json:"endpoints,omitempty"`
	// The Marathon app definition, passed through with all its fields but those that Drover owns for an app with volumes:
	// instances, constraints, the volumes' mounts, upgradeStrategy, unreachableStrategy, MARATHON_SINGLE_INSTANCE_APP.
	Marathon json.RawMessage `json:"marathon" jsonschema:"example={}"`
}

// Where an app sees a volume.
type Mount struct {
	// The name of a Volume document.
	Name string `json:"name" jsonschema:"example=tododata"`
	// The path in the container, or relative to the task's sandbox.
	ContainerPath string `json:"containerPath" jsonschema:"example=data"`
	// The environment variable in which the task finds the path.
	Env string `json:"env,omitempty" jsonschema:"pattern=^[A-Za-z_][A-Za-z0-9_]*$,example=TODO_DATA"`
}

// Where an app may run.
type Placement struct {
	// Constraints as Marathon writes them: a field (hostname or an agent's attribute), an operator, and for most a value.
	Constraints []Constraint `json:"constraints,omitempty"`
}

// One constraint: field, operator and, for most operators, a value.
type Constraint []string

// How much of an outage a move may cost.
type Cutover struct {
	// The longest outage that a move may cause. Drover goes back rather than exceed it, as long as there is a way back.
	MaxOutage Duration `json:"maxOutage,omitempty" jsonschema:"default=30s"`
	// How many rounds of catching up to make before the move is called stalled.
	MaxRounds *int `json:"maxRounds,omitempty" jsonschema:"minimum=1,default=10"`
}

// An address that stays while the app moves.
type Endpoint struct {
	// A name for it; if the app has a port of that name, the endpoint leads there, otherwise to the first one.
	Name string `json:"name" jsonschema:"example=db"`
	// The IP address on which every node listens.
	Address string `json:"address" jsonschema:"example=127.255.0.10"`
	// The TCP port on which every node listens.
	Port *int `json:"port" jsonschema:"minimum=1,maximum=65535,example=27017"`
}

// A volume: a ZFS dataset that moves with the app that uses it.
type Volume struct {
	// The version of this form.
	APIVersion string `json:"apiVersion" jsonschema:"enum=drover/v1"`
	// What this document describes.
	Kind string `json:"kind" jsonschema:"enum=Volume"`
	// Which volume this is.
	Metadata VolumeMetadata `json:"metadata"`
	// What the volume is to be.
	Spec VolumeSpec `json:"spec,omitzero"`
}

// Which volume this is.
type VolumeMetadata struct {
	// The volume's name, which is also the last part of its dataset's name.
	Name string `json:"name" jsonschema:"maxLength=60,pattern=^[a-z0-9][a-z0-9._-]*$,example=tododata"`
	// Free text for people and tools. Drover does not read it.
	Labels map[string]string `json:"labels,omitempty"`
}

// What a volume is to be.
type VolumeSpec struct {
	// What the volume's own data may take (its refquota). No quota if it is left out.
	Quota Quantity `json:"quota,omitempty"`
	// ZFS properties to keep set on every copy.
	Properties map[string]string `json:"properties,omitempty"`
	// What becomes of the volume when it leaves the manifests. Delete still needs a person's explicit act.
	Reclaim string `json:"reclaim,omitempty" jsonschema:"enum=Retain,enum=Delete,default=Retain"`
	// An existing dataset to take over instead of creating an empty one.
	Adopt string `json:"adopt,omitempty" jsonschema:"example=tank/mongo"`
}

// What applies to every app. A set has at most one Cluster document.
type Cluster struct {
	// The version of this form.
	APIVersion string `json:"apiVersion" jsonschema:"enum=drover/v1"`
	// What this document describes.
	Kind string `json:"kind" jsonschema:"enum=Cluster"`
	// Which cluster this is.
	Metadata ClusterMetadata `json:"metadata"`
	// What applies to every app.
	Spec ClusterSpec `json:"spec,omitzero"`
}

// Which cluster this is.
type ClusterMetadata struct {
	// A name for people.
	Name string `json:"name" jsonschema:"example=lab"`
	// Free text for people and tools. Drover does not read it.
	Labels map[string]string `json:"labels,omitempty"`
}

// What applies to every app.
type ClusterSpec struct {
	// Remove apps that left the manifests without being asked each time. Their volumes stay.
	Prune bool `json:"prune,omitempty"`
	// At most so many removals in one pass; more is refused as a likely mistake.
	PruneLimit *int `json:"pruneLimit,omitempty" jsonschema:"minimum=1,default=5"`
	// The grace of every app that does not give its own.
	Grace Duration `json:"grace,omitempty" jsonschema:"default=24h"`
	// What moves may take of the network. A change holds at once, for streams under way too.
	Bandwidth Bandwidth `json:"bandwidth,omitzero"`
}

// What moves may take of the network, in bytes per second. The tightest limit that applies to a stream counts, and streams to
// which the same limit applies share it.
type Bandwidth struct {
	// What every node may send, and apart from that what it may receive.
	Node Quantity `json:"node,omitempty" jsonschema:"example=200Mi"`
	// The same for single nodes, by hostname; 0 is no limit.
	Nodes map[string]Quantity `json:"nodes,omitempty"`
	// What one node may send to another.
	Links []Link `json:"links,omitempty"`
}

// What one node may send to another.
type Link struct {
	// The sending node's hostname.
	From string `json:"from" jsonschema:"example=node1"`
	// The receiving node's hostname.
	To string `json:"to" jsonschema:"example=node2"`
	// Bytes per second.
	Limit Quantity `json:"limit" jsonschema:"example=10Mi"`
}

// A span of time with its unit, such as 5s, 500ms or 24h.
type Duration string

// A number of bytes, such as 500M (10^6), 10Gi (2^30) or 1.5Ti.
type Quantity string
