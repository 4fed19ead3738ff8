package zfs

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/drover-project/drover/state"
)

// reader reads the properties of one dataset. It collects what cannot be read: output of zfs itself in err, which spoils
// the whole listing, and what Drover once wrote in bad, which spoils one copy.
type reader struct {
	dataset string
	props   map[string]value
	err     error
	bad     []error
}

// newCopy makes a copy of its properties, without snapshots. A dataset that is not a copy has no Volume, and nothing else.
func newCopy(dataset string, props map[string]value) (state.Copy, error) {
	r := &reader{dataset: dataset, props: props}
	if r.text(PropVolume); r.err != nil {
		return state.Copy{}, fmt.Errorf("zfs get %s: %w", dataset, r.err)
	}
	if r.local(PropVolume) == "" {
		return state.Copy{Dataset: dataset}, nil
	}
	c := state.Copy{
		Dataset:    dataset,
		Volume:     state.VolumeName(r.local(PropVolume)),
		UUID:       state.UUID(r.local(PropUUID)),
		Lead:       state.VolumeName(r.local(PropLead)),
		Filesystem: r.filesystem(),
		Quota:      r.bytes("refquota"),
		SyncOff:    r.text("sync") == "disabled",
	}
	r.decisive(&c)
	if r.err != nil {
		return state.Copy{}, fmt.Errorf("zfs get %s: %w", dataset, r.err)
	}
	return c, errors.Join(r.bad...)
}

// newChild makes a child of its properties, without snapshots.
func newChild(root, dataset string, props map[string]value) (state.Child, error) {
	r := &reader{dataset: dataset, props: props}
	c := state.Child{Path: dataset[len(root)+1:], Device: r.text("type") != "filesystem", Claims: state.VolumeName(r.local(PropVolume))}
	switch {
	case r.err != nil:
	case c.Device:
		c.Origin = r.optional("origin")
	default:
		c.Filesystem = r.filesystem()
	}
	if r.err == nil && len(r.bad) > 0 {
		r.err = fmt.Errorf("%w: %w", errors.Join(r.bad...), ErrOutput)
	}
	if r.err != nil {
		return state.Child{}, fmt.Errorf("zfs get %s: %w", dataset, r.err)
	}
	return c, nil
}

// filesystem reads what is known of any file system, without snapshots.
func (r *reader) filesystem() state.Filesystem {
	return state.Filesystem{
		Readonly:    r.yes("readonly", "on", "off"),
		Mounted:     r.yes("mounted", "yes", "no"),
		Mountpoint:  r.text("mountpoint"),
		Written:     r.bytes("written"),
		Used:        r.bytes("used"),
		Referenced:  r.bytes("referenced"),
		Properties:  r.natives(),
		Compressed:  r.text("compression") != "off",
		ResumeToken: r.optional("receive_resume_token"),
		Encrypted:   r.text("encryption") != "off",
		KeyMissing:  r.text("keystatus") == "unavailable",
		Origin:      r.optional("origin"),
		Limits:      parsed(r, PropLimits, false, parseLimits),
		SendFlags:   r.local(PropSendFlags),
	}
}

// decisive reads what decisions are made on. If any of it cannot be read the copy has no role: nobody may guess one.
func (r *reader) decisive(c *state.Copy) {
	if c.UUID == "" {
		r.spoil(PropUUID, "", errors.New("missing"))
	}
	c.Epoch = parsed(r, PropEpoch, true, state.ParseEpoch)
	c.Release = parsed(r, PropReleased, false, parseReleased)
	c.GraceServed = parsed(r, PropGraceServed, false, parseSeconds)
	c.Reclaim = parsed(r, PropReclaim, false, parseReclaim)
	if role := parsed(r, PropRole, true, parseRole); len(r.bad) == 0 {
		c.Role = role
	}
}

// parsed reads a property of Drover's with its own parser.
func parsed[T any](r *reader, prop string, required bool, parse func(string) (T, error)) (v T) {
	text := r.local(prop)
	if text == "" && !required {
		return v
	}
	v, err := parse(text)
	if err != nil {
		r.spoil(prop, text, err)
	}
	return v
}

func (r *reader) spoil(prop, text string, why error) {
	r.bad = append(r.bad, fmt.Errorf("%s: %s=%q: %w: %w", r.dataset, prop, clip(text), why, ErrBadProperty))
}

// local returns a value whose source is local, else "".
func (r *reader) local(prop string) string {
	if v := r.props[prop]; v.local {
		return v.text
	}
	return ""
}

func (r *reader) text(prop string) string {
	v, ok := r.props[prop]
	if !ok {
		r.fail(fmt.Errorf("no row for property %s: %w", prop, ErrOutput))
	}
	return v.text
}

func (r *reader) optional(prop string) string {
	if v := r.text(prop); v != "-" {
		return v
	}
	return ""
}

func (r *reader) yes(prop, isYes, isNo string) bool {
	b, err := yes(r.text(prop), isYes, isNo)
	r.fail(err)
	return b
}

func (r *reader) bytes(prop string) int64 {
	n, err := number(r.text(prop))
	r.fail(err)
	return n
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) natives() map[string]string {
	props := map[string]string{}
	for _, name := range native {
		if v := r.props[name]; v.local {
			props[name] = v.text
		}
	}
	return props
}

func parseRole(s string) (state.Role, error) {
	switch role := state.Role(s); role {
	case state.Primary, state.Fenced, state.Released, state.Retired, state.Standby:
		return role, nil
	}
	return "", errors.New("not a role")
}

func parseReclaim(s string) (state.Reclaim, error) {
	switch reclaim := state.Reclaim(s); reclaim {
	case state.Retain, state.Delete:
		return reclaim, nil
	}
	return "", errors.New("neither Retain nor Delete")
}

// parseSeconds reads whole seconds.
func parseSeconds(s string) (time.Duration, error) {
	const most = int64(1<<63-1) / int64(time.Second)
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > most {
		return 0, errors.New("not a count of seconds")
	}
	return time.Duration(n) * time.Second, nil
}

// None is the value of drover:released on a copy that was given to nobody. zfs set cannot remove a property, and a role
// changes together with this one.
const None = "none"

// FormatReleased returns the value of drover:released for a release, None for nil. Release.From is not kept: it is this
// node.
func FormatReleased(r *state.Release) string {
	if r == nil {
		return None
	}
	text := fmt.Sprintf("%s/%s/%s", r.To, r.Epoch, r.GUID)
	if r.Below != "" {
		text += "/" + r.Below
	}
	return text
}

func parseReleased(s string) (*state.Release, error) {
	if s == None {
		return nil, nil
	}
	parts := strings.Split(s, "/")
	if len(parts) < 3 || len(parts) > 4 || parts[0] == "" || parts[len(parts)-1] == "" {
		return nil, errors.New("want TO/EPOCH/GUID, TO/EPOCH/GUID/BELOW or none")
	}
	epoch, err := state.ParseEpoch(parts[1])
	if err != nil {
		return nil, err
	}
	var g state.GUID
	if err := g.UnmarshalText([]byte(parts[2])); err != nil {
		return nil, err
	}
	r := &state.Release{To: state.NodeID(parts[0]), Epoch: epoch, GUID: g}
	if len(parts) == 4 {
		r.Below = parts[3]
	}
	return r, nil
}

// FormatLimits returns the value of drover:limits, None for no limits.
func FormatLimits(limits map[string]string) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		words = append(words, name+"="+limits[name])
	}
	return cmp.Or(strings.Join(words, ","), None)
}

func parseLimits(s string) (map[string]string, error) {
	if s == None {
		return nil, nil
	}
	limits := map[string]string{}
	for word := range strings.SplitSeq(s, ",") {
		name, text, ok := strings.Cut(word, "=")
		if _, err := number(text); !ok || err != nil || !slices.Contains(Limits, name) {
			return nil, errors.New("want quotas and reservations in bytes, or none")
		}
		limits[name] = text
	}
	return limits, nil
}

// listing is what a list of snapshots and bookmarks says, by dataset.
type listing struct {
	snapshots, bookmarks map[string][]state.Snapshot
	referenced           []string // the full names of those that have holds
}

func newListing() *listing {
	return &listing{snapshots: map[string][]state.Snapshot{}, bookmarks: map[string][]state.Snapshot{}}
}

// parse adds rows of name, guid, createtxg, creation, written, userrefs.
func (l *listing) parse(out []byte) error {
	table, err := rows(out, 6)
	if err != nil {
		return err
	}
	for _, r := range table {
		if err := l.add(r); err != nil {
			return err
		}
	}
	return nil
}

func (l *listing) add(r []string) error {
	to, mark := l.snapshots, "@"
	if err := checkBase(r[0]); err != nil {
		return fmt.Errorf("%w: %w", err, ErrOutput)
	}
	if strings.Contains(r[0], "#") {
		to, mark = l.bookmarks, "#"
		r[4], r[5] = "0", "0" // in place of "-": it takes no space, and cannot be held
	}
	dataset, name, _ := strings.Cut(r[0], mark)
	s, refs, err := parseSnapshot(name, r[1:])
	if err != nil {
		return fmt.Errorf("%s: %w", r[0], err)
	}
	if refs > 0 {
		l.referenced = append(l.referenced, r[0])
	}
	to[dataset] = append(to[dataset], s)
	return nil
}

// parseSnapshot reads guid, createtxg, creation, written, userrefs.
func parseSnapshot(name string, f []string) (s state.Snapshot, refs uint64, err error) {
	var errs [5]error
	var created int64
	s.Name = name
	s.GUID, errs[0] = guid(f[0])
	s.Txg, errs[1] = unsigned(f[1])
	created, errs[2] = number(f[2])
	s.Created = time.Unix(created, 0).UTC()
	s.Written, errs[3] = number(f[3])
	refs, errs[4] = unsigned(f[4])
	return s, refs, errors.Join(errs[:]...)
}
