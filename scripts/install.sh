#!/bin/sh
# Installs the library for C users. Called by `make install-files`, which sets every variable used here.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
libdir=$DESTDIR$LIBDIR
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for file in libflash_llm.so libflash_llm.a; do
    [ -f "$BUILD_DIR/$file" ] || { echo "install: $BUILD_DIR/$file is missing: run make first" >&2; exit 1; }
done

$INSTALL -d "$libdir/pkgconfig" "$libdir/cmake/flash_llm" "$DESTDIR$INCLUDEDIR"

# libflash_llm.so -> .so.<abi> -> .so.<version>: the first is for the linker, the second is the SONAME.
$INSTALL -m 755 "$BUILD_DIR/libflash_llm.so" "$libdir/libflash_llm.so.$VERSION"
ln -sf "libflash_llm.so.$VERSION" "$libdir/libflash_llm.so.$ABI"
ln -sf "libflash_llm.so.$ABI" "$libdir/libflash_llm.so"

"$root/scripts/localize-archive.sh" "$BUILD_DIR/libflash_llm.a" "$work/libflash_llm.a"
$INSTALL -m 644 "$work/libflash_llm.a" "$libdir/libflash_llm.a"
$INSTALL -m 644 "$root/include/flash_llm.h" "$DESTDIR$INCLUDEDIR/flash_llm.h"

# Below the prefix, paths are written relative to it, so that pkg-config --define-prefix can move them.
below_prefix() {
    case $1 in "$PREFIX"/*) printf '${prefix}/%s' "${1#"$PREFIX"/}" ;; *) printf '%s' "$1" ;; esac
}
# The CMake package finds its files from where it lies itself, whatever the tree was moved to.
cmake_includedir=$(realpath -m --relative-to="$LIBDIR/cmake/flash_llm" "$INCLUDEDIR")
substitute() {
    sed -e "s|@PREFIX@|$PREFIX|g" -e "s|@LIBDIR@|$(below_prefix "$LIBDIR")|g" \
        -e "s|@INCLUDEDIR@|$(below_prefix "$INCLUDEDIR")|g" -e "s|@VERSION@|$VERSION|g" \
        -e "s|@ABI@|$ABI|g" -e "s|@CMAKE_INCLUDEDIR@|$cmake_includedir|g" "$root/packaging/$1" >"$work/out"
    $INSTALL -m 644 "$work/out" "$libdir/$2"
}
substitute flash_llm.pc.in pkgconfig/flash_llm.pc
substitute cmake/flash_llmConfig.cmake.in cmake/flash_llm/flash_llmConfig.cmake
substitute cmake/flash_llmConfigVersion.cmake.in cmake/flash_llm/flash_llmConfigVersion.cmake
