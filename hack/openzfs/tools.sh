#!/usr/bin/env bash
# Builds a folder of Debian programs that a node can be given beside its own: syncoid (of sanoid), ssh, netcat, and what they
# use. Benchmarks compare Drover with them. It prints the folder; a node mounts it and uses it by chroot.
#
#   hack/openzfs/tools.sh          build it unless it is there
#   hack/openzfs/tools.sh --find   print the folder, build nothing
#
# The folder lies beside the nodes of build.sh, which must be built, because zfs itself comes from there: programs and kernel
# must be of one version. Exit codes are as build.sh's.
set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cannot() { echo "openzfs tools: $*" >&2; exit 3; }

node=$("$here/build.sh" --find)
recipe=$(cat "$here/tools.sh" "$node/manifest" | sha256sum | cut -c1-12)
tools=${node%/*}/tools-$recipe
if [[ -e $tools/.complete ]]; then echo "$tools"; exit 0; fi
if [[ ${1-} == --find ]]; then cannot "not built; run hack/openzfs/tools.sh as root"; fi
[[ $(id -u) == 0 ]] || cannot "building them needs root, for debootstrap"
"$here/../deps.sh" openzfs >&2
for program in debootstrap cpio; do
	command -v $program >/dev/null || cannot "building them needs $program"
done
uri=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 'Origin: Debian' | sed -n 1p)
[[ $uri ]] || cannot "apt on this machine knows no Debian archive; run apt-get update"

log=$(mktemp)
trap 'code=$?; if ((code != 0)); then tail -n 15 "$log" >&2; fi; rm -f "$log"' EXIT
rm -rf --one-file-system "${node%/*}"/tools-*
# What `apt-get install sanoid` brings with its recommended packages, and the ends of ssh and netcat.
debootstrap --variant=minbase --components=main,contrib \
	--include=sanoid,lzop,mbuffer,pv,openssh-server,openssh-client,netcat-openbsd,procps bookworm "$tools" "$uri" >"$log" 2>&1
(cd "$tools" && cpio --extract --make-directories --unconditional --quiet \
	'usr/sbin/zfs' 'usr/sbin/zpool' 'lib/x86_64-linux-gnu/libzfs*' 'lib/x86_64-linux-gnu/libzpool*' 'lib/x86_64-linux-gnu/libnvpair*' \
	'lib/x86_64-linux-gnu/libuutil*' <"$node/initrd") >>"$log" 2>&1
rm -rf "$tools"/var/cache/apt/archives/*.deb "$tools/var/lib/apt/lists"
ssh-keygen -q -t ed25519 -N '' -f "$tools/etc/bench_key" 2>>"$log" ||
	chroot "$tools" ssh-keygen -q -t ed25519 -N '' -f /etc/bench_key 2>>"$log"
touch "$tools/.complete"
echo "$tools"
