#!/bin/sh
# usage: e2e.sh LIBRARY DIRECTORY
# Models end to end. Without a GPU: small random models, generated and compared with transformers, and the benchmark on
# models of two layers. With one: the rows of docs/end-to-end.md that fit this machine, appended to
# bench/results/e2e/DEVICE-DATE.csv by e2e-tables.sh, which E2E_ONLY and E2E_SECONDS are for.
set -eu
library=$1
directory=$2
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$directory"
python=${PYTHON:-python3}
has_packages() { "$python" -c 'import torch, transformers, safetensors, pytest' >/dev/null 2>&1; }
if ! has_packages; then
    missing=$python
    python=$directory/venv/bin/python
    # An installation that was cut off is not one.
    if ! has_packages; then
        echo "e2e: $missing has no PyTorch, transformers, safetensors and pytest: installing them into $directory/venv"
        "$root/scripts/pip-into.sh" "$directory/venv" --quiet torch transformers safetensors xxhash pytest "numpy<2.3"
    fi
fi
FLASHLLM_LIBRARY=$library
PYTHONPATH=$root/python/src${PYTHONPATH:+:$PYTHONPATH}
export FLASHLLM_LIBRARY PYTHONPATH
cd "$root"

"$python" -m pytest -q -p no:cacheprovider python/tests/test_models.py python/tests/test_engine.py

bench() { "$python" -m flash_llm.engine.bench "$@"; }

if ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "e2e: no GPU, so these are small models on the host, and their times mean nothing."
    for model in tiny-opt tiny-llama; do
        bench --model $model --dense --sparse --sparsity 0.6,0.8 --batch 1,4 --prompt 16 --new 32 --out "$directory/rows.csv"
    done
    exit 0
fi

device=$("$python" -c 'import torch; print(torch.cuda.get_device_name().lower().replace(" ", "-"))')
out=bench/results/e2e/$device-$(date +%F).csv
PYTHON=$python exec scripts/e2e-tables.sh "$library" "$out" ${E2E_SECONDS:+"$E2E_SECONDS"}
