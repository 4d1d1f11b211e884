#!/bin/sh
# usage: setup-tools.sh DIRECTORY
# Makes sure that cmake and pkg-config can be run (tests/install.rs uses both): what the machine lacks comes
# from PyPI into DIRECTORY, whose bin/ the Makefile appends to PATH.
set -eu
directory=$1
root=$(dirname "$0")/..
missing=
command -v cmake >/dev/null 2>&1 || missing="$missing cmake==3.31.6"
command -v pkg-config >/dev/null 2>&1 || command -v pkgconf >/dev/null 2>&1 || missing="$missing pkgconf==2.5.1.post1"
[ -n "$missing" ] || exit 0
echo "Fetching$missing into $directory"
# shellcheck disable=SC2086
"$root/scripts/pip-into.sh" "$directory" $missing
