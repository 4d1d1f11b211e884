#!/bin/sh
# usage: localize-archive.sh IN.a OUT.a
# Makes of rustc's static library one that defines the flashllm* functions and nothing else.
#
# rustc's archive also offers Rust's standard library and the driver trampolines (cu*) to the linker. Two
# Rust archives in one program would then clash, and a program that calls the driver itself could get our
# trampolines in place of libcuda. So everything is joined into one object and made local to it.
set -eu
in=$1
out=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
objcopy=${OBJCOPY:-objcopy}
# The objects of Rust's standard library carry LLVM bitcode, on which the LTO plugins of binutils choke once
# the pieces are joined.
"$objcopy" --remove-section=.llvmbc --remove-section=.llvmcmd "$in" "$work/plain.a"
"${LD:-ld}" -r --whole-archive "$work/plain.a" -o "$work/flash_llm.o"
"$objcopy" --wildcard --keep-global-symbol='flashllm[A-Z]*' "$work/flash_llm.o"
rm -f "$out"
"${AR:-ar}" rcs "$out" "$work/flash_llm.o"
