#!/bin/sh
# Runs the tests of hostile bytes and arguments, of the store and of the host's executor under AddressSanitizer. Its runtime comes
# with rustc; the flag is nightly's, which RUSTC_BOOTSTRAP lets a stable rustc take. Exit status 77: this rustc has no runtime of it.
set -eu
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
ls "$(rustc --print sysroot)/lib/rustlib/$host/lib/"*_rt.asan.a >/dev/null 2>&1 || exit 77
# Tables of handles live as long as the process, and what asks for more memory than there is has to be told so.
ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
RUSTC_BOOTSTRAP=1 FLASHLLM_NO_NVCC=1 RUSTFLAGS=-Zsanitizer=address
export ASAN_OPTIONS RUSTC_BOOTSTRAP FLASHLLM_NO_NVCC RUSTFLAGS
exec "${CARGO:-cargo}" test --locked --target "$host" --target-dir "${CARGO_TARGET_DIR:-target}/asan" --no-fail-fast \
    --lib --test capi_abuse --test codec_hostile --test host_spmm --test slice --test store --test store_hostile
