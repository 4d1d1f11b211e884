#!/bin/sh
# Runs every test that this machine can run and closes with one line on what passed and what did not run.
set -eu
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

gpu=
skipped=
if [ -e /dev/nvidiactl ]; then
    gpu=yes
else
    skipped="the GPU tests, because this machine has no NVIDIA device (make test-gpu runs them on one that has)"
fi

cargo_tests() {
    tests_status=0
    "$cargo" test --locked --workspace --no-fail-fast || tests_status=1
    # One thread: tests that time or capture must not share the GPU.
    [ -z "$gpu" ] || "$cargo" test --locked --no-fail-fast --features gpu-tests --test 'gpu_*' -- --test-threads=1 || tests_status=1
    # The status has to get past tee, and sh has no pipefail.
    echo "$tests_status" >"$log.status"
}
status=0
cargo_tests 2>&1 | tee "$log"
read -r status <"$log.status"
rm -f "$log.status"

sum() { awk -v what="$1" '/^test result:/ { for (i = 2; i <= NF; i++) if ($i == what ";") n += $(i - 1) } END { print n + 0 }' "${2:-$log}"; }
passed=$(sum passed)
failed=$(sum failed)
# Not of the results: what finds out after it has begun passes, and has said so.
ignored=$(grep -c '^test .* \.\.\. ignored' "$log" || true)
reasons=$(sed -n 's/^test .* \.\.\. ignored, //p' "$log" | sort | uniq -c | sed 's/^ *\([0-9]*\) /\1: /' | paste -sd ';' - | sed 's/;/; /g')
if [ "$ignored" -gt 0 ]; then
    skipped="${skipped:+$skipped; and }$ignored ignored tests (${reasons:-no reason given})"
fi

target=${CARGO_TARGET_DIR:-target}
asan_log=$target/asan-test.log
asan_status=0
scripts/test-asan.sh >"$asan_log" 2>&1 || asan_status=$?
cat "$asan_log"
if [ "$asan_status" -eq 77 ]; then
    skipped="${skipped:+$skipped; and }the tests under AddressSanitizer, of which this rustc has no runtime"
else
    passed=$((passed + $(sum passed "$asan_log")))
    failed=$((failed + $(sum failed "$asan_log")))
    [ "$asan_status" -eq 0 ] || status=$asan_status
fi

# The Python package, from a wheel around the library that has just been tested, which `cargo test` leaves in deps/.
python_log=$target/python-test.log
python_status=0
scripts/test-python.sh "$target/debug/deps/libflash_llm.so" "$(cd "$target" && pwd)/python-test" -q >"$python_log" 2>&1 || python_status=$?
cat "$python_log"
count() { grep -o "[0-9]* $1" "$python_log" | tail -n 1 | cut -d ' ' -f 1; }
python_passed=$(count passed)
python_failed=$(count failed)
python_skipped=$(count skipped)
passed=$((passed + ${python_passed:-0}))
failed=$((failed + ${python_failed:-0}))
if [ "$python_status" -ne 0 ]; then
    status=$python_status
    [ -n "$python_passed" ] || echo "make test: the Python package's tests did not run" >&2
fi
if [ "${python_skipped:-0}" -gt 0 ]; then
    skipped="${skipped:+$skipped; and }$python_skipped Python tests, or files of tests, that need PyTorch or a GPU (make test-python PYTHON_EXTRAS='torch transformers numpy<2.3')"
fi
if [ "$status" -ne 0 ]; then
    echo "make test: FAILED: $failed tests failed, $passed passed; skipped: ${skipped:-nothing}."
    exit 1
fi
echo "make test: all $passed tests passed; skipped: ${skipped:-nothing}."
