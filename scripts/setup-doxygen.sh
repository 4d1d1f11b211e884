#!/bin/sh
# usage: setup-doxygen.sh DIRECTORY
# Makes sure that doxygen can be run: where the machine has none, Debian's (or Ubuntu's) packages are unpacked
# into DIRECTORY, whose bin/ the Makefile appends to PATH. Nothing is installed and no root is needed.
set -eu
directory=$1
! command -v doxygen >/dev/null 2>&1 || exit 0
if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg >/dev/null 2>&1; then
    echo "setup-doxygen: this machine has no doxygen and no apt-get to fetch it with: install doxygen" >&2
    exit 1
fi
echo "Fetching doxygen into $directory"
rm -rf "$directory"
mkdir -p "$directory/packages" "$directory/bin"
# What doxygen needs and this machine does not have.
needed=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
    --no-enhances doxygen | grep '^[a-z0-9]' | sort -u)
packages=
for package in $needed; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -q '^installed$' || packages="$packages $package"
done
# shellcheck disable=SC2086
(cd "$directory/packages" && apt-get download -qq $packages) || {
    rm -rf "$directory"
    echo "setup-doxygen: the packages could not be fetched (does apt-get update help?)" >&2
    exit 1
}
for package in "$directory"/packages/*.deb; do
    dpkg -x "$package" "$directory"
done
rm -rf "$directory/packages"
libraries=$(find "$directory/usr/lib" -name '*.so*' -exec dirname {} \; | sort -u | paste -sd : -)
cat >"$directory/bin/doxygen" <<END
#!/bin/sh
LD_LIBRARY_PATH=$libraries\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
exec "$directory/usr/bin/doxygen" "\$@"
END
chmod +x "$directory/bin/doxygen"
