package manifest_test

import (
	"fmt"
	"strings"
	"testing"
)

// Values that OpenZFS takes, of every property that a manifest may set.
func TestPropertyValues(t *testing.T) {
	for name, values := range map[string]string{
		"aclinherit": "discard noallow restricted passthrough passthrough-x", "aclmode": "discard groupmask passthrough restricted",
		"acltype": "off noacl nfsv4 posix posixacl", "atime": "on off", "checksum": "on off fletcher2 fletcher4 sha256 noparity sha512 skein edonr blake3",
		"compression": "on off lz4 lzjb zle gzip gzip-1 gzip-9 zstd zstd-1 zstd-19 zstd-fast zstd-fast-1 zstd-fast-10 zstd-fast-100 zstd-fast-1000",
		"copies":      "1 2 3", "dedup": "on off verify sha256 sha256,verify skein edonr,verify blake3,verify", "devices": "on off",
		"direct": "standard always disabled", "dnodesize": "legacy auto 1k 16k", "exec": "on off", "logbias": "latency throughput", "longname": "on off",
		"nbmand": "on off", "prefetch": "all none metadata", "primarycache": "all none metadata", "recordsize": "512 4096 4K 16k 128K 128KB 1M 16M",
		"redundant_metadata": "all most some none", "refreservation": "none 10G 1.5T 0", "relatime": "on off", "reservation": "none 10G",
		"secondarycache": "all none metadata", "setuid": "on off", "snapdir": "hidden visible disabled", "special_small_blocks": "0 512 32K 1M",
		"sync": "standard always disabled", "vscan": "on off", "xattr": "on off dir sa", "org.example:owner": "me", "x:y": "1",
	} {
		for value := range strings.SplitSeq(values, " ") {
			parse(t, fmt.Sprintf("{apiVersion: drover/v1, kind: Volume, metadata: {name: v}, spec: {properties: {%q: %q}}}", name, value))
		}
	}
	for name, values := range map[string]string{
		"recordsize": "0 256 3K 32M 16G 128KiB 99999999999 -4K K", "compression": "gzip-0 gzip-10 zstd-20 zstd-fast-11 LZ4",
		"special_small_blocks": "-1 1.5K", "dnodesize": "1K", "copies": "0", "refreservation": "auto 10Gi",
	} {
		for value := range strings.SplitSeq(values, " ") {
			text := fmt.Sprintf("{apiVersion: drover/v1, kind: Volume, metadata: {name: v}, spec: {properties: {%q: %q}}}", name, value)
			ps := refused(t, manifestFile(text))
			if len(ps) != 1 || ps[0].Field != "spec.properties."+name {
				t.Errorf("%s=%s: got %v", name, value, ps)
			}
		}
	}
}
