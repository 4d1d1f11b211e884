#!/bin/sh
# usage: test-python.sh LIBRARY DIRECTORY [PYTEST-ARGUMENTS...]
# Builds the wheel around this libflash_llm.so, installs it into a clean virtual environment in DIRECTORY and runs the
# package's tests there: with numpy alone, unless PYTHON_EXTRAS names more to install ("torch transformers").
set -eu
library=$1
directory=$2
shift 2
root=$(cd "$(dirname "$0")/.." && pwd)
"$root/scripts/wheel.sh" "$library" "$directory/wheel"
wheel=$(ls "$directory"/wheel/*.whl)
# shellcheck disable=SC2086
"$root/scripts/pip-into.sh" "$directory/venv" --quiet "$wheel" pytest ml_dtypes ${PYTHON_EXTRAS:-}
python=$directory/venv/bin/python
unset PYTHONPATH FLASHLLM_LIBRARY
# From elsewhere, so that what is tested is the installed package.
cd "$directory"
FLASHLLM_WHEEL=$wheel PYTHONDONTWRITEBYTECODE=1 exec "$python" -m pytest -p no:cacheprovider "$root/python/tests" "$@"
