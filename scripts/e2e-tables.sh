#!/bin/sh
# usage: e2e-tables.sh LIBRARY OUT.csv [SECONDS]
# Measures the rows of docs/end-to-end.md that fit this machine's GPUs, the most important ones first, and appends each to
# OUT.csv as soon as it is there. Each command has a time limit of its own, and with SECONDS none runs past that time
# from the start, so that what is cut off loses its own row only. E2E_ONLY chooses commands by name: "opt-30b opt-66b";
# E2E_COMMIT is what the rows say was measured, where git is not there to ask.
# The seconds beside the commands are limits; docs/end-to-end.md says what to expect.
set -u
library=$1 out=$2 budget=${3:-86400}
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
case $library in /*) ;; *) library=$PWD/$library ;; esac
FLASHLLM_LIBRARY=$library
PYTHONPATH=$root/python/src${PYTHONPATH:+:$PYTHONPATH}
PYTHONUNBUFFERED=1
export FLASHLLM_LIBRARY PYTHONPATH PYTHONUNBUFFERED
started=$(date +%s)
failed=0

# row NAME LIMIT ARGUMENTS...
row() {
    name=$1 limit=$2
    shift 2
    case " ${E2E_ONLY:-$name} " in *" $name "*) ;; *) return 0 ;; esac
    now=$(($(date +%s) - started))
    left=$((budget - now))
    if [ "$left" -lt 25 ]; then
        echo "e2e: at $now s no time is left for $name $*"
        return 0
    fi
    [ "$limit" -lt "$left" ] || limit=$left
    echo "e2e: at $now s, at most $limit s: $*"
    timeout -k 5 "$limit" "$python" -m flash_llm.engine.bench "$@" ${E2E_COMMIT:+--commit "$E2E_COMMIT"} --out "$out"
    code=$?
    case $code in
    0) ;;
    124 | 137) echo "e2e: cut off after $limit s: $*" ;;
    *) failed=1 && echo "e2e: exit status $code: $*" ;;
    esac
}

facts=$("$python" -c '
import torch
print(torch.cuda.device_count(), torch.cuda.get_device_properties(0).total_memory >> 30)') || exit 1
gpus=${facts% *} gib=${facts#* }
sampled="--steps 64 --context 320"

# shellcheck disable=SC2086
if [ "$gpus" -ge 2 ]; then
    # What one GPU does not hold.
    row opt-66b-tp2 150 --model opt-66b --tp 2 --dense --batch 8,16,32,64
    if [ "$gib" -ge 120 ]; then
        row opt-175b-tp2 150 --model opt-175b --tp 2 --sparsity 0.8 --batch 16,8,32 --prefill-tokens 2048
        row opt-66b-tp2-best 60 --model opt-66b --tp 2 --dense --batch 128
        row opt-175b-tp2-more 120 --model opt-175b --tp 2 --sparsity 0.7,0.6 --batch 16 --prefill-tokens 2048 $sampled
    fi
elif [ "$gib" -ge 120 ]; then
    row opt-30b 240 --model opt-30b --dense --sparse --sparsity 0.8 --batch 8,16,32,64,128
    # Sixteen sequences fit with a shorter cache, eight with one of 576 positions.
    row opt-175b 120 --model opt-175b --sparsity 0.8 --batch 16 $sampled
    row opt-175b 180 --model opt-175b --sparsity 0.8 --batch 8 --prefill-tokens 2048
    # Slots, the default, is the fastest of up to 8 columns, Banked of more.
    row opt-30b-sell 60 --model opt-30b --sparsity 0.8 --format sell --batch 8,4,1
    row opt-30b-banked 100 --model opt-30b --sparsity 0.8 --format banked --batch 16,32,64,128
    row opt-66b 200 --model opt-66b --dense --sparse --sparsity 0.8 --batch 8,16,32,64
    row opt-66b-banked 100 --model opt-66b --sparsity 0.8 --format banked --batch 16,32,64
    row llama-2-70b 120 --model llama-2-70b --dense --sparse --sparsity 0.8,0.6 --batch 8,16,64 $sampled
    # The whole run of 576 positions does not fit beside dense weights; a shorter cache does.
    row opt-30b-most 60 --model opt-30b --dense --batch 128 $sampled
    row opt-30b-profile 90 --model opt-30b --dense --sparse --sparsity 0.8 --batch 8,16,32 --steps 16 --context 320 --profile --no-overlap
    row opt-30b-profile 60 --model opt-30b --sparsity 0.8 --format sell --batch 8 --steps 16 --context 320 --profile --no-overlap
    row opt-30b-half 120 --model opt-30b --sparsity 0.5,0.6 --format bitmap --batch 8,16,32,64
    row opt-30b-more 220 --model opt-30b --sparsity 0.6,0.7 --batch 8,16,32,64,128
    row opt-30b-banked-more 100 --model opt-30b --sparsity 0.6,0.7 --format banked --batch 32,64,128
    row llama-2-70b-banked 60 --model llama-2-70b --sparsity 0.8 --format banked --batch 16,64 $sampled
    row opt-30b-between 90 --model opt-30b --dense --sparse --sparsity 0.8 --batch 12,24,48
    row opt-66b-more 220 --model opt-66b --sparsity 0.6,0.7 --batch 8,16,32 $sampled
else
    row opt-30b 200 --model opt-30b --dense --sparse --sparsity 0.8 --batch 8,16,32,64
    row opt-30b-banked 100 --model opt-30b --sparsity 0.8 --format banked --batch 16,32,64
    row opt-66b 130 --model opt-66b --sparsity 0.8 --batch 16,8
    row opt-30b-profile 90 --model opt-30b --dense --sparse --sparsity 0.8 --batch 16 --steps 16 --context 320 --profile --no-overlap
    row opt-30b-more 200 --model opt-30b --sparsity 0.6,0.7 --batch 8,16,32,64
    # Bitmap is smaller than what is fastest: one more batch fits.
    row opt-66b-best 90 --model opt-66b --sparsity 0.8 --format bitmap --batch 32
    row opt-30b-most 60 --model opt-30b --dense --batch 24,32 $sampled
fi
echo "e2e: $(($(date +%s) - started)) s; the rows are in $out"
exit $failed
