package reconcile

import "testing"

// A value that OpenZFS prints in other words than it was set in is not set again and again.
func TestSameProperty(t *testing.T) {
	for _, c := range []struct {
		name, has, want string
		same            bool
	}{
		{"recordsize", "16384", "16K", true},
		{"recordsize", "16384", "1M", false},
		{"xattr", "on", "sa", true},
		{"xattr", "on", "dir", true},
		{"xattr", "dir", "sa", false},
		{"xattr", "", "sa", false},
		{"acltype", "posix", "posixacl", true},
		{"acltype", "off", "posixacl", false},
		{"acltype", "off", "noacl", true},
		{"compression", "gzip", "gzip-6", true},
		{"compression", "gzip", "gzip-9", false},
		{"compression", "zstd", "zstd-3", false},
		{"compression", "zstd-fast", "zstd-fast-1", true},
		{"atime", "", "off", false},
	} {
		if got := sameProperty(c.name, c.has, c.want); got != c.same {
			t.Errorf("%s: has %q, wanted %q: same is %v", c.name, c.has, c.want, got)
		}
	}
}
