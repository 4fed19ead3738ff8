#!/usr/bin/env bash
# Runs every fuzz target of the module for the time given, one after the other, and goes on after a finding,
# so that one run tells of all.
set -euo pipefail
cd "$(dirname "$0")/.."
GO=${GO:-go}
time=${1:-10s}
failed=()

while read -r package; do
	listed=$("$GO" test -list '^Fuzz' "$package")
	for target in $(grep '^Fuzz' <<<"$listed" || true); do
		echo "== $target in $package, $time"
		"$GO" test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package" || failed+=("$package $target")
	done
done < <("$GO" list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...)

if ((${#failed[@]})); then
	printf 'found something: %s\n' "${failed[@]}" >&2
	exit 1
fi
