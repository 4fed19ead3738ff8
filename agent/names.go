package agent

import (
	"net"
	"regexp"
	"strings"

	"github.com/drover-project/drover/state"
)

// What a request may name. These end up in command lines, file names and URLs, so they are narrower than what ZFS takes.
var (
	volumeName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$`)
	uuidForm     = regexp.MustCompile(`^[0-9a-z][0-9a-z-]{0,63}$`)
	nodeForm     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`)
	datasetName  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.:-]*(/[A-Za-z0-9][A-Za-z0-9_.:-]*)*$`)
	childPath    = regexp.MustCompile(`^[A-Za-z0-9_:-][A-Za-z0-9_.:-]*(/[A-Za-z0-9_:-][A-Za-z0-9_.:-]*)*$`)
	snapshotName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}$`)
	ourSnapshot  = regexp.MustCompile(`^drover-[0-9]+\.[0-9]+-([0-9]+|final)$`) // of a move; others may begin so too
	ourBookmark  = regexp.MustCompile(`^drover-[0-9]+$`)                        // by the guid of its snapshot
	propertyName = regexp.MustCompile(`^[a-z][a-z0-9_]*$|^[a-z0-9][a-z0-9._-]*:[a-z0-9._-]+$`)
	flagsForm    = regexp.MustCompile(`^(-[Lcew]+)?$`)
	hostForm     = regexp.MustCompile(`^[A-Za-z0-9._:%-]+$`)
)

// owned are the properties that Drover keeps itself; a manifest cannot set them.
var owned = map[string]bool{"readonly": true, "canmount": true, "mountpoint": true, "refquota": true, "quota": true,
	"reservation": true, "refreservation": true, "keylocation": true}

// checkStep refuses names that no valid step has.
func checkStep(s state.Step) *Error {
	for what, bad := range map[string]bool{
		"Volume " + string(s.Volume):   s.Volume != "" && !volumeName.MatchString(string(s.Volume)),
		"Lead " + string(s.Lead):       s.Lead != "" && !volumeName.MatchString(string(s.Lead)),
		"UUID " + string(s.UUID):       s.UUID != "" && !uuidForm.MatchString(string(s.UUID)),
		"Peer " + string(s.Peer):       s.Peer != "" && !nodeForm.MatchString(string(s.Peer)),
		"Dataset " + s.Dataset:         s.Dataset != "" && !datasetName.MatchString(s.Dataset),
		"Child " + s.Child:             s.Child != "" && !childPath.MatchString(s.Child),
		"Snapshot " + s.Snapshot:       s.Snapshot != "" && !snapshotName.MatchString(s.Snapshot),
		"PeerAddress":                  s.PeerAddress != "" && !isAddress(s.PeerAddress),
		"Quota below 0":                s.Quota < 0,
		"Grace below 0":                s.Grace < 0,
		"Reclaim " + string(s.Reclaim): s.Reclaim != "" && s.Reclaim != state.Retain && s.Reclaim != state.Delete,
	} {
		if bad {
			return errorf(CodeBadRequest, "bad %.200q", what)
		}
	}
	return checkProperties(s.Properties)
}

func checkProperties(props map[string]string) *Error {
	for name := range props {
		if !propertyName.MatchString(name) || owned[name] || strings.HasPrefix(name, "drover:") {
			return errorf(CodeBadRequest, "property %.200q is not one that can be set for a volume", name)
		}
	}
	return nil
}

func isAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	return err == nil && hostForm.MatchString(host) && hostForm.MatchString(port)
}
