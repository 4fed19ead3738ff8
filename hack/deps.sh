#!/usr/bin/env bash
# Installs what some tests use beyond Go, by package name from Debian's archive. Tests that miss something
# skip and say so; nothing here is needed for `make` and `make test` to pass.
#
#   hack/deps.sh [group...]     groups: browser database zookeeper openzfs network; default: browser
#
# It may be run again at any time: what is there is left alone.
set -euo pipefail

packages_of() {
	case $1 in
	browser) echo chromium ;;                    # the to-do page is driven in it
	database) echo postgresql redis-server ;;    # real databases to move
	zookeeper) echo zookeeper ;;                 # a real register (brings Java)
	openzfs) echo debootstrap cpio xz-utils iproute2 ;; # hack/openzfs: nodes with the real file system
	network) echo iproute2 ;;                    # network namespaces: nodes with an address of their own
	*) echo "deps: there is no group '$1'; there are browser, database, zookeeper, openzfs, network" >&2; return 1 ;;
	esac
}

installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true) == installed ]]; }

missing=()
(($#)) || set -- browser
for group in "$@"; do
	names=$(packages_of "$group")
	for name in $names; do
		if ! command -v dpkg-query >/dev/null || ! installed "$name"; then missing+=("$name"); fi
	done
done
if ! ((${#missing[@]})); then exit 0; fi

if ! command -v apt-get >/dev/null; then
	echo "deps: this is not Debian; install by hand what you want of: ${missing[*]}" >&2
	exit 0
fi
if [[ $(id -u) != 0 ]]; then
	echo "deps: not root; run as root: apt-get install ${missing[*]}" >&2
	exit 0
fi

# The servers are for tests, which start their own: runlevel 1 keeps the packages from starting them now.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
get() { apt-get -qq -y --no-install-recommends -o Acquire::Retries=3 "$@" >>"$log" 2>&1 </dev/null; }
# A fresh machine has no list of packages, an old one a stale list: then update and try again.
if ! get install "${missing[@]}" && ! { get update && get install "${missing[@]}"; }; then
	tail -n 5 "$log" >&2
	echo "deps: apt-get could not install: ${missing[*]}; the tests that use them will skip" >&2
	exit 0
fi
echo "deps: installed ${missing[*]}"
