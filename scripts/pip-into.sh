#!/bin/sh
# usage: pip-into.sh DIRECTORY PIP-ARGUMENTS...
# Installs Python packages into a directory of their own: a virtual environment, or, where python3 cannot
# make one (Debian without python3-venv), plainly with pip --target. DIRECTORY/bin/python has them either way.
set -eu
directory=$1
shift
python=${PYTHON:-python3}
rm -rf "$directory"
mkdir -p "$(dirname "$directory")"
if "$python" -m venv "$directory" >/dev/null 2>&1 && [ -x "$directory/bin/pip" ]; then
    exec "$directory/bin/python" -m pip install --disable-pip-version-check "$@"
fi
rm -rf "$directory"
"$python" -m pip install --disable-pip-version-check --target "$directory" "$@"
mkdir -p "$directory/bin"
cat >"$directory/bin/python" <<END
#!/bin/sh
PYTHONPATH='$(cd "$directory" && pwd)'\${PYTHONPATH:+:\$PYTHONPATH}
export PYTHONPATH
exec '$python' "\$@"
END
chmod +x "$directory/bin/python"
