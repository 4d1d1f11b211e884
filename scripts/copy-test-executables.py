#!/usr/bin/env python3
"""Copies the test executables named in cargo's JSON messages (standard input) into a directory.

usage: cargo test --no-run --message-format=json ... | copy-test-executables.py DIRECTORY
"""

import json
import pathlib
import shutil
import sys


def main():
    directory = pathlib.Path(sys.argv[1])
    copied = 0
    finished = False
    for line in sys.stdin:
        message = json.loads(line)
        if message["reason"] == "build-finished":
            finished = message["success"]
        if message["reason"] != "compiler-artifact":
            continue
        if message.get("executable") and message["profile"]["test"]:
            shutil.copy2(message["executable"], directory / message["target"]["name"])
            copied += 1
    # The status of cargo is lost in the pipe.
    if not finished or copied == 0:
        sys.exit(f"copy-test-executables.py: cargo failed, or built no test ({copied} executables)")


if __name__ == "__main__":
    main()
