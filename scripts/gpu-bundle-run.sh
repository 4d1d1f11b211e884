#!/bin/sh
# usage: run.sh [test | bench BENCH-ARGUMENTS... | sanitize [TOOL [TEST...]]]
# test (the default) runs the GPU tests and the examples of this bundle and fails where there is no GPU.
# sanitize runs the tests at small sizes under compute-sanitizer: memcheck on all, racecheck and synccheck on the
# kernels that multiply and convert; or one tool, or one on the tests that are named. Runs go side by side, SANITIZE_JOBS
# of them (default: as many as there are cores); SANITIZE_LOGS is where their whole output stays (default: nowhere). It
# takes the program of COMPUTE_SANITIZER, else the bundle's (`make sanitizer` before `make gpu-bundle`), else the machine's.
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

if [ "${1:-test}" = sanitize ]; then
    sanitizer=${COMPUTE_SANITIZER:-}
    for found in "$here/sanitizer/compute-sanitizer" "$(command -v compute-sanitizer || true)" \
        /usr/local/cuda/bin/compute-sanitizer; do
        [ -n "$sanitizer" ] || [ ! -x "$found" ] || sanitizer=$found
    done
    if [ -z "$sanitizer" ]; then
        echo "run.sh: there is no compute-sanitizer: set COMPUTE_SANITIZER, or bundle it with make sanitizer." >&2
        exit 1
    fi
    FLASHLLM_GPU_TESTS_SMALL=1
    export FLASHLLM_GPU_TESTS_SMALL
    tool=${2:-}
    tools='racecheck memcheck synccheck'
    # What it would report of other kernels, docs/benchmarking.md says.
    if [ ! -e "$here/racecheck" ]; then
        if [ "$tool" = racecheck ]; then
            echo "run.sh: this bundle's kernels are not for racecheck: FLASHLLM_RACECHECK=1 make gpu-bundle makes one with those that are." >&2
            exit 1
        elif [ -z "$tool" ]; then
            echo "run.sh: racecheck is left out: this bundle's kernels are not for it (FLASHLLM_RACECHECK=1 make gpu-bundle)."
            tools='memcheck synccheck'
        fi
    fi
    [ $# -lt 2 ] || shift
    [ $# -lt 1 ] || shift
    logs=${SANITIZE_LOGS:-}
    if [ -z "$logs" ]; then
        logs=$(mktemp -d)
        trap 'rm -rf "$logs"' EXIT
    fi
    mkdir -p "$logs"
    rm -f "$logs"/*.failed
    # A line for each run: tool, test, and the first of ten ports over which the sanitizer and its test talk. What
    # takes longest is first.
    : >"$logs/runs"
    port=49152
    add() {
        [ -x "$here/tests/$2" ] || { echo "run.sh: the bundle has no test $2" >&2; exit 1; }
        echo "$1 $2 $port" >>"$logs/runs"
        port=$((port + 10))
    }
    if [ $# -gt 0 ]; then
        for test in "$@"; do add "$tool" "$test"; done
    else
        for one in ${tool:-$tools}; do
            tests='gpu_spmm gpu_plan gpu_convert'
            [ "$one" != memcheck ] || tests="$tests gpu_capi gpu_store"
            for test in $tests; do add "$one" "$test"; done
        done
    fi
    export here logs sanitizer
    # What the driver refuses is what some tests are about; 86 is what only the sanitizer ends with.
    # shellcheck disable=SC2016 # expanded by the shell of the run
    xargs -P "${SANITIZE_JOBS:-$(nproc)}" -n 3 sh -c '
        name=$1-$2
        start=$(date +%s)
        status=0
        "$sanitizer" --tool "$1" --port "$3" --target-processes application-only --report-api-errors no \
            --error-exitcode 86 "$here/tests/$2" --test-threads=1 >"$logs/$name.log" 2>&1 || status=$?
        {
            echo "== $1 $2: status $status after $(($(date +%s) - start)) s"
            if [ "$status" = 0 ]; then
                grep -E "^test result|SUMMARY" "$logs/$name.log" || true
            else
                tail -n 100 "$logs/$name.log"
                echo "$1:$2" >"$logs/$name.failed"
            fi
        } >"$logs/$name.told"
        cat "$logs/$name.told"
    ' run <"$logs/runs"
    failed=$(cat "$logs"/*.failed 2>/dev/null | tr '\n' ' ')
    if [ -n "$failed" ]; then
        echo "run.sh: FAILED under compute-sanitizer: $failed"
        exit 1
    fi
    echo "run.sh: $(wc -l <"$logs/runs") runs under compute-sanitizer, no errors."
    exit 0
fi

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
