package zfs

// The user properties in which Drover keeps what must outlive its processes. They count only where their source is local:
// children and snapshots inherit them.
const (
	PropVolume      = "drover:volume"       // name of the volume
	PropUUID        = "drover:uuid"         // its identity
	PropRole        = "drover:role"         // primary, fenced, released, retired or standby
	PropEpoch       = "drover:epoch"        // F.N
	PropReleased    = "drover:released"     // TO/EPOCH/GUID, or "none"
	PropLead        = "drover:lead"         // the app's first volume
	PropSendFlags   = "drover:sendflags"    // flags of the first stream, such as -Lce
	PropGraceServed = "drover:grace-served" // seconds
	PropReclaim     = "drover:reclaim"      // Retain or Delete
	PropNode        = "drover:node"         // on the root: the node's id
	PropTerm        = "drover:term"         // on the root: highest term seen
	PropRefused     = "drover:refused."     // on the root, followed by a volume's uuid: highest epoch sworn off
)
