"""scripts/e2e-tables.sh, with a stand-in for Python: what it runs on which machine, in which order, and within its time."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, needs_torch

STAND_IN = """#!/bin/sh
if [ "$1" = -c ]; then echo "$MACHINE"; exit 0; fi
shift 2
echo "$*" >>"$LOG"
[ -z "${SLEEP:-}" ] || sleep "$SLEEP"
case "$*" in *"${FAIL:-nothing}"*) exit 1 ;; esac
"""


def run(tmp_path: Path, machine: str, *arguments: str, **environment: str) -> tuple[list[str], str, int]:
    python, log = tmp_path / "python", tmp_path / "log"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    log.write_text("")
    done = subprocess.run(
        [str(ROOT / "scripts" / "e2e-tables.sh"), "libflash_llm.so", str(tmp_path / "rows.csv"), *arguments],
        env={"PATH": os.environ["PATH"], "PYTHON": str(python), "LOG": str(log), "MACHINE": machine, **environment},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return log.read_text().splitlines(), done.stdout + done.stderr, done.returncode


@needs_torch
@pytest.mark.parametrize("machine", ["1 79", "1 139", "2 79", "2 139"])
def test_every_command_is_one_that_the_benchmark_takes(machine, tmp_path) -> None:
    from flash_llm.engine import PRESETS, bench

    commands, _, status = run(tmp_path, machine, E2E_COMMIT="abc")
    assert status == 0 and commands
    for command in commands:
        args = bench._arguments(command.split())
        assert args.commit == "abc" and args.out == tmp_path / "rows.csv"
        PRESETS[args.model].matrices(args.tp)
        assert args.tp == int(machine[0])


def test_what_matters_most_comes_first(tmp_path) -> None:
    for machine in ("1 79", "1 139"):
        commands, _, _ = run(tmp_path, machine)
        assert commands[0].startswith("--model opt-30b --dense --sparse --sparsity 0.8 --batch 8,16")
    assert commands[1].startswith("--model opt-175b --sparsity 0.8 --batch 16")


def test_commands_are_chosen_by_name(tmp_path) -> None:
    commands, _, _ = run(tmp_path, "1 79", E2E_ONLY="opt-66b opt-30b-most")
    assert [command.split()[1] for command in commands] == ["opt-66b", "opt-30b"]


def test_time_that_is_over_is_not_spent(tmp_path) -> None:
    commands, told, status = run(tmp_path, "1 79", "20")
    assert commands == [] and "no time is left for opt-30b" in told and status == 0
    # The first takes three seconds, which leaves the others less than they are started with.
    commands, told, status = run(tmp_path, "1 79", "26", SLEEP="3")
    assert len(commands) == 1 and "no time is left" in told and status == 0


def test_a_failure_is_told_and_the_rest_goes_on(tmp_path) -> None:
    commands, told, status = run(tmp_path, "1 79", FAIL="opt-66b")
    assert len(commands) > 3 and "exit status 1: --model opt-66b" in told and status == 1
