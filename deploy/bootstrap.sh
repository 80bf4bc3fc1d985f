#!/usr/bin/env bash
# Creates a virtual environment and installs the locked dependencies (hashes checked) and this project.
# Usage: deploy/bootstrap.sh VENV LOCKFILE
set -euo pipefail

venv=$1
lock=$2

python=${PYTHON:-}
if [ -z "$python" ]; then
  for candidate in python3.11 python3.12 python3.13 python3; do
    if command -v "$candidate" >/dev/null 2>&1; then python=$candidate; break; fi
  done
fi
if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "Python 3.11 or newer is needed. On Debian 12: apt-get install python3" >&2
  exit 1
fi

# Debian ships venv as a package of its own; with the rights to do so, install it, else say what is missing.
if ! "$python" -c 'import ensurepip' >/dev/null 2>&1; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing python3-venv with apt-get"
    DEBIAN_FRONTEND=noninteractive apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
  else
    echo "The venv module is missing. Run: sudo apt-get install python3-venv" >&2
    exit 1
  fi
fi

echo "Creating $venv and installing the locked dependencies (about a minute the first time)"
"$python" -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r "$lock"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
touch "$venv/.installed"
