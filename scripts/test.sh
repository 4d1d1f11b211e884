#!/bin/sh
# Runs every test that this machine can run and closes with one line on what passed and what did not run.
set -eu
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

features=
skipped=
if [ -e /dev/nvidiactl ]; then
    features="--features gpu-tests"
else
    skipped="the GPU tests, because this machine has no NVIDIA device (make test-gpu runs them on one that has)"
fi

# The status of cargo has to get past tee, and sh has no pipefail.
status=0
# shellcheck disable=SC2086
{ "$cargo" test --locked --workspace --no-fail-fast $features 2>&1 && echo 0 >"$log.status" || echo 1 >"$log.status"; } | tee "$log"
read -r status <"$log.status"
rm -f "$log.status"

sum() { awk -v what="$1" '/^test result:/ { for (i = 2; i <= NF; i++) if ($i == what ";") n += $(i - 1) } END { print n + 0 }' "$log"; }
passed=$(sum passed)
failed=$(sum failed)
ignored=$(sum ignored)
reasons=$(sed -n 's/^test .* \.\.\. ignored, //p' "$log" | sort | uniq -c | sed 's/^ *\([0-9]*\) /\1: /' | paste -sd ';' - | sed 's/;/; /g')
if [ "$ignored" -gt 0 ]; then
    skipped="${skipped:+$skipped; and }$ignored ignored tests (${reasons:-no reason given})"
fi
if [ "$status" -ne 0 ]; then
    echo "make test: FAILED: $failed tests failed, $passed passed; skipped: ${skipped:-nothing}."
    exit 1
fi
echo "make test: all $passed tests passed; skipped: ${skipped:-nothing}."
