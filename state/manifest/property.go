package manifest

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ownedProperties are those that Drover sets itself, or that would work against it, and what to do instead.
var ownedProperties = map[string]string{
	"readonly":             "Drover owns it: it is the fence of every copy",
	"canmount":             "Drover owns it: a copy is mounted only where it may be used",
	"mountpoint":           "Drover owns it: it gives the app the path through spec.volumes",
	"mounted":              "Drover owns it: a copy is mounted only where it may be used",
	"quota":                "use spec.quota",
	"refquota":             "use spec.quota",
	"snapshot_limit":       "it would stop the snapshots that a move is made of",
	"filesystem_limit":     "a volume is one dataset",
	"sharenfs":             "a volume has one writer, the app that uses it",
	"sharesmb":             "a volume has one writer, the app that uses it",
	"overlay":              "Drover relies on the bare directory below a volume staying empty",
	"casesensitivity":      "it can be set only when a dataset is created; adopt a dataset that has it (spec.adopt)",
	"normalization":        "it can be set only when a dataset is created; adopt a dataset that has it (spec.adopt)",
	"utf8only":             "it can be set only when a dataset is created; adopt a dataset that has it (spec.adopt)",
	"encryption":           "it can be set only when a dataset is created; encrypt the dataset above the volumes",
	"keyformat":            "it can be set only when a dataset is created; encrypt the dataset above the volumes",
	"keylocation":          "keys belong to the dataset above the volumes",
	"pbkdf2iters":          "keys belong to the dataset above the volumes",
	"volsize":              "a volume is a file system, not a block device; use spec.quota",
	"volblocksize":         "a volume is a file system, not a block device; use recordsize",
	"volmode":              "a volume is a file system, not a block device",
	"received":             "it is not a property that can be set",
	"receive_resume_token": "it is not a property that can be set",
}

// valueRule says what a property's value may be; want is for people.
type valueRule struct {
	ok   func(string) bool
	want string
}

func oneOf(words ...string) valueRule {
	return valueRule{func(v string) bool { return slices.Contains(words, v) }, orList(words)}
}

func matching(pattern, want string) valueRule {
	return valueRule{regexp.MustCompile("^(?:" + pattern + ")$").MatchString, want}
}

var onOff = oneOf("on", "off")

// properties are the file system properties of OpenZFS 2.1 to 2.3 that can be kept set on every copy, and their values.
var properties = map[string]valueRule{
	"aclinherit":           oneOf("discard", "noallow", "restricted", "passthrough", "passthrough-x"),
	"aclmode":              oneOf("discard", "groupmask", "passthrough", "restricted"),
	"acltype":              oneOf("off", "noacl", "nfsv4", "posix", "posixacl"),
	"atime":                onOff,
	"checksum":             oneOf("on", "off", "fletcher2", "fletcher4", "sha256", "noparity", "sha512", "skein", "edonr", "blake3"),
	"compression":          matching(`on|off|lz4|lzjb|zle|gzip(-[1-9])?|zstd(-([1-9]|1[0-9]))?|zstd-fast(-([1-9]|[1-9]0|100|500|1000))?`, "on, off, lz4, zstd, zstd-1 to zstd-19, zstd-fast, gzip, gzip-1 to gzip-9, zle or lzjb"),
	"copies":               oneOf("1", "2", "3"),
	"dedup":                matching(`on|off|verify|(sha256|sha512|skein|blake3)(,verify)?|edonr,verify`, "off, on, verify, sha256, sha512, skein or blake3, also with ,verify"),
	"devices":              onOff,
	"direct":               oneOf("standard", "always", "disabled"),
	"dnodesize":            oneOf("legacy", "auto", "1k", "2k", "4k", "8k", "16k"),
	"exec":                 onOff,
	"logbias":              oneOf("latency", "throughput"),
	"longname":             onOff,
	"nbmand":               onOff,
	"prefetch":             oneOf("all", "none", "metadata"),
	"primarycache":         oneOf("all", "none", "metadata"),
	"recordsize":           {func(v string) bool { return isBlockSize(v, 512) }, "a power of two from 512 to 16M, such as 16K"},
	"redundant_metadata":   oneOf("all", "most", "some", "none"),
	"refreservation":       sizeOrNone,
	"relatime":             onOff,
	"reservation":          sizeOrNone,
	"secondarycache":       oneOf("all", "none", "metadata"),
	"setuid":               onOff,
	"snapdir":              oneOf("hidden", "visible", "disabled"),
	"special_small_blocks": {func(v string) bool { return v == "0" || isBlockSize(v, 512) }, "0, or a power of two from 512 to 16M"},
	"sync":                 oneOf("standard", "always", "disabled"),
	"vscan":                onOff,
	"xattr":                oneOf("on", "off", "dir", "sa"),
}

var sizeOrNone = matching(`none|[0-9]+(\.[0-9]+)?[KMGTPkmgtp]?`, "none, or a size as ZFS writes it, such as 10G")

var blockSize = regexp.MustCompile(`^([0-9]{1,9})([KkMm]?)[Bb]?$`)

// isBlockSize reports whether v is a power of two from least to 16 MiB in ZFS's notation, where K is 1024.
func isBlockSize(v string, least int) bool {
	m := blockSize.FindStringSubmatch(v)
	if m == nil {
		return false
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return false
	}
	switch strings.ToUpper(m[2]) {
	case "K":
		n <<= 10
	case "M":
		n <<= 20
	}
	return n >= least && n <= 16<<20 && n&(n-1) == 0
}

// userProperty is what OpenZFS accepts as the name of a user property.
var userProperty = regexp.MustCompile(`^[a-z0-9][a-z0-9:._-]*:[a-z0-9:._-]*$`)

func (v *volumeDocument) checkProperties(given map[string]string) {
	for _, name := range names(given) {
		if msg := propertyProblem(name, given[name]); msg != "" {
			v.problem("spec.properties."+name, "%s", msg)
		}
	}
}

// propertyProblem returns "" for a property that may be set to value.
func propertyProblem(name, value string) string {
	if why, owned := ownedProperties[name]; owned {
		return "cannot be set here: " + why
	}
	if strings.HasPrefix(name, "drover:") {
		return "cannot be set here: properties drover:* are Drover's own record"
	}
	if strings.Contains(name, ":") {
		return userPropertyProblem(name, value)
	}
	rule, known := properties[name]
	if !known {
		if best := nearest(name, names(properties)); best != "" {
			return fmt.Sprintf("is not a ZFS property; did you mean %s?", best)
		}
		return "is not a ZFS property that Drover can keep set; a user property has a colon in its name, such as org.example:owner"
	}
	if !rule.ok(value) {
		return fmt.Sprintf("is %q: want %s", value, rule.want)
	}
	return ""
}

func userPropertyProblem(name, value string) string {
	switch {
	case !userProperty.MatchString(name) || len(name) > 255:
		return "is no name for a user property: want lower case letters, digits and ':', '.', '_', '-', with a colon in it"
	case len(value) > 8191:
		return fmt.Sprintf("has %d bytes: ZFS takes at most 8191", len(value))
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "has a control character in it: want one line of text"
	}
	return ""
}
