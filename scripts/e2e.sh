#!/bin/sh
# usage: e2e.sh LIBRARY DIRECTORY
# Models end to end. Without a GPU: small random models, generated and compared with transformers, and the benchmark on
# models of two layers. With one: the rows of docs/end-to-end.md that fit this machine, appended to
# bench/results/e2e/DEVICE-DATE.csv. E2E_MODELS chooses models, E2E_STEPS="64" times only so many steps a row.
set -eu
library=$1
directory=$2
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$directory"
python=${PYTHON:-python3}
if ! "$python" -c 'import torch, transformers, safetensors, pytest' >/dev/null 2>&1; then
    if [ ! -x "$directory/venv/bin/python" ]; then
        echo "e2e: $python has no PyTorch, transformers, safetensors and pytest: installing them into $directory/venv"
        "$root/scripts/pip-into.sh" "$directory/venv" --quiet torch transformers safetensors xxhash pytest "numpy<2.3"
    fi
    python=$directory/venv/bin/python
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

facts=$("$python" -c '
import torch
name = torch.cuda.get_device_name().lower().replace(" ", "-")
print(name, torch.cuda.device_count(), torch.cuda.get_device_properties(0).total_memory >> 30)')
# shellcheck disable=SC2086
set -- $facts
device=$1 gpus=$2 gib=$3
out=bench/results/e2e/$device-$(date +%F).csv
steps=${E2E_STEPS:+--steps $E2E_STEPS --context 320}
wanted() { case " ${E2E_MODELS:-opt-30b opt-66b opt-175b llama-2-70b} " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }
batches=8,16,32,64,128
# shellcheck disable=SC2086
{
    if wanted opt-30b; then
        bench --model opt-30b --dense --sparse --sparsity 0.6,0.7,0.8 --batch $batches $steps --profile --out "$out"
    fi
    if wanted opt-66b; then
        bench --model opt-66b --dense --sparse --sparsity 0.6,0.7,0.8 --batch $batches $steps --profile --out "$out"
        if [ "$gpus" -ge 2 ]; then
            bench --model opt-66b --tp 2 --dense --sparse --sparsity 0.8 --batch $batches $steps --out "$out"
        fi
    fi
    if wanted opt-175b && [ "$gib" -ge 120 ]; then
        bench --model opt-175b --sparsity 0.8 --format bitmap --batch 8,16 --prefill-tokens 2048 $steps --profile --out "$out"
        if [ "$gpus" -ge 2 ]; then
            bench --model opt-175b --tp 2 --sparsity 0.6,0.7,0.8 --batch 8,16,32 $steps --out "$out"
        fi
    fi
    if wanted llama-2-70b; then
        bench --model llama-2-70b --dense --sparse --sparsity 0.6,0.8 --batch $batches $steps --profile --out "$out"
    fi
}
echo "e2e: the rows are in $out"
