#!/bin/sh
# usage: run.sh [test | bench BENCH-ARGUMENTS...]
# test (the default) runs the GPU tests and the examples of this bundle and fails where there is no GPU.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
# Where the tests of the C++ examples find them.
FLASHLLM_EXAMPLES=$here/examples
export LD_LIBRARY_PATH FLASHLLM_EXAMPLES

if [ "${1:-test}" = bench ]; then
    shift
    exec "$here/bin/flash_llm_bench" "$@"
fi

if [ ! -e /dev/nvidiactl ]; then
    echo "run.sh: this machine has no NVIDIA device, and these are the GPU tests: nothing was tested." >&2
    exit 1
fi
command -v nvidia-smi >/dev/null 2>&1 &&
    nvidia-smi --query-gpu=name,driver_version,clocks.sm,memory.total --format=csv,noheader

passed=0
failed=
for test in "$here"/tests/*; do
    echo "== ${test##*/}"
    # One thread: tests that time or capture must not share the GPU.
    if "$test" --test-threads=1; then passed=$((passed + 1)); else failed="$failed ${test##*/}"; fi
done
for example in "$here"/examples/[0-9]*; do
    [ -x "$example" ] || continue
    echo "== ${example##*/}"
    # An example ends with 77 when it found no GPU, which is a failure here. But a driver alone has no libcudart.
    status=0
    "$example" --device cuda || status=$?
    case "${example##*/} $status" in
    *' 0') passed=$((passed + 1)) ;;
    '06_runtime_interop 77') ;;
    *) failed="$failed ${example##*/}" ;;
    esac
done
if [ -n "$failed" ]; then
    echo "run.sh: FAILED:$failed ($passed programs passed)"
    exit 1
fi
echo "run.sh: all $passed programs passed."
