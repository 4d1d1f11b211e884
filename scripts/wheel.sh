#!/bin/sh
# usage: wheel.sh LIBRARY DIRECTORY
# Builds the Python wheel with this libflash_llm.so inside, into DIRECTORY. The tree itself is not written to.
set -eu
library=$1
directory=$2
root=$(cd "$(dirname "$0")/.." && pwd)
stage=$directory/stage
rm -rf "$directory"
mkdir -p "$stage/python"
for part in pyproject.toml setup.py README.md src; do cp -R "$root/python/$part" "$stage/python/"; done
find "$stage" -name __pycache__ -type d -prune -exec rm -rf {} +
mkdir "$stage/python/src/flash_llm/lib"
cp "$library" "$stage/python/src/flash_llm/lib/libflash_llm.so"
strip "$stage/python/src/flash_llm/lib/libflash_llm.so"
cp "$root/LICENSE" "$root/NOTICE" "$stage/python/"
"${PYTHON:-python3}" -m pip wheel --disable-pip-version-check --quiet --no-deps --wheel-dir "$directory" "$stage/python"
rm -rf "$stage"
ls "$directory"/*.whl
