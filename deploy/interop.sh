#!/usr/bin/env bash
# Installs what the interop tests need and a Python environment cannot give: nginx, openssl and OPA.
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
  echo "Building OPA $opa_version (some minutes the first time)"
  GOBIN="$PWD/$tools" GOFLAGS=-modcacherw CGO_ENABLED=0 go install "github.com/open-policy-agent/opa@$opa_version"
fi
"$tools/opa" version | head -n 1
