package reconcile

import "strconv"

// spoken are values that OpenZFS says otherwise than they were set, by property. Seen on OpenZFS 2.1.11 and 2.3.2, but that xattr
// reads "on" for sa on 2.3 and for dir on 2.1. Only locally set values are compared, and whoever set one of the two says nothing
// about the release: once it is set, it is as wanted.
var spoken = map[string]map[string]string{
	"xattr":       {"sa": "on", "dir": "on"},
	"acltype":     {"posixacl": "posix", "noacl": "off"},
	"aclinherit":  {"secure": "restricted"},
	"compression": {"gzip-6": "gzip", "zstd-fast-1": "zstd-fast"},
}

// sameProperty says whether a property has the value that is wanted, as ZFS means them: 16K is 16384, posixacl is posix. To set what
// is set already would never end.
func sameProperty(name, has, want string) bool {
	return has == want || spoken[name][want] == has && has != "" || zfsNumber(has) >= 0 && zfsNumber(has) == zfsNumber(want)
}

func zfsNumber(s string) int64 {
	if s == "" {
		return -1
	}
	shift := 0
	switch s[len(s)-1] {
	case 'K', 'k':
		shift = 10
	case 'M', 'm':
		shift = 20
	case 'G', 'g':
		shift = 30
	}
	if shift > 0 {
		s = s[:len(s)-1]
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n << shift
}
