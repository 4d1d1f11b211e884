#!/bin/sh
# usage: gpu-bundle.sh DIRECTORY
# Gathers what a machine with a GPU needs to test and time the library: no cargo, no compiler and no CUDA
# toolkit there, only a driver, and cuBLAS to compare with. Run on the machine that builds; then copy the directory over.
set -eu
directory=$1
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-$root/target}
abi=$(sed -n 's/^version = "\([0-9]*\.[0-9]*\)\..*/\1/p' Cargo.toml | head -n 1)

rm -rf "$directory"
mkdir -p "$directory/lib" "$directory/tests" "$directory/bin" "$directory/examples"

"$cargo" build --locked --release -p flash_llm -p flash_llm_bench
cp "$target/release/libflash_llm.so" "$directory/lib/libflash_llm.so.$abi"
cp "$target/release/flash_llm_bench" "$directory/bin/"

"$cargo" test --locked --release --no-run --features gpu-tests --test 'gpu_*' --message-format=json-render-diagnostics |
    "${PYTHON:-python3}" scripts/copy-test-executables.py "$directory/tests"

make --no-print-directory -C c-examples BUILD="$directory/examples" PREFIX_INC="$root/include" \
    LIBDIR="$target/release" LDFLAGS='-Wl,-rpath,\$$ORIGIN/../lib'

rm -f "$directory"/examples/*.o

strip "$directory"/lib/* "$directory"/bin/* "$directory"/tests/*
for file in "$directory"/examples/*; do
    if [ -x "$file" ] && [ -f "$file" ]; then strip "$file"; fi
done
cp scripts/gpu-bundle-run.sh "$directory/run.sh"
[ -z "${FLASHLLM_RACECHECK:-}" ] || touch "$directory/racecheck"

kib=$(du -sk "$directory" | cut -f 1)
# Every test holds the same kernels, and xz looks back far enough to pack them once or twice: what is copied counts.
packer='gzip -6'
! command -v xz >/dev/null 2>&1 || packer='xz -1'
packed=$(($(tar -C "$directory" -cf - . | $packer | wc -c) / 1048576))
echo "gpu-bundle: $directory, $((kib / 1024)) MiB ($packed packed by $packer); copy it to a machine with a GPU and run run.sh there."
if [ "$packed" -ge 50 ]; then
    echo "gpu-bundle: more than 50 MiB packed (FLASHLLM_CUDA_ARCHS=90a makes it smaller)" >&2
    exit 1
fi

# Not counted: it is there for who asked for it (make sanitizer).
sanitizer=$(find "$target/sanitizer" -path '*/compute-sanitizer/compute-sanitizer' 2>/dev/null | head -n 1)
if [ -n "$sanitizer" ]; then
    mkdir -p "$directory/sanitizer"
    find "$(dirname "$sanitizer")" -maxdepth 1 -type f -exec cp {} "$directory/sanitizer/" \;
    chmod +x "$directory"/sanitizer/*
    echo "gpu-bundle: with compute-sanitizer; run.sh sanitize runs the tests under it."
fi
