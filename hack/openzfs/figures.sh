#!/usr/bin/env bash
# Runs the benchmarks on real OpenZFS and writes what they say into a page: hack/openzfs/figures.sh FILE. Takes about an hour.
set -euo pipefail
page=$(realpath "${1:?usage: $0 FILE}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

new=$(mktemp)
trap 'rm -f "$new"' EXIT
cat >"$new" <<END
# Figures on real OpenZFS

Written by \`make bench-openzfs\`; each table is one run, side by side. The nodes are User-mode Linux kernels with OpenZFS on one
machine: $(nproc) cores of $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), load average before the run $(cut -d' ' -f1 /proc/loadavg).
Both nodes, their pools and the network between them share these cores, and system calls are slow there: read the ratios.

END
DROVER_FIGURES=$new go test -run '^$' -bench . -benchtime 1x -timeout 3h ./test/openzfs/bench
mv "$new" "$page"
