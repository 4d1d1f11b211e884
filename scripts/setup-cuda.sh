#!/bin/sh
# usage: setup-cuda.sh DIRECTORY
# Makes sure that build.rs can find an nvcc: leaves the machine's own alone, and otherwise installs the
# pinned wheels of requirements-cuda.txt into DIRECTORY. Without a network that fails, which is no error:
# the library is then built without kernels, and says so.
set -eu
directory=$1
root=$(dirname "$0")/..
requirements=$root/requirements-cuda.txt

[ "${FLASHLLM_NO_NVCC:-0}" = 0 ] || exit 0
[ -z "${NVCC:-}" ] || exit 0
[ -z "${FLASHLLM_CUDA_VENV:-}" ] || exit 0
for home in "${CUDA_HOME:-}" "${CUDA_PATH:-}" /usr/local/cuda; do
    [ ! -x "$home/bin/nvcc" ] || exit 0
done
! command -v nvcc >/dev/null 2>&1 || exit 0

# The pins are copied last: a copy that agrees means a complete installation.
stamp=$directory/requirements-cuda.txt
if [ -f "$stamp" ] && cmp -s "$stamp" "$requirements"; then exit 0; fi

echo "No nvcc on this machine: fetching NVIDIA's compiler wheels (about 105 MB) into $directory"
if ! "$root/scripts/pip-into.sh" "$directory" --no-deps -r "$requirements"; then
    rm -rf "$directory"
    echo "Could not fetch nvcc: building without GPU kernels." >&2
    exit 0
fi
cp "$requirements" "$stamp"
# cargo runs build.rs again when this file changes, and would not notice a new nvcc otherwise.
touch "$requirements"
