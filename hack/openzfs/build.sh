#!/usr/bin/env bash
# Builds a node that runs real OpenZFS under User-mode Linux, from Debian packages alone.
#
#   hack/openzfs/build.sh [2.3|2.1]          build it unless it is there, print its folder
#   hack/openzfs/build.sh all                the same for both, with what they share made once
#   hack/openzfs/build.sh --find [2.3|2.1]   print its folder, build nothing
#
# The folder holds linux (the kernel, an ordinary program), initrd (all that the node has), epoll.so (to be preloaded into
# linux, see epoll.c) and manifest (versions). It lies in ${DROVER_CACHE:-${XDG_CACHE_HOME:-~/.cache}/drover}/openzfs, named
# by OpenZFS's and the kernel's versions and by what is in this folder: a change here builds another.
#
# Exit code 3: it cannot be had here (no root, no Debian, a package is missing, or nothing is built yet for --find); one
# sentence on stderr says why. Any other failure is 1, with the end of the log.
#
# An interrupted build goes on where it was. The first takes some minutes, and 2 GB of disk while it lasts. With
# DROVER_OPENZFS_KEEP=1 its work stays and is used again whatever has changed here since, for work on this script.
set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${DROVER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/drover}/openzfs
debian=bookworm # its kernel package for User-mode Linux and its zfs fit each other

cannot() { echo "openzfs: $*" >&2; exit 3; }
say() { printf 'openzfs: [%3ds] %s\n' "$SECONDS" "$*" >&2; }

find=''
if [[ ${1-} == --find ]]; then find=1; shift; fi
line=${1-2.3}
if [[ $line == all && ! $find ]]; then
	more=1
	if "$0" --find 2.1 >/dev/null 2>&1; then more=''; fi
	DROVER_OPENZFS_MORE=$more "$BASH" "$0" 2.3
	exec "$BASH" "$0" 2.1
fi
case $line in
2.3) suite=$debian-backports ;;
2.1) suite=$debian ;;
*) echo "usage: $0 [--find] [2.3|2.1], or $0 all" >&2; exit 2 ;;
esac

recipe=$(cd "$here" && cat build.sh init epoll.c mend-2.1.sed | sha256sum | cut -c1-12)
link=$cache/$line-$recipe
if [[ -e $link/manifest ]]; then readlink -f "$link"; exit 0; fi
if [[ $find ]]; then cannot "OpenZFS $line is not built; run hack/openzfs/build.sh $line as root"; fi

[[ $(uname -sm) == 'Linux x86_64' ]] || cannot "User-mode Linux needs Linux on x86-64"
[[ $(id -u) == 0 ]] || cannot "building OpenZFS nodes needs root, for debootstrap and chroot"
command -v apt-get >/dev/null || cannot "OpenZFS nodes are built from Debian's packages, and there is no apt-get here"

# What is mounted while building is seen by nobody else, and gone with this process.
if [[ -z ${DROVER_OPENZFS_ALONE-} ]]; then
	mkdir -p "$cache"
	DROVER_OPENZFS_ALONE=1 exec unshare --mount --propagation private flock "$cache/lock" nice "$BASH" "${BASH_SOURCE[0]}" "$line"
fi
if [[ -e $link/manifest ]]; then readlink -f "$link"; exit 0; fi # somebody else built it while we waited

export DEBIAN_FRONTEND=noninteractive LC_ALL=C
root=$cache/chroot work=$cache/chroot/build log=$cache/build.log
: >"$log"
trap 'code=$?; if ((code != 0 && code != 3)); then echo "openzfs: the end of $log:" >&2; tail -n 15 "$log" >&2; fi' EXIT

inside() { chroot "$root" "$@" >>"$log" 2>&1 </dev/null; }

tools() {
	"$here/../deps.sh" openzfs >>"$log" 2>&1
	local t
	for t in debootstrap cpio xz; do
		command -v "$t" >/dev/null || cannot "building OpenZFS nodes needs $t, and apt-get could not install it"
	done
}

# mirror is where this machine's apt gets Debian from, by apt's own account.
mirror() {
	local uri
	for _ in 1 2; do
		uri=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 'Origin: Debian' 2>>"$log" | sed -n 1p)
		if [[ $uri ]]; then echo "$uri"; return; fi
		apt-get -qq update >>"$log" 2>&1 || true # a fresh machine has no list yet; what is missing is said below
	done
	cannot "apt on this machine knows no Debian archive"
}

# discard removes the work of another version of this folder, unless that is to be used.
discard() {
	if [[ -e $root && ! ${DROVER_OPENZFS_KEEP-} && $(cat "$root/.recipe" 2>>"$log") != "$recipe" ]]; then
		rm -rf --one-file-system "$root"
	fi
}

# base makes the chroot: the tool chain, and the programs that nodes get besides zfs.
base() {
	[[ ! -e $root/.base ]] || return 0
	local uri; uri=$(mirror)
	say "a $debian chroot"
	rm -rf --one-file-system "$root"
	mkdir -p "$root"
	echo "$recipe" >"$root/.recipe"
	debootstrap --variant=minbase --components=main,contrib "$debian" "$root" "$uri" >>"$log" 2>&1 ||
		cannot "debootstrap could not get $debian; see $log"
	printf 'deb %s %s main contrib\n' "$uri" "$debian" "$uri" "$debian-updates" "$uri" "$debian-backports" >"$root/etc/apt/sources.list"
	# A mirror that stands still needs what this machine's own apt was told about dates, a proxy likewise.
	apt-config dump Acquire | grep -E 'Check-(Valid-Until|Date)|::Proxy' >"$root/etc/apt/apt.conf.d/90host" || true
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod +x "$root/usr/sbin/policy-rc.d"
	cp /etc/resolv.conf "$root/etc/resolv.conf" 2>>"$log" || true # without one, names may still be known by /etc/hosts
	cp /etc/hosts "$root/etc/hosts"
	say "the tool chain"
	inside apt-get -qq update
	inside apt-get -qq install -y --no-install-recommends build-essential flex bison bc libelf-dev libssl-dev kmod \
		busybox-static iproute2 libtirpc3 libblkid1 libuuid1 libudev1 libcurl4
	inside apt-get clean
	touch "$root/.base"
}

# fetch unpacks packages, NAME=VERSION each, into a folder.
fetch() {
	local to=$1; shift
	rm -rf "$work/deb"; mkdir -p "$work/deb" "$to"
	inside sh -c 'cd /build/deb && exec apt-get -o APT::Sandbox::User=root download "$@"' - "$@"
	local deb
	for deb in "$work"/deb/*.deb; do dpkg-deb -x "$deb" "$to"; done
	rm -rf "$work/deb"
}

# kernel unpacks the kernel and prepares headers for modules. Nobody packages headers for User-mode Linux, so they are made
# of the source package that the kernel was built from, with the kernel's own configuration.
kernel() {
	[[ ! -e $work/.kernel ]] || return 0
	say "the kernel and its headers"
	rm -rf "$work"; mkdir -p "$work"
	fetch "$work/uml" user-mode-linux
	local version source revision
	version=$(ls "$work/uml/usr/lib/uml/modules")
	source=linux-source-${version%.*}
	revision=$(chroot "$root" apt-cache madison "$source" | awk -v v="$version-" 'index($3, v) == 1 { print $3; exit }')
	[[ $revision ]] || cannot "the archive has no $source of version $version, which its user-mode-linux was built from"
	fetch "$work/source" "$source=$revision"
	mkdir "$work/linux"
	# Other architectures and the largest drivers are not looked at.
	tar -xJf "$work/source/usr/src/$source.tar.xz" -C "$work/linux" --strip-components=1 --wildcards \
		--exclude="$source/arch/[!ux]*/*/*.[chS]" --exclude="$source/drivers/gpu/drm/*.[ch]" --exclude="$source/Documentation/*/*.rst" \
		--exclude="$source/tools/testing/*" --exclude="$source/tools/perf/*" --exclude="$source/sound/*/*.[ch]"
	rm -rf "$work/source"
	gunzip -c "$work/uml/usr/share/doc/user-mode-linux/config.gz" >"$work/linux/.config"
	inside sh -c 'cd /build/linux && make ARCH=um olddefconfig && make -j"$(nproc)" ARCH=um modules_prepare'
	symbols >"$work/linux/Module.symvers"
	touch "$work/.kernel"
}

# symbols lists what the kernel exports, found in its source: only a whole build would write that list. No checksums are
# needed, this kernel is configured without them.
symbols() {
	(cd "$work/linux" && grep -rhoE '^\s*EXPORT_SYMBOL(_GPL)?\(\w+\)' --include='*.[cS]' \
		kernel mm fs block lib crypto drivers net init ipc security arch/um arch/x86/um arch/x86/lib) |
		sed -E 's/^\s*(EXPORT_SYMBOL(_GPL)?)\((\w+)\)/0x00000000\t\3\tvmlinux\t\1\t/' | sort -u -t$'\t' -k2,2
}

# modules compiles OpenZFS's kernel modules, and unpacks its programs.
modules() {
	[[ ! -e $zfs/.built ]] || return 0
	say "OpenZFS $version"
	rm -rf "$zfs"; mkdir -p "$zfs"
	local libs
	libs=$(chroot "$root" apt-cache depends "zfsutils-linux=$version" |
		awk -v v="=$version" '$1 == "Depends:" && $2 ~ /^lib(zfs|zpool|nvpair|uutil)/ { print $2 v }')
	# shellcheck disable=SC2086 # one word per library
	fetch "$zfs/user" "zfsutils-linux=$version" $libs
	fetch "$zfs/dkms" "zfs-dkms=$version"
	mv "$zfs"/dkms/usr/src/zfs-* "$zfs/src"
	if [[ $line == 2.1 ]]; then sed -i -E -f "$here/mend-2.1.sed" "$zfs"/src/module/*/Makefile.in; fi
	inside sh -c "cd ${zfs#"$root"}/src && export ARCH=um KBUILD_MODPOST_WARN=1 &&
		./configure --with-config=kernel --with-linux=/build/linux --with-linux-obj=/build/linux && make -s -j\"\$(nproc)\""
	mkdir "$zfs/ko"
	find "$zfs/src/module" -name '*.ko' -exec cp {} "$zfs/ko/" \;
	[[ -e $zfs/ko/zfs.ko ]]
	rm -rf "$zfs/src" "$zfs/dkms"
	touch "$zfs/.built"
}

# place copies a program into the node's tree, with the libraries that it is linked to.
place() {
	local name=$1 dir lib
	for dir in "$zfs"/user/{,usr/}{s,}bin "$root"/{,usr/}{s,}bin; do
		[[ -e $dir/$name ]] || continue
		cp -L "$dir/$name" "$tree/usr/sbin/"
		chroot "$root" env LD_LIBRARY_PATH="${zfs#"$root"}/user/lib/x86_64-linux-gnu:${zfs#"$root"}/user/usr/lib/x86_64-linux-gnu" \
			ldd "${dir#"$root"}/$name" | awk '$2 == "=>" { print $3 } $1 ~ /^\// { print $1 }' | while read -r lib; do
			[[ $lib != not ]] || { echo "$name lacks a library" >>"$log"; exit 1; }
			library "$lib"
		done
		return
	done
	echo "no package has $name" >>"$log"
	return 1
}

library() {
	local to=$tree${1#"${zfs#"$root"}/user"}
	[[ -e $to ]] || { mkdir -p "${to%/*}"; cp -L "$root$1" "$to"; }
}

# Loaded when a node boots, and only there to be had.
boot_modules=(ipv6 zfs)
more_modules=(loop veth bridge dummy tun overlay sch_netem sch_tbf sch_ingress cls_matchall act_mirred ifb)

# drivers copies the kernel modules that a node may load.
drivers() {
	local kernel all=$work/modules file
	kernel=$(ls "$work/uml/usr/lib/uml/modules")
	rm -rf "$all"; mkdir -p "$all/lib/modules"
	cp -r "$work/uml/usr/lib/uml/modules/$kernel" "$all/lib/modules/"
	cp -r "$zfs/ko" "$all/lib/modules/$kernel/updates"
	inside depmod -b /build/modules "$kernel"
	local name
	for name in "${boot_modules[@]}" "${more_modules[@]}"; do
		# What is built into the kernel has no file, and modprobe says so with an error.
		chroot "$root" modprobe -d /build/modules -S "$kernel" --show-depends "$name" 2>>"$log" || echo "builtin $name"
	done | awk '$1 == "insmod" { print $2 }' | sort -u | while read -r file; do
		local to=$tree/lib/modules/$kernel/${file#*/lib/modules/"$kernel"/}
		mkdir -p "${to%/*}"
		cp "$root$file" "$to"
		strip --strip-debug "$to"
	done
	cp "$all/lib/modules/$kernel"/modules.{builtin,builtin.modinfo,order} "$tree/lib/modules/$kernel/"
	inside depmod -b /build/tree "$kernel"
	rm -rf "$all"
	printf '%s\n' "${boot_modules[@]}" >"$tree/etc/modules"
	printf 'options ifb numifbs=0\n' >"$tree/etc/modprobe.d/drover.conf"
}

# etc writes the few files that programs look for.
etc() {
	printf 'root::0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$tree/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$tree/etc/group"
	printf '127.0.0.1 localhost\n' >"$tree/etc/hosts"
	printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$tree/etc/nsswitch.conf"
	ln -s /proc/self/mounts "$tree/etc/mtab"
}

# fill makes the node's whole file tree; it has no disk but those of its pool.
fill() {
	rm -rf "$tree"
	mkdir -p "$tree"/{bin,sbin,usr/bin,usr/sbin,usr/share,lib/x86_64-linux-gnu,lib64,etc/modprobe.d,etc/zfs,dev,proc,sys,run,tmp,root,mnt,node,var/lib,var/log}
	ln -s /run "$tree/var/run"
	local name
	for name in zfs zpool zdb zstream mount.zfs ip bridge tc bash; do place "$name"; done
	# glibc opens these by itself: zfs ends a thread, and names of users are looked up.
	for name in libgcc_s.so.1 libnss_files.so.2; do cp -L "$root/lib/x86_64-linux-gnu/$name" "$tree/lib/x86_64-linux-gnu/"; done
	cp -r "$zfs/user/usr/share/zfs" "$tree/usr/share/"
	rm -rf "$tree/usr/share/zfs/zfs-tests"
	cp "$root/bin/busybox" "$tree/bin/"
	for name in $(chroot "$root" busybox --list); do
		[[ -e $tree/usr/sbin/$name || -e $tree/bin/$name ]] || ln -s busybox "$tree/bin/$name"
	done
	# busybox's own shell would run its applets in place of the programs on the PATH; its ip is not the one that is wanted.
	rm "$tree/bin/sh"
	# OpenZFS mounts what is looked at below .zfs by this.
	ln -s /bin/busybox "$tree/usr/bin/env"
	cp -L "$root/bin/dash" "$tree/bin/sh"
	library /lib/x86_64-linux-gnu/libc.so.6
	drivers
	etc
	install -m 755 "$here/init" "$tree/init"
}

# pack writes the result. The tree is not compressed: it is unpacked often and read from memory.
pack() {
	local kernel folder new=$cache/new
	kernel=$(ls "$work/uml/usr/lib/uml/modules")
	folder=$cache/zfs-${version//[^A-Za-z0-9.+-]/_}_linux-${kernel}_$recipe
	rm -rf "$new"; mkdir "$new"
	(cd "$tree" && find . -print0 | sort -z | cpio --null -o -H newc -R 0:0 --quiet) >"$new/initrd"
	cp "$work/uml/usr/bin/linux.uml" "$new/linux"
	cp "$here/epoll.c" "$work/"
	inside gcc -O2 -Wall -Werror -shared -fPIC -o /build/epoll.so /build/epoll.c
	cp "$work/epoll.so" "$new/"
	{
		echo "zfs $version"
		echo "linux $kernel"
		chroot "$root" dpkg-query -W -f '${Package} ${Version}\n' busybox-static iproute2 libc6
	} >"$new/manifest"
	rm -rf "$folder"
	mv "$new" "$folder"
	ln -sfn "${folder##*/}" "$link"
}

tools
discard
base
mount -t proc proc "$root/proc"
kernel
version=$(chroot "$root" apt-cache madison zfs-dkms | awk -v s="$suite/" 'index($6, s) == 1 { print $3; exit }')
[[ $version == "$line".* ]] || cannot "the archive's $suite has OpenZFS ${version:-not at all}, not $line"
zfs=$work/zfs-$line tree=$work/tree
modules
say "the node's files"
fill
pack
umount "$root/proc"
# With DROVER_OPENZFS_MORE the other release is built next, with the same chroot and kernel.
if [[ ! ${DROVER_OPENZFS_KEEP-}${DROVER_OPENZFS_MORE-} ]]; then rm -rf --one-file-system "$root"; fi
say "done"
readlink -f "$link"
