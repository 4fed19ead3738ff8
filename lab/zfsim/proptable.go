package zfsim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// propDef describes a native property.
type propDef struct {
	name    string
	header  string   // column title, if not the name in capitals
	values  []string // of properties that take one of a few words
	def     string
	number  bool
	stat    bool   // cannot be set
	own     bool   // children do not inherit it
	apart   bool   // applied by itself, after all others
	oneTime bool   // only at creation
	on      string // kinds that have it: f(ilesystem), s(napshot), b(ookmark)
}

var onOff = []string{"on", "off"}

// propDefs are in the order in which "get all" prints them.
var propDefs = []propDef{
	{name: "name", stat: true, on: "fsb"},
	{name: "type", stat: true, on: "fsb"},
	{name: "creation", stat: true, number: true, on: "fsb"},
	{name: "used", stat: true, number: true, on: "fs"},
	{name: "available", header: "AVAIL", stat: true, number: true, on: "f"},
	{name: "referenced", header: "REFER", stat: true, number: true, on: "fsb"},
	{name: "compressratio", header: "RATIO", stat: true, on: "fs"},
	{name: "mounted", stat: true, on: "f"},
	{name: "origin", stat: true, on: "f"},
	{name: "quota", def: "0", number: true, own: true, apart: true, on: "f"},
	{name: "reservation", header: "RESERV", def: "0", number: true, own: true, apart: true, on: "f"},
	{name: "recordsize", header: "RECSIZE", def: "131072", number: true, on: "f"},
	{name: "mountpoint", on: "f"},
	{name: "sharenfs", def: "off", on: "f"},
	{name: "checksum", def: "on", values: []string{"on", "off", "fletcher2", "fletcher4", "sha256", "noparity", "sha512", "skein", "edonr", "blake3"}, on: "f"},
	{name: "compression", header: "COMPRESS", def: "on", on: "f"},
	{name: "atime", def: "on", values: onOff, on: "f"},
	{name: "devices", def: "on", values: onOff, on: "fs"},
	{name: "exec", def: "on", values: onOff, on: "fs"},
	{name: "setuid", def: "on", values: onOff, on: "fs"},
	{name: "readonly", header: "RDONLY", def: "off", values: onOff, on: "f"},
	{name: "zoned", def: "off", values: onOff, on: "f"},
	{name: "snapdir", def: "hidden", values: []string{"hidden", "visible"}, on: "f"},
	{name: "aclmode", def: "discard", values: []string{"discard", "groupmask", "passthrough", "restricted"}, on: "f"},
	{name: "aclinherit", def: "restricted", values: []string{"discard", "noallow", "restricted", "passthrough", "passthrough-x"}, on: "f"},
	{name: "createtxg", stat: true, on: "fsb"},
	{name: "canmount", def: "on", values: []string{"on", "off", "noauto"}, own: true, on: "f"},
	{name: "xattr", def: "on", values: []string{"on", "off", "dir", "sa"}, on: "fs"},
	{name: "copies", def: "1", values: []string{"1", "2", "3"}, on: "f"},
	{name: "version", def: "5", oneTime: true, on: "fs"},
	{name: "utf8only", def: "off", values: onOff, oneTime: true, on: "fs"},
	{name: "normalization", def: "none", values: []string{"none", "formC", "formD", "formKC", "formKD"}, oneTime: true, on: "fs"},
	{name: "casesensitivity", def: "sensitive", values: []string{"sensitive", "insensitive", "mixed"}, oneTime: true, on: "fs"},
	{name: "vscan", def: "off", values: onOff, on: "f"},
	{name: "nbmand", def: "off", values: onOff, on: "fs"},
	{name: "sharesmb", def: "off", on: "f"},
	{name: "refquota", def: "0", number: true, own: true, apart: true, on: "f"},
	{name: "refreservation", header: "REFRESERV", def: "0", number: true, own: true, apart: true, on: "f"},
	{name: "guid", stat: true, on: "fsb"},
	{name: "primarycache", def: "all", values: []string{"all", "none", "metadata"}, on: "fs"},
	{name: "secondarycache", def: "all", values: []string{"all", "none", "metadata"}, on: "fs"},
	{name: "usedbysnapshots", header: "USEDSNAP", stat: true, number: true, on: "f"},
	{name: "usedbydataset", header: "USEDDS", stat: true, number: true, on: "f"},
	{name: "usedbychildren", header: "USEDCHILD", stat: true, number: true, on: "f"},
	{name: "usedbyrefreservation", header: "USEDREFRESERV", stat: true, number: true, on: "f"},
	{name: "logbias", def: "latency", values: []string{"latency", "throughput"}, on: "f"},
	{name: "objsetid", stat: true, on: "fs"},
	{name: "dedup", def: "off", on: "f"},
	{name: "mlslabel", def: "none", on: "fs"},
	{name: "sync", def: "standard", values: []string{"standard", "always", "disabled"}, on: "f"},
	{name: "dnodesize", def: "legacy", values: []string{"legacy", "auto", "1k", "2k", "4k", "8k", "16k"}, on: "f"},
	{name: "refcompressratio", header: "REFRATIO", stat: true, on: "fs"},
	{name: "written", stat: true, number: true, on: "fs"},
	{name: "logicalused", header: "LUSED", stat: true, number: true, on: "f"},
	{name: "logicalreferenced", header: "LREFER", stat: true, number: true, on: "fs"},
	{name: "volmode", def: "default", values: []string{"default", "full", "geom", "dev", "none"}, apart: true, on: "f"},
	{name: "filesystem_limit", header: "FSLIMIT", def: "none", number: true, own: true, apart: true, on: "f"},
	{name: "snapshot_limit", header: "SSLIMIT", def: "none", number: true, own: true, apart: true, on: "f"},
	{name: "filesystem_count", header: "FSCOUNT", stat: true, on: "f"},
	{name: "snapshot_count", header: "SSCOUNT", stat: true, on: "f"},
	{name: "snapdev", def: "hidden", values: []string{"hidden", "visible"}, apart: true, on: "f"},
	{name: "acltype", def: "off", values: []string{"off", "nfsv4", "posix", "posixacl", "noacl"}, on: "fs"},
	{name: "context", def: "none", on: "fs"},
	{name: "fscontext", def: "none", on: "fs"},
	{name: "defcontext", def: "none", on: "fs"},
	{name: "rootcontext", def: "none", on: "fs"},
	{name: "relatime", def: "on", values: onOff, on: "f"},
	{name: "redundant_metadata", header: "REDUND_MD", def: "all", values: []string{"all", "most", "some", "none"}, on: "f"},
	{name: "overlay", def: "on", values: onOff, on: "f"},
	{name: "encryption", def: "off", values: []string{"on", "off", "aes-128-ccm", "aes-192-ccm", "aes-256-ccm", "aes-128-gcm", "aes-192-gcm", "aes-256-gcm"}, oneTime: true, on: "fs"},
	{name: "keylocation", def: "none", own: true, apart: true, on: "f"},
	{name: "keyformat", def: "none", values: []string{"none", "raw", "hex", "passphrase"}, oneTime: true, own: true, on: "f"},
	{name: "pbkdf2iters", def: "0", number: true, oneTime: true, own: true, on: "f"},
	{name: "special_small_blocks", def: "0", number: true, on: "f"},
	{name: "userrefs", stat: true, on: "s"},
	{name: "defer_destroy", stat: true, on: "s"},
	{name: "clones", stat: true, on: "s"},
	{name: "receive_resume_token", stat: true, on: "f"},
	{name: "keystatus", stat: true, on: "f"},
	{name: "encryptionroot", header: "ENCROOT", stat: true, on: "f"},
	{name: "volsize", number: true, own: true, apart: true, on: ""},
	{name: "volblocksize", number: true, oneTime: true, own: true, on: ""},
	{name: "snapshots_changed", stat: true, on: "f"},
	{name: "redact_snaps", stat: true, on: "sb"},
}

var aliases = map[string]string{"avail": "available", "refer": "referenced", "refreserv": "refreservation", "reserv": "reservation",
	"recsize": "recordsize", "rdonly": "readonly", "compress": "compression", "ratio": "compressratio", "lused": "logicalused",
	"lrefer": "logicalreferenced", "refratio": "refcompressratio", "usedsnap": "usedbysnapshots", "usedds": "usedbydataset",
	"usedchild": "usedbychildren", "usedrefreserv": "usedbyrefreservation", "encroot": "encryptionroot"}

func propOf(name string) *propDef {
	if full, ok := aliases[name]; ok {
		name = full
	}
	for i := range propDefs {
		if propDefs[i].name == name {
			return &propDefs[i]
		}
	}
	return nil
}

func isUserProp(name string) bool {
	if !strings.Contains(name, ":") {
		return false
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune(":-._", c) {
			return false
		}
	}
	return true
}

// isWritten accepts written@SNAP and written#BOOKMARK.
func isWritten(name string) bool {
	return strings.HasPrefix(name, "written@") || strings.HasPrefix(name, "written#")
}

// readable reports whether a column of this name may be asked for.
func readable(name string) bool { return propOf(name) != nil || isUserProp(name) || isWritten(name) }

// parseProp checks a value and brings it to its stored form. The error is the part of the message after the colon.
func (m *machine) parseProp(name, value string) (stored string, err error) {
	def := propOf(name)
	switch {
	case def == nil && isUserProp(name):
		return value, checkUserProp(name, value)
	case def == nil:
		return "", fmt.Errorf("invalid property '%s'", name)
	case def.stat:
		return "", fmt.Errorf("'%s' is readonly", name)
	case def.name == "encryption" && value != "off":
		return "", errors.New("encryption is not modelled by this stand-in")
	case def.name == "xattr" && value == "sa" && !m.old:
		return "on", nil // what it calls it since extended attributes are system attributes unless "dir" is set
	case len(def.values) > 0:
		return value, oneOf(def, value)
	case def.number:
		return m.parseNumber(def, value)
	case def.name == "mountpoint":
		return parseMountpoint(value)
	case def.name == "compression":
		return value, m.checkCompression(value)
	}
	return value, nil
}

func checkUserProp(name, value string) error {
	if len(name) >= 256 {
		return fmt.Errorf("property name '%s' is too long", name)
	}
	if len(value) >= 8192 {
		return fmt.Errorf("property value too long")
	}
	return nil
}

func oneOf(def *propDef, value string) error {
	if slices.Contains(def.values, value) {
		return nil
	}
	return fmt.Errorf("'%s' must be one of '%s'", def.name, strings.Join(def.values, " | "))
}

func (m *machine) parseNumber(def *propDef, value string) (string, error) {
	if value == "none" && def.def == "none" {
		if m.old {
			return noLimit, nil
		}
		return value, nil
	}
	n, ok := parseBytes(value)
	if !ok {
		return "", fmt.Errorf("bad numeric value '%s'", value)
	}
	if limit := m.maxRecord(); def.name == "recordsize" && (n < 512 || n > limit || n&(n-1) != 0) {
		return "", fmt.Errorf("'recordsize' must be power of 2 from 512B to %s", nice(limit))
	}
	if n == 0 && value != "none" && (def.name == "quota" || def.name == "refquota") {
		return "", errors.New("use 'none' to disable quota/refquota")
	}
	return strconv.FormatUint(n, 10), nil
}

// noLimit is how 2.1 shows programs that there is no limit on a count.
const noLimit = "18446744073709551615"

func (m *machine) maxRecord() uint64 {
	if m.old {
		return 1 << 20
	}
	return 16 << 20
}

func parseMountpoint(value string) (string, error) {
	if value == "none" || value == "legacy" {
		return value, nil
	}
	if !strings.HasPrefix(value, "/") {
		return "", fmt.Errorf("'mountpoint' must be an absolute path, 'none', or 'legacy'")
	}
	if trimmed := strings.TrimRight(value, "/"); trimmed != "" {
		return trimmed, nil
	}
	return "/", nil
}

var compressions = []string{"on", "off", "lzjb", "gzip", "gzip-[1-9]", "zle", "lz4", "zstd", "zstd-[1-19]",
	"zstd-fast", "zstd-fast-[1-10,20,30,40,50,60,70,80,90,100,500,1000]"}

func (m *machine) checkCompression(value string) error {
	base, level, ranged := strings.Cut(value, "-")
	if rest, ok := strings.CutPrefix(level, "fast"); ok && base == "zstd" {
		base, level, ranged = "zstd-fast", strings.TrimPrefix(rest, "-"), rest != ""
	}
	known := slices.Contains(compressions, base)
	top := map[string]uint64{"gzip": 9, "zstd": 19, "zstd-fast": 1000}[base]
	if n := number(level); known && (!ranged || n >= 1 && n <= top) {
		return nil
	}
	return fmt.Errorf("'compression' must be one of '%s'", strings.Join(compressions, " | "))
}
